"""What latency was when a ramp began: its measure, until there is a baseline."""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.probe import Dip
from shedproxy.core.limits.scatter import Scatter
from shedproxy.core.limits.target import target_ns
from shedproxy.core.units import NS_PER_S
from shedproxy.core.window import WindowSummary

__all__ = ["Beginning"]

_SAMPLES: Final = 16
"""The first window after an idle time may be of four."""
_GROWN: Final = 1.5
"""Those that are to make up for that may take so much longer: else a queue grows already."""
_SURE_ERRORS: Final = 2.0


class Beginning:
    """The windows of the first level, and of up to twice as much in flight; a few of any."""

    __slots__ = ("_evidence", "_target_ns", "_throughput_rps")

    def __init__(self) -> None:
        self._evidence = Evidence()
        self._target_ns = 1.0
        """What was aimed at when the ramp ended."""
        self._throughput_rps = 0.0
        """The best of all windows that the limit bounded."""

    @property
    def is_known(self) -> bool:
        """Whether any window was taken."""
        return self._evidence.count > 0

    @property
    def rtt_ns(self) -> float:
        """Mean latency in ns; 0.0 of nothing."""
        return self._evidence.rtt_ns

    def take(self, window: WindowSummary) -> None:
        """A window, unless it is of more in flight; where little is known, of a growing queue."""
        seen = self._evidence
        is_few = seen.count < _SAMPLES and window.rtt_mean_ns < _GROWN * seen.rtt_ns
        if not seen.count or is_few or window.in_flight_mean < 2 * seen.in_flight:
            seen.add(window, target_ns=1.0, memory=math.inf)

    def work(self, window: WindowSummary) -> None:
        """A window that the limit bounded, of the ramp or of later."""
        self._throughput_rps = max(self._throughput_rps, window.throughput_rps)

    def target_ns(self, window: WindowSummary, scatter: Scatter) -> float:
        """The latency to hold: by the baseline, or by the beginning before there is one, in ns."""
        baseline_ns = window.baseline_mean_ns
        target = float(target_ns(baseline_ns or window.rtt_mean_ns, window.baseline_error))
        if (baseline_ns and not window.is_provisional) or not self.is_known:
            return target
        by_first = float(target_ns(round(self.rtt_ns), self._evidence.error(scatter.value)))
        # While others are refused, a few samples without load are no baseline but a bound.
        return min(target, by_first) if baseline_ns and window.is_overloaded else by_first

    def is_sure_of(self, step: float, *, error: float, scatter: float) -> bool:
        """Whether a ramp that ends here went too far: the way back is more than all that is unsure.

        `step` is the logarithm of the level wanted over the level, `error` that of what was seen
        there.
        """
        return step < -_SURE_ERRORS * math.hypot(error, self._evidence.error(scatter))

    def end(self, window: WindowSummary, scatter: Scatter) -> float:
        """The ramp ends with this window, in a dip; gives the slots that are busy, at most.

        At the best throughput, and with the latency of then: the bandwidth-delay product of BBR,
        as the ramp may have gone far beyond it. Whole ones: with a slot more than are busy somebody
        waits for each.
        """
        self._target_ns = self.target_ns(window, scatter)
        return self._throughput_rps * (self.rtt_ns or float(window.rtt_mean_ns)) // NS_PER_S

    def level_after(self, dip: Dip, window: WindowSummary) -> float:
        """The level on the target by the first baseline, which was learnt in that dip.

        By Little's law no more is in flight on target, at the best throughput.
        """
        target = target_ns(window.baseline_mean_ns, window.baseline_error)
        level = dip.level_after(target / self._target_ns)
        return min(level, self._throughput_rps * target / NS_PER_S)
