"""A long computation says how far it is."""

from __future__ import annotations

import io
import re

import pytest

from shedproxy.cli import progress_line
from shedproxy.cli.progress_line import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, to be changed."""
    now = [100.0]
    monkeypatch.setattr(progress_line, "monotonic_now", lambda: int(now[0] * 1e9))
    return now


def test_a_terminal_has_one_line_with_the_time_left(clock: list[float]) -> None:
    """A quarter of the cost took 30 s."""
    stream = Terminal()
    progress = ProgressLine(2, 400, stream=stream)
    clock[0] += 30
    progress.advance(100)
    assert stream.getvalue().split("\r\x1b[K")[1:] == [
        "0 of 2 runs",
        "1 of 2 runs, 30 s passed, about 1 min 30 s left",
    ]
    progress.close()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_elsewhere_there_is_a_line_for_each_tenth(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = ProgressLine(100, 100, stream=stream)
    for _ in range(100):
        clock[0] += 100
        progress.advance(1)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "10 of 100 runs, 16 min 40 s passed, about 2 h 30 min left"
    assert re.fullmatch("100 of 100 runs, 2 h 46 min passed, about 0 s left", lines[-1])
