"""Latency above the target that is worth its price: more is done with it.

Where a service has slots, what is in flight beyond them only waits, and latency a little above the
baseline is all that throughput asks for. Where each in flight slows the others a little (locks,
caches, a database behind it), latency rises long before throughput is at its peak, and to hold it
near the baseline gives a fifth away. Latency cannot tell the two apart; what is done can: a fall of
the limit that took clearly less latency than slots, and throughput with it, was one too many.

Asked of what has been seen anyway, at levels that the limit fell from; nothing is tried for it.
"""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.units import NS_PER_S, Instant
from shedproxy.core.window import WindowSummary

__all__ = ["Allowance"]

_SAMPLES: Final = 100.0
"""Of either level, times 1 + scatter, before they are compared."""
_ELASTIC: Final = 0.25
"""Throughput that went with a share of what was in flight, in shares of that: with less there was a
queue; of a service that has its peak where it is held, throughput is flat."""
_INELASTIC: Final = 0.85
"""And with more it is not the limit's doing: capacity is gone, others have taken the place, or
requests ask for more work."""
_ERRORS: Final = 2.0
"""Errors by which throughput must differ; one keeps it from what is not the limit's doing."""
_SCATTER_MIN, _SCATTER_MAX = 0.02, 1.0
"""Scatter of the intervals between two ends of work: less than that of latencies under load."""
_SAME: Final = 0.95
"""Share of a level that counts as the level itself."""
_ALIKE: Final = 1.1
"""Baselines further apart are of other work: what was done with it says nothing of this."""
_FACTOR_MAX: Final = 1.4
"""With a margin of a fifth it makes 1.7 times the baseline. More would come nearer to the peak of
such services; but of many proxies before one, of which some fall alone, each may claim it."""
_FACTOR_STEP: Final = 1.02
_EASE_NS: Final = 60 * NS_PER_S
"""Without overload there are no checks that would halve it: then it is halved where this has passed
since it grew, or was halved."""


class Allowance:
    """Remembers the level at which most was done. Constant time and memory."""

    __slots__ = ("_best", "_halved_at", "factor")

    def __init__(self) -> None:
        self.factor = 1.0
        """By which the target is higher than the baseline asks for."""
        self._best: Evidence | None = None
        self._halved_at = Instant(0)

    def forget(self) -> None:
        """The service has changed."""
        self.factor, self._best = 1.0, None

    def halve(self, *, now: Instant) -> None:
        """Half of it may do: if not, a fall will show it."""
        self.factor = 1.0 + (self.factor - 1.0) / 2.0
        self._halved_at = now

    def pass_time(self, window: WindowSummary, *, now: Instant) -> None:
        """A window has passed, whoever bounded it."""
        if not window.is_overloaded and now - self._halved_at >= _EASE_NS:
            self.halve(now=now)

    def note(self, seen: Evidence, *, scatter: float) -> None:
        """What was seen at a level that is being left."""
        if seen.count >= _SAMPLES * (1.0 + scatter):
            best = self._best
            if best is None or seen.done_rps > best.done_rps:
                self._best = seen.copy()

    def missed_level(
        self,
        seen: Evidence,
        window: WindowSummary,
        *,
        target_ns: float,
        scatter: float,
        now: Instant,
    ) -> float:
        """The level in slots that was worth its latency; 0: none. `factor` rises towards it.

        Args:
            seen: at the present level.
            window: the last of it. While nobody is refused it is only remembered.
            target_ns: latency aimed at in it, `factor` included.
            scatter: squared coefficient of variation of single latencies.
            now: from which on it is halved again.
        """
        if seen.count < _SAMPLES * (1.0 + scatter) or not seen.done_rps:
            return 0.0
        best = self._best
        if best is None or not best.is_of_same_work(seen, within=_ALIKE):
            self._best = seen.copy()
            return 0.0
        given_up = math.log(best.in_flight / seen.in_flight)
        lost = math.log(best.done_rps / seen.done_rps)
        spread = min(_SCATTER_MAX, max(_SCATTER_MIN, scatter))
        error = math.sqrt(2.0 * spread * (1.0 / best.count + 1.0 / seen.count))
        is_fall = seen.in_flight < _SAME * best.in_flight
        is_lost = is_fall and lost > _INELASTIC * given_up + _ERRORS * error
        if lost <= 0 or given_up <= 0 or is_lost:
            self._best = seen.copy()
            return 0.0
        is_worth_it = (
            max(_ELASTIC * given_up, _ERRORS * error) < lost < _INELASTIC * given_up - error
        )
        if not (window.is_overloaded and is_fall and is_worth_it):
            return 0.0
        wanted = self.factor * best.ratio * window.baseline_mean_ns / target_ns
        factor = min(_FACTOR_MAX, wanted)
        if factor <= _FACTOR_STEP * self.factor:
            return 0.0
        # What is done there from now on is what the next fall is held against.
        self.factor, self._best, self._halved_at = factor, None, now
        # Latency is at most proportional to what is in flight.
        return best.in_flight * factor / wanted
