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
from shedproxy.core.window import WindowSummary

__all__ = ["Allowance"]

_SAMPLES: Final = 100.0
"""Of either level, times 1 + scatter, before they are compared."""
_ELASTIC: Final = 0.25
"""Throughput that went with a share of what was in flight, in shares of that: with less there was a
queue; of a service that has its peak where it is held, throughput is flat."""
_INELASTIC: Final = 0.85
"""And with more, and an error besides, it is not the limit's doing: capacity is gone, others have
taken the place, or requests ask for more work."""
_ERRORS: Final = 2.0
_SCATTER_MIN, _SCATTER_MAX = 0.02, 1.0
"""Scatter of the intervals between two ends of work: less than that of latencies under load."""
_SAME: Final = 0.95
"""Share of a level that counts as the level itself."""
_FACTOR_MAX: Final = 1.4
"""With a margin of a fifth it makes 1.7 times the baseline. More would come nearer to the peak of
such services; but of many proxies before one, of which some fall alone, each may claim it."""
_FACTOR_STEP: Final = 1.02


class Allowance:
    """Remembers the level at which most was done. Constant time and memory."""

    __slots__ = ("_best", "factor")

    def __init__(self) -> None:
        self.factor = 1.0
        """By which the target is higher than the baseline asks for."""
        self._best: Evidence | None = None

    def forget(self) -> None:
        """The service has changed."""
        self.factor, self._best = 1.0, None

    def halve(self) -> None:
        """Half of it may do: if not, the fall that follows will show it."""
        self.factor = 1.0 + (self.factor - 1.0) / 2.0

    def note(self, seen: Evidence, *, scatter: float) -> None:
        """What was seen at a level that is being left."""
        if seen.count >= _SAMPLES * (1.0 + scatter):
            best = self._best
            if best is None or seen.done_rps > best.done_rps:
                self._best = seen.copy()

    def missed_level(
        self, seen: Evidence, window: WindowSummary, *, target_ns: float, scatter: float
    ) -> float:
        """The level in slots that was worth its latency; 0: none. `factor` rises towards it.

        Args:
            seen: at the present level.
            window: the last of it. While nobody is refused it is only remembered.
            scatter: squared coefficient of variation of single latencies.
            target_ns: latency aimed at, `factor` included.
        """
        if seen.count < _SAMPLES * (1.0 + scatter) or not seen.done_rps:
            return 0.0
        best = self._best
        is_more = best is None or seen.done_rps >= best.done_rps
        if best is None or is_more or seen.in_flight >= _SAME * best.in_flight:
            if best is None or is_more or seen.in_flight >= best.in_flight:
                self._best = seen.copy()
            return 0.0
        given_up = math.log(best.in_flight / seen.in_flight)
        lost = math.log(best.done_rps / seen.done_rps)
        spread = min(_SCATTER_MAX, max(_SCATTER_MIN, scatter))
        error = math.sqrt(2.0 * spread * (1.0 / best.count + 1.0 / seen.count))
        if lost >= _INELASTIC * given_up + error:
            self._best = seen.copy()
            return 0.0
        factor = min(_FACTOR_MAX, self.factor * best.rtt_ns / target_ns)
        is_sure = lost > max(_ELASTIC * given_up, _ERRORS * error)
        if not (window.is_overloaded and is_sure and factor > _FACTOR_STEP * self.factor):
            return 0.0
        self.factor = factor
        return best.in_flight
