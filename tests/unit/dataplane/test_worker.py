from __future__ import annotations

from shedproxy.dataplane.worker import main


def test_a_descriptor_that_is_no_page_ends_the_start_with_3(capsys) -> None:
    assert main(["--page-fd", "0"]) == 3
    assert "descriptor 0" in capsys.readouterr().err
