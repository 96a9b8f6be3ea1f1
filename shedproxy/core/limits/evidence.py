"""What many windows say together of latency and of what was in flight.

Sums, not means of means: of scattered latencies the mean of ratios lies below the ratio of means,
and a limit steered by it would be biased by the noise alone.
"""

from __future__ import annotations

import math
from typing import Final

from shedproxy.core.window import WindowSummary

__all__ = ["Evidence"]

_OUTLIER: Final = 3.0
"""A window counts for at most so many times the mean so far: a pause of the service is an event,
not a latency. A lasting change is seen all the same, a factor of three at once."""
_SCATTER_MIN: Final = 0.01
"""Of a service that answers like a clock: its windows differ all the same, by how they are cut."""
_CORRELATION: Final = 2.0
"""Neighbours wait for the same others, which doubles the variance of their mean."""


class Evidence:
    """Windows weighted by their samples; the oldest fade beyond a memory given with each."""

    __slots__ = (
        "_baseline_sum",
        "_in_flight_sum",
        "_rtt_sum",
        "_target_sum",
        "_time_s",
        "count",
    )

    def __init__(self) -> None:
        self.reset()

    def copy(self) -> Evidence:
        """What is known now."""
        same = Evidence()
        same.count = self.count
        same._rtt_sum, same._baseline_sum = self._rtt_sum, self._baseline_sum
        same._target_sum, same._in_flight_sum = self._target_sum, self._in_flight_sum
        same._time_s = self._time_s
        return same

    def reset(self) -> None:
        """Know nothing."""
        self.count = 0.0
        """Samples, faded ones in part."""
        self._rtt_sum = self._baseline_sum = self._target_sum = self._in_flight_sum = 0.0
        self._time_s = 0.0

    def add(self, window: WindowSummary, *, target_ns: float, memory: float) -> None:
        """Take a window whose latency should be `target_ns`; keep about `memory` samples in all."""
        count = window.sample_count
        rtt_ns = float(max(1, window.judged_rtt_ns))
        if self.count >= count:
            rtt_ns = min(rtt_ns, _OUTLIER * self.strain * target_ns)
        kept = min(1.0, memory / (self.count + count))
        self.count = self.count * kept + count
        self._rtt_sum = self._rtt_sum * kept + count * rtt_ns
        self._baseline_sum = self._baseline_sum * kept + count * window.baseline_mean_ns
        self._target_sum = self._target_sum * kept + count * target_ns
        self._in_flight_sum = self._in_flight_sum * kept + count * window.in_flight_mean
        took_s = count / window.throughput_rps if window.throughput_rps else 0.0
        self._time_s = self._time_s * kept + took_s

    @property
    def rtt_ns(self) -> float:
        """Mean latency in ns; 0.0 of nothing."""
        return self._rtt_sum / self.count if self.count else 0.0

    @property
    def in_flight(self) -> float:
        """Mean in flight, as each sample was admitted, itself included; 0.0 of nothing."""
        return self._in_flight_sum / self.count if self.count else 0.0

    @property
    def rate(self) -> float:
        """What is finished in a ns, by Little's law; of something."""
        return self._in_flight_sum / max(1.0, self._rtt_sum)

    @property
    def done_rps(self) -> float:
        """What was finished in a second, by the clock; 0.0 of nothing."""
        return self.count / self._time_s if self._time_s else 0.0

    @property
    def ratio(self) -> float:
        """Mean latency over mean baseline; 0.0: no baseline."""
        return self._rtt_sum / self._baseline_sum if self._baseline_sum else 0.0

    @property
    def strain(self) -> float:
        """Mean latency over its target: above 1 work waits inside the service; 0.0 of nothing."""
        return self._rtt_sum / self._target_sum if self._target_sum else 0.0

    def is_of_same_work(self, other: Evidence, *, within: float) -> bool:
        """Whether mean baselines differ by at most a factor; so they do where one has none."""
        ours, others = self._baseline_sum * other.count, other._baseline_sum * self.count
        return ours <= others * within and others <= ours * within

    def wanted(self, level: float) -> float:
        """The level in slots at which latency would be on target, as things were at `level`.

        Above the target latency is proportional to what is in flight (Little's law), whatever the
        level has become since. Something must have been added.
        """
        strain = self.strain
        return level / strain if strain <= 1 else min(level, self.in_flight / strain)

    def judged(self, level: float, scatter: float) -> tuple[float, float, float]:
        """The level that is `wanted`, the logarithm of the move there, and its `error`."""
        wanted = self.wanted(level)
        return wanted, math.log(wanted / level), self.error(scatter)

    def error(self, scatter: float) -> float:
        """Standard error of the strain, relative; infinite of nothing.

        `scatter` is the squared coefficient of variation of single latencies.
        """
        if not self.count:
            return math.inf
        return math.sqrt(_CORRELATION * max(scatter, _SCATTER_MIN) / self.count)
