"""How much single latencies scatter, as far as many windows have shown."""

from __future__ import annotations

from typing import Final

from shedproxy.core.window import WindowSummary

__all__ = ["Scatter"]

_MAX: Final = 100.0
"""More, in one window, is a stall among its samples."""
_LOADED: Final = 2.0
"""Of latency so many baselines long, half is waiting, in the service or for each other."""
_PRIOR: Final = 32.0
"""Samples that the first guess, 1.0, counts for: fewer of a law with rare long ones look alike."""
_MEMORY: Final = 600.0
"""Samples after which the oldest fade: as the service is lately, after a change of it too."""


class Scatter:
    """The squared coefficient of variation of single latencies: 1 of exponential ones.

    Each window counts by its samples, so that the first guess gives way to the first large ones.
    """

    __slots__ = ("_count", "value")

    def __init__(self) -> None:
        self._count = _PRIOR
        self.value = 1.0
        """From 0 to 100."""

    def add(self, window: WindowSummary) -> float:
        """Take a window and give the scatter to reckon with: at least that without load."""
        count = window.scatter_count
        if count > 1:
            # Larger than the memory, a window is all that is remembered.
            self._count = min(self._count, max(0.0, _MEMORY - count)) + count
            scatter = window.rtt_scatter
            if not window.is_provisional:
                scatter /= max(1.0, window.rtt_ratio / _LOADED) ** 2
            self.value += (min(_MAX, scatter) - self.value) * count / self._count
        return max(self.value, min(_MAX, window.baseline_scatter))
