"""What is asked of a cell and what it can do: two rates, and the ranks of those who ask.

Capacity is what ended per second *while somebody was waiting*: a stopwatch runs from the first waiter
to the last, so that a cell with spare slots is not taken for a slow one. Both rates forget at the same
pace, about a thousand ends of work or ten seconds, because only their ratio matters.

Knows nothing of queues, limits or clocks: it is told counts and the time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate

from shedproxy.core.request import COHORTS
from shedproxy.core.units import NS_PER_S, Instant

__all__ = ["LEVELS", "LEVEL_BITS", "PPM", "RANKS", "Demand"]

RANKS = 4 * COHORTS
PPM = 1_000_000
LEVEL_BITS = 9
"""A level of the queue (criticality x retry or first try) is `rank >> 9`."""
LEVELS = RANKS >> LEVEL_BITS

_MEMORY_ENDS = 1000.0
_MEMORY_MIN_S = 0.02
_MEMORY_MAX_S = 10.0
_HISTORY = 8_192
"""Arrivals per generation of the rank histogram; the level sees one to two generations."""
_HISTORY_MIN = 256
_HISTORY_NS = 5 * NS_PER_S
"""A generation of at least `_HISTORY_MIN` ends after this long: mixes of classes change."""
_ZEROES = [0] * RANKS


class Demand:
    """Counts with integer additions; rates and cuts are computed once per period."""

    __slots__ = (
        "_busy_ns",
        "_busy_s",
        "_count",
        "_ended_total",
        "_offered",
        "_offered_s",
        "_offered_total",
        "_older",
        "_recent",
        "_turned_at",
        "_updated_at",
        "busy_since",
        "ended",
    )

    def __init__(self, *, now: Instant) -> None:
        self._updated_at = now
        self._turned_at = now
        self._offered = 0
        self.ended = 0
        """Slots whose work ended while somebody waited, in this period: whoever frees them adds."""
        self.busy_since = -1
        """Since when somebody has been waiting; -1: nobody is."""
        self._busy_ns = 0
        self._recent = [0] * RANKS
        self._older = [0] * RANKS
        self._count = 0
        # Decayed totals, and the seconds they were counted over.
        self._offered_total = 0.0
        self._offered_s = 0.0
        self._ended_total = 0.0
        self._busy_s = 0.0

    @property
    def offered_rps(self) -> float:
        """Slots asked for per second, refused ones included."""
        return self._offered_total / self._offered_s if self._offered_s > 0 else 0.0

    @property
    def capacity_rps(self) -> float:
        """Slots whose work ends per second while somebody waits; 0 until somebody has."""
        return self._ended_total / self._busy_s if self._busy_s > 0 else 0.0

    def on_arrival(self, rank: int, cost: int) -> None:
        """An arrival that is not over its tenant's share: it counts as demand, refused or not."""
        self._offered += cost
        self._recent[rank] += cost
        self._count += 1

    def saturate(self, now: Instant) -> None:
        """Somebody waits from now on."""
        if self.busy_since < 0:
            self.busy_since = now

    def relieve(self, now: Instant) -> None:
        """Nobody waits any more."""
        if self.busy_since >= 0:
            self._busy_ns += now - self.busy_since
            self.busy_since = -1

    def update(self, now: Instant) -> None:
        """Close a period."""
        elapsed_s = (now - self._updated_at) / NS_PER_S
        self._updated_at = now
        if self.busy_since >= 0:
            self._busy_ns += now - self.busy_since
            self.busy_since = now
        memory_s = _MEMORY_MAX_S
        rate = self.capacity_rps or self.offered_rps
        if rate > 0:
            memory_s = min(_MEMORY_MAX_S, max(_MEMORY_MIN_S, _MEMORY_ENDS / rate))
        kept = math.exp(-elapsed_s / memory_s)
        self._offered_total = self._offered_total * kept + self._offered
        self._offered_s = self._offered_s * kept + elapsed_s
        # Capacity is forgotten by use alone: an idle hour says nothing about it.
        kept = math.exp(-self.ended / _MEMORY_ENDS)
        self._ended_total = self._ended_total * kept + self.ended
        self._busy_s = self._busy_s * kept + self._busy_ns / NS_PER_S
        self._offered = self.ended = self._busy_ns = 0
        if self._count >= _HISTORY or (
            self._count >= _HISTORY_MIN and now - self._turned_at >= _HISTORY_NS
        ):
            self._recent, self._older = self._older, self._recent
            self._recent[:] = _ZEROES
            self._count = 0
            self._turned_at = now

    def shares_from(self) -> list[float]:
        """Per level, the share of demand that is of it or better; 0..1."""
        counts = [self._arrived(start, 1 << LEVEL_BITS) for start in range(0, RANKS, 1 << LEVEL_BITS)]
        total = sum(counts) or 1
        return [above / total for above in accumulate(reversed(counts))][::-1]

    def cut(self, share: float) -> tuple[int, int]:
        """The rank below which lies `share` (0..1) of demand, and the ppm of the rank itself."""
        totals = [self._arrived(start, COHORTS) for start in range(0, RANKS, COHORTS)]
        target = share * sum(totals)
        base = 0
        while base < 3 and target >= totals[base]:
            target -= totals[base]
            base += 1
        start = base * COHORTS
        counts = [
            recent + older
            for recent, older in zip(
                self._recent[start : start + COHORTS],
                self._older[start : start + COHORTS],
                strict=True,
            )
        ]
        below = list(accumulate(counts))
        index = min(bisect_right(below, target), COHORTS - 1)
        before = below[index] - counts[index]
        part = (target - before) / counts[index] if counts[index] else 0.0
        return start + index, int(min(1.0, max(0.0, part)) * PPM)

    def _arrived(self, start: int, count: int) -> int:
        return sum(self._recent[start : start + count]) + sum(self._older[start : start + count])
