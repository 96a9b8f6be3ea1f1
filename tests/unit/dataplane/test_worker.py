from __future__ import annotations

from shedproxy.dataplane.worker import main


def test_a_descriptor_that_is_no_channel_ends_the_start_with_3(capsys) -> None:
    """Without a page it would serve; without a channel nobody tells it what."""
    assert main(["--page-fd", "-1", "--channel-fd", "-1"]) == 3
    assert "descriptor -1" in capsys.readouterr().err
