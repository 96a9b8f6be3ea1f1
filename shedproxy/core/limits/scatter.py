"""How much single latencies scatter, by sums over many windows.

Sums, not means of what each window shows: where one request in some hundred is long, most windows
have none of it and show little scatter, so that their mean would take the few that have one for
news about the service.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.window import WindowSummary

__all__ = ["Scatter"]

_MAX: Final = 100.0
"""More, in one window, is a stall among its samples."""
_PRIOR: Final = 32.0
"""Samples that the first guess, 1.0, counts for: fewer of a law with rare long ones look alike."""
_MEMORY: Final = 4000.0
"""Samples after which the oldest fade: some long ones even of one in a thousand."""


class Scatter:
    """The squared coefficient of variation of single latencies: 1 of exponential ones."""

    __slots__ = ("_count", "_mean_sum", "_square_sum", "value")

    def __init__(self) -> None:
        self._count = self._mean_sum = self._square_sum = 0.0
        self.value = 1.0
        """From 0 to 100."""

    def add(self, window: WindowSummary) -> float:
        """Take a window and give the scatter to reckon with.

        That is the value, and at least what is known of latency without load. A window without any
        baseline says nothing.
        """
        self._add(window)
        known = 0.0 if window.is_provisional else window.baseline_scatter
        return max(self.value, min(_MAX, known))

    def _add(self, window: WindowSummary) -> None:
        count = window.sample_count
        # What its scatter is in squares of.
        mean = float(window.judged_rtt_ns if window.is_provisional else window.baseline_mean_ns)
        if count < 2 or mean <= 0:
            return
        if not self._count:
            self._count = _PRIOR
            self._mean_sum, self._square_sum = _PRIOR * mean, _PRIOR * mean * mean
        kept = min(1.0, _MEMORY / (self._count + count))
        square = min(_MAX, window.rtt_scatter) * mean * mean
        self._count = self._count * kept + count
        self._mean_sum = self._mean_sum * kept + count * mean
        self._square_sum = self._square_sum * kept + count * square
        mean = self._mean_sum / self._count
        self.value = min(_MAX, self._square_sum / self._count / (mean * mean))
