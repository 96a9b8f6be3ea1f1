"""How far a long computation is, on standard error, with the time that is left."""

from __future__ import annotations

import sys
from typing import TextIO

from shedproxy.clock import monotonic_now
from shedproxy.core import Nanos, to_seconds

__all__ = ["ProgressLine"]

_TENTHS = 10


class ProgressLine:
    """One line that is rewritten on a terminal; elsewhere a line for every tenth of the work."""

    def __init__(self, count: int, cost: float, *, stream: TextIO | None = None) -> None:
        """`count` pieces of work of a total `cost`, in any unit."""
        self._count = count
        self._cost = cost
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._started_at = monotonic_now()
        self._done_count = 0
        self._done_cost = 0.0
        self._tenths = 0
        if self._is_terminal:
            self._show()

    def advance(self, cost: float) -> None:
        """A piece of work is done."""
        self._done_count += 1
        self._done_cost += cost
        tenths = int(_TENTHS * self._done_count / self._count)
        if self._is_terminal or tenths > self._tenths:
            self._tenths = tenths
            self._show()

    def close(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _show(self) -> None:
        elapsed_s = to_seconds(Nanos(monotonic_now() - self._started_at))
        text = f"{self._done_count} of {self._count} runs"
        if self._done_cost:
            left_s = elapsed_s * (self._cost - self._done_cost) / self._done_cost
            text += f", {_words(elapsed_s)} passed, about {_words(left_s)} left"
        end = "" if self._is_terminal else "\n"
        start = "\r\x1b[K" if self._is_terminal else ""
        self._stream.write(f"{start}{text}{end}")
        self._stream.flush()


def _words(length_s: float) -> str:
    minutes, seconds = divmod(round(length_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
