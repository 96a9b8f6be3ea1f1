from __future__ import annotations

import pytest

from shedproxy.dataplane.worker_options import Options, parse_options
from shedproxy.errors import StartupError


def test_the_command_line_is_read() -> None:
    options = parse_options(
        [
            *(
                "--kind",
                "asgi",
                "--index",
                "3",
                "--workers",
                "6",
                "--region",
                "5",
                "--stack-fd",
                "8",
                "--page-fd",
                "4",
                "--channel-fd",
                "5",
            ),
            *("--listen-fds", "6,7", "--app", "shop:app", "--app-dir", "/srv", "--factory"),
            *("--record", "trace.jsonl"),
        ]
    )
    assert options == Options(
        kind="asgi",
        index=3,
        workers=6,
        region=5,
        stack_fd=8,
        page_fd=4,
        channel_fd=5,
        listen_fds=(6, 7),
        app="shop:app",
        app_dir="/srv",
        is_factory=True,
        record="trace.jsonl",
    )


@pytest.mark.parametrize(
    "words", [["--colour", "red"], ["--index"], ["--index", "one"], ["--listen-fds", "1,x"]]
)
def test_what_cannot_be_read_is_said(words: list[str]) -> None:
    with pytest.raises(StartupError):
        parse_options(words)
