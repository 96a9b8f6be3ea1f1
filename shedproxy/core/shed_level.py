"""The refusal loop: which ranks are refused on arrival, so that the rest waits little.

A rank is criticality x 1 024 cohorts. Each period the loop compares demand with what the cell
really started while it was saturated, and admits that rate, corrected so that a queue shorter or
longer than wanted is brought to it within half a second (T):

    admitted = started + (wanted - waiting) / T,   within started x [1/2, 3/2]
    refused share p = 1 - admitted / offered

The measured rate is a feed-forward, so p settles in a few periods and does not swing between all
and nothing as CoDel-like refusal does; the queue only trims it (compare the PI loop of Uber's
Cinnamon, which has to integrate its way there). p becomes a level through the distribution of the
ranks that really arrived (as in DAGOR and Cinnamon), with a fractional last rank.

Knows nothing of queues, limits or clocks: it is told counts and the time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from shedproxy.core.policy import ShedLevelPolicy
from shedproxy.core.request import COHORTS
from shedproxy.core.units import NS_PER_S, Instant

__all__ = ["PPM", "RANKS", "ShedLevel", "next_refused_share"]

RANKS = 4 * COHORTS
PPM = 1_000_000

_HISTORY = 1_000
"""Arrivals per generation of the rank histogram: the level sees the last 1 000 to 2 000."""
_MEMORY_MIN_S = 0.5
_MEMORY_MAX_S = 10.0
_MEMORY_STARTS = 30.0
"""Rates are remembered for about this many starts, within the two bounds above."""
_SHARE_MAX = 0.99
"""Never refuse everything: recovery must stay visible."""
_CORRECTION_S = 0.5
"""Five periods of the default policy: a correction within one would swing."""
_CALM_PERIODS = 3
"""Periods without waiting before the loop believes that there is room again."""
_GOLDEN_PPM = 618_034
"""Successive multiples of the golden ratio fill [0, 1) evenly: a fair coin without chance."""


def next_refused_share(
    *, offered_rps: float, started_rps: float, waiting: float, wanted: float
) -> float:
    """The share of demand to refuse; 0 while demand is not above what was started."""
    if offered_rps <= 0.0:
        return 0.0
    admitted_rps = started_rps + (wanted - waiting) / _CORRECTION_S
    admitted_rps = min(1.5 * started_rps, max(0.5 * started_rps, admitted_rps))
    return min(_SHARE_MAX, max(0.0, 1.0 - admitted_rps / offered_rps))


class ShedLevel:
    """The level below which arrivals are refused, and the measurements it follows from.

    `cut_rank` and `cut_share_ppm` are read on the hot path: a rank below the cut is refused, the
    cut rank itself loses `cut_share_ppm` of its arrivals.
    """

    __slots__ = (
        "_calm",
        "_offered",
        "_offered_s",
        "_offered_total",
        "_older",
        "_period_start",
        "_phase",
        "_policy",
        "_recent",
        "_recent_count",
        "_refused_classes",
        "_roomy",
        "_saturated_s",
        "_started_total",
        "_was_saturated",
        "cut_rank",
        "cut_share_ppm",
        "due_at",
        "share",
        "started",
    )

    def __init__(self, policy: ShedLevelPolicy, *, now: Instant) -> None:
        self._policy = policy
        self.cut_rank = 0
        self.cut_share_ppm = 0
        self.share = 0.0
        self._phase = 0
        self._recent = [0] * RANKS
        self._older = [0] * RANKS
        self._recent_count = 0
        self._period_start = now
        self.due_at = Instant(now + policy.period_ns)
        """When `update` has something to do; a plain attribute, read for every request."""
        self._offered = 0
        self.started = 0
        """Slots started in this period: whoever starts work adds its cost."""
        self._was_saturated = False
        self._calm = 0
        self._refused_classes = 0
        """Classes, from the lowest, that the cut may reach into."""
        self._roomy = 0
        """Periods in a row in which nobody waited."""
        # Decayed totals: counts and the seconds they were counted over.
        self._offered_total = 0.0
        self._offered_s = 0.0
        self._started_total = 0.0
        self._saturated_s = 0.0

    @property
    def started_rps(self) -> float:
        """Slots started per second while the cell was saturated; 0 until it has been."""
        return self._started_total / self._saturated_s if self._saturated_s > 0 else 0.0

    @property
    def offered_rps(self) -> float:
        """Slots asked for per second, refused ones included."""
        return self._offered_total / self._offered_s if self._offered_s > 0 else 0.0

    def apply(self, policy: ShedLevelPolicy) -> None:
        """Take a new policy; what was measured stays."""
        self._policy = policy
        if not policy.enabled:
            self._set_share(0.0)

    def on_arrival(self, rank: int, cost: int) -> None:
        """An arrival that is not over its tenant's share: it counts as demand, refused or not."""
        self._offered += cost
        self._recent[rank] += cost
        self._recent_count += 1
        if self._recent_count >= _HISTORY:
            self._recent, self._older = self._older, self._recent
            self._recent[:] = _ZEROES
            self._recent_count = 0

    def on_saturated(self) -> None:
        """Somebody had to wait: this period's starts measure capacity."""
        self._was_saturated = True

    def refusal(self, rank: int) -> tuple[int, int, int, int] | None:
        """The numbers of a refusal of this rank, or None: it may pass."""
        cut = self.cut_rank
        if rank > cut:
            return None
        if rank < cut:
            return (rank, cut, self.cut_share_ppm, 0)
        if not self.cut_share_ppm:
            return None
        self._phase = (self._phase + _GOLDEN_PPM) % PPM
        if self._phase < self.cut_share_ppm:
            return (rank, cut, self.cut_share_ppm, self._phase)
        return None

    def wanted(self, *, limit: int, wait_max_ns: int) -> float:
        """Waiters that keep the slots filled without making anybody wait for long.

        The target wait's worth, and three standard deviations of a queue that Poisson arrivals at
        this rate fill and the correction empties: a shorter one would run dry now and then.
        """
        rate = self.started_rps
        deviation = math.sqrt(rate * _CORRECTION_S / 2)
        wait_target_s = self._policy.wait_target_ns / NS_PER_S
        wanted = max(rate * wait_target_s, 3.0 * deviation, limit / 2, 2.0)
        ceiling = rate * wait_max_ns / (2 * NS_PER_S)
        return max(1.0, min(wanted, ceiling)) if rate > 0 else wanted

    def update(
        self, *, waiting_from: Sequence[int], limit: int, wait_max_ns: int, now: Instant
    ) -> None:
        """Close a period (cheap to call early: it returns at once) and move the level.

        `waiting_from[c]` counts the waiters of criticality c and better.
        """
        if now < self.due_at:
            return
        waiting = waiting_from[0]
        elapsed_s = (now - self._period_start) / NS_PER_S
        self._remember(elapsed_s, is_saturated=self._was_saturated or waiting > 0)
        self._period_start = now
        self.due_at = Instant(now + self._policy.period_ns)
        self._offered = self.started = 0
        was_saturated, self._was_saturated = self._was_saturated, False
        self._roomy = 0 if was_saturated or waiting else self._roomy + 1
        if not self._policy.enabled or not (self.share or self._is_overload(waiting, wait_max_ns)):
            return
        wanted = self.wanted(limit=limit, wait_max_ns=wait_max_ns)
        share = next_refused_share(
            offered_rps=self.offered_rps,
            started_rps=self.started_rps,
            waiting=waiting,
            wanted=wanted,
        )
        if self._roomy > _CALM_PERIODS:
            # Nobody has waited for a while: what was started is no longer what can be.
            share = min(share, self.share) * 0.7 - 0.005
        self._set_share(share)
        self._spare_served_classes(waiting_from, wanted, wait_max_ns)

    def _spare_served_classes(
        self, waiting_from: Sequence[int], wanted: float, wait_max_ns: int
    ) -> None:
        """Keep the cut below classes that get through the queue without waiting much.

        They go first anyway: refusing them would free nothing, and an overshoot of the share must
        not cost the most important their place. A class begins to be refused by the same rule as
        the cell, and is let off again once those of it and better have not waited for a while.
        """
        begin = self.started_rps * wait_max_ns / (2 * NS_PER_S)
        refused = self._refused_classes
        while refused < len(waiting_from) and waiting_from[refused] > begin:
            refused += 1
        if refused and waiting_from[refused - 1] < wanted / 4:
            self._calm += 1
            if self._calm > _CALM_PERIODS:
                refused -= 1
                self._calm = 0
        else:
            self._calm = 0
        self._refused_classes = refused
        if self.cut_rank >= refused * COHORTS:
            self.cut_rank, self.cut_share_ppm = refused * COHORTS, 0

    def _is_overload(self, waiting: int, wait_max_ns: int) -> bool:
        """Whether to begin: the queue already takes half of the longest wait there may be.

        A shorter one is a burst, which the queue is there to hold: refusing it would be wrong.
        """
        return waiting > self.started_rps * wait_max_ns / (2 * NS_PER_S) and self._roomy == 0

    def _remember(self, elapsed_s: float, *, is_saturated: bool) -> None:
        rate = self.started_rps
        memory_s = _MEMORY_MIN_S
        if rate > 0:
            memory_s = min(_MEMORY_MAX_S, max(_MEMORY_MIN_S, _MEMORY_STARTS / rate))
        kept = math.exp(-elapsed_s / memory_s)
        self._offered_total = self._offered_total * kept + self._offered
        self._offered_s = self._offered_s * kept + elapsed_s
        if is_saturated:
            self._started_total = self._started_total * kept + self.started
            self._saturated_s = self._saturated_s * kept + elapsed_s

    def _set_share(self, share: float) -> None:
        if share <= 0.0:
            self.share = 0.0
            self.cut_rank = self.cut_share_ppm = self._refused_classes = 0
            return
        self.share = share
        totals = [
            sum(self._recent[start : start + COHORTS]) + sum(self._older[start : start + COHORTS])
            for start in range(0, RANKS, COHORTS)
        ]
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
        self.cut_rank = start + index
        part = (target - before) / counts[index] if counts[index] else 0.0
        self.cut_share_ppm = int(min(1.0, max(0.0, part)) * PPM)


_ZEROES = [0] * RANKS
