"""One live run beside simulated runs of the same scenario: do they come to the same?

Goodput counts answers within the deadline over the smaller of capacity and offered load. It agrees
within 3 points of the simulated median. The 99th percentile of what was served agrees within a
fifth of the median beyond what chance alone made of the simulated runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.core import NS_PER_MS
from shedproxy.workload import Summary

__all__ = ["GOODPUT_WITHIN", "P99_WITHIN", "Comparison", "Figure", "goodput_ratio"]

GOODPUT_WITHIN = 0.03
"""Points of goodput, as a ratio, that live may differ from the simulated median."""
P99_WITHIN = 0.2
"""Share of the simulated median that the live p99 may lie outside of the simulated range."""


def goodput_ratio(summary: Summary, capacity_rps: float) -> float:
    """Answers in time over what was possible, from 0 to about 1; 1 where nothing was asked."""
    possible_rps = min(capacity_rps, summary.offered_rps)
    return summary.goodput_rps / possible_rps if possible_rps else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured figure beside the simulated ones, one or more."""

    live: float
    simulated: Sequence[float]

    @property
    def median(self) -> float:
        """Of the simulated ones."""
        return statistics.median(self.simulated)

    @property
    def least(self) -> float:
        """Of the simulated ones."""
        return min(self.simulated)

    @property
    def most(self) -> float:
        """Of the simulated ones."""
        return max(self.simulated)

    @property
    def difference(self) -> float:
        """Live less the simulated median."""
        return self.live - self.median


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A live summary beside the summaries of simulated runs, one or more."""

    live: Summary
    simulated: Sequence[Summary]
    capacity_rps: float

    @property
    def goodput(self) -> Figure:
        """Goodput ratios."""
        return Figure(
            live=goodput_ratio(self.live, self.capacity_rps),
            simulated=[goodput_ratio(summary, self.capacity_rps) for summary in self.simulated],
        )

    @property
    def p99_ms(self) -> Figure:
        """99th percentiles of the latency of what was served in time, in ms; 0 of nothing."""
        return Figure(
            live=(self.live.p99_ns or 0) / NS_PER_MS,
            simulated=[(summary.p99_ns or 0) / NS_PER_MS for summary in self.simulated],
        )

    @property
    def disagreements(self) -> list[str]:
        """The figures that are too far apart, by name; empty: they agree."""
        goodput, p99_ms = self.goodput, self.p99_ms
        allowed_ms = P99_WITHIN * p99_ms.median
        agree = {
            "goodput": abs(goodput.difference) <= GOODPUT_WITHIN,
            "p99": p99_ms.least - allowed_ms <= p99_ms.live <= p99_ms.most + allowed_ms,
        }
        return [name for name, is_met in agree.items() if not is_met]
