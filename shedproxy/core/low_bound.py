"""What counted as low in-flight, when: baselines are learnt from what was admitted there."""

from __future__ import annotations

from collections import deque
from typing import Final

from shedproxy.core.baseline import LOW_ALWAYS
from shedproxy.core.units import Instant

__all__ = ["LowBound"]

_STEPS: Final = 16
"""Former bounds that are remembered, for samples admitted under them."""


class LowBound:
    """A bound that moves with the limit. Cheap for what is not low, and what was admitted since."""

    __slots__ = ("_low", "_max", "_since", "_steps")

    def __init__(self, *, now: Instant) -> None:
        self._low = self._max = 0
        self._since = now
        self._steps: deque[tuple[Instant, int]] = deque(maxlen=_STEPS)

    def set(self, low: int, *, now: Instant) -> None:
        """From now on less than `low` in flight is low."""
        if not self._steps or self._steps[-1][1] != low:
            self._steps.append((now, low))
            self._since, self._low = now, low
            self._max = max(step for _, step in self._steps)

    def holds(self, in_flight: int, admitted_at: Instant) -> bool:
        """Whether so much was low when a sample was admitted beside it.

        By what counted as low then. By what counts now, a rising limit would let in, of the
        requests admitted before, those alone that took long.
        """
        if in_flight >= self._max:
            return False
        if admitted_at >= self._since:
            return in_flight < self._low
        for since, low in reversed(self._steps):
            if admitted_at >= since:
                return in_flight < low
        return in_flight < LOW_ALWAYS
