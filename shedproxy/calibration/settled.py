"""Waits that build up more slowly than a step lasts, told from what settles soon. Pure.

Close to capacity a queue takes many seconds to become as long as it is on average, and an open step
begins with none: its percentiles are those of a service that has not been busy for long. Capacity
and the latency without a wait are known sooner. In heavy traffic the wait has an exponential tail,
whose mean follows from how much arrivals and service times scatter (Kingman 1962); how many wait at
all follows from the load and the slots (Sakasegawa 1977).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from shedproxy.calibration.estimates import z_quantile
from shedproxy.calibration.measurement import Percentiles, Phase, Slo, Step, StepState
from shedproxy.core import NS_PER_S
from shedproxy.workload import RandomSource

__all__ = [
    "POISSON_CV",
    "Lengths",
    "arrivals_cv",
    "drawn_lengths",
    "lengths_of",
    "normal",
    "settled_rate",
    "uncrowded_steps",
]

Lengths = Sequence[tuple[float, float]]
"""(seconds, how many)"""

POISSON_CV = 1.0
"""Coefficient of variation of the gaps between arrivals of a Poisson process."""
_UNCROWDED = 0.5
"""Share of the knee up to which nobody waits inside the service."""
_HALVINGS = 24


def arrivals_cv(arrivals: str) -> float:
    """Coefficient of variation of the gaps of `poisson` or `constant` arrivals."""
    return POISSON_CV if arrivals == "poisson" else 0.0


def uncrowded_steps(steps: Sequence[Step], capacity_rps: float) -> list[Step]:
    """Those in which nobody waited: idle ones, and closed ones well below the knee."""
    idle = [step for step in steps if step.phase is Phase.IDLE and step.latency is not None]
    count = sum(step.latency.count for step in idle if step.latency)
    if not count:
        return []
    total_ns = sum(step.latency.mean_ns * step.latency.count for step in idle if step.latency)
    few = _UNCROWDED * capacity_rps * total_ns / count / NS_PER_S
    return idle + [
        step
        for step in steps
        if step.concurrency is not None
        and 1 < step.concurrency <= few
        and step.latency is not None
        and step.state is not StepState.VOID
        and not step.failed_count
    ]


def lengths_of(latencies: Sequence[Percentiles | None]) -> Lengths:
    """How many requests took how many seconds, by the histograms."""
    counts: Counter[int] = Counter()
    for latency in latencies:
        for bound, count in latency.histogram if latency else ():
            counts[bound] += count
    # A bucket's bound lies half a bucket above its middle.
    return [(bound / 1.015 / NS_PER_S, float(counts[bound])) for bound in sorted(counts)]


def normal(rng: RandomSource) -> float:
    """A standard normal value."""
    return z_quantile(min(1 - 1e-9, max(1e-9, rng.random())))


def drawn_lengths(lengths: Lengths, rng: RandomSource) -> Lengths:
    """As they might have come out: each count as uncertain as its root."""
    drawn = [
        (length_s, max(0.0, count + math.sqrt(count) * normal(rng))) for length_s, count in lengths
    ]
    return drawn if any(count for _, count in drawn) else lengths


def _mean(values: Lengths) -> float:
    total = math.fsum(count for _, count in values)
    return math.fsum(value * count for value, count in values) / total


def settled_rate(
    lengths: Lengths,
    slo: Slo,
    *,
    capacity_rps: float,
    arrivals_cv: float = POISSON_CV,
) -> float:
    """The rate up to which waits leave the SLO's percentile within it, however long it lasts.

    Args:
        lengths: of requests that wait for nobody; some.
        slo: what is to be kept; what is too slow without a wait is not counted.
        capacity_rps: of the service.
        arrivals_cv: coefficient of variation of the gaps between arrivals; 0: they are equal.
    """
    total = math.fsum(count for _, count in lengths)
    mean_s = _mean(lengths)
    square = _mean([(length_s**2, count) for length_s, count in lengths]) / mean_s**2
    scatter = (arrivals_cv**2 + max(0.0, square - 1)) / 2
    exponent = math.sqrt(2 * (max(1.0, capacity_rps * mean_s) + 1)) - 1
    slo_s = slo.latency_ns / NS_PER_S
    rooms = [(max(0.0, slo_s - length_s), count / total) for length_s, count in lengths]

    def late_ratio(rate_rps: float) -> float:
        per_s = (capacity_rps - rate_rps) / max(scatter, 1e-9)
        late = math.fsum(share * math.exp(-room_s * per_s) for room_s, share in rooms)
        return late * math.pow(rate_rps / capacity_rps, exponent)

    low, high = 0.0, capacity_rps
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if late_ratio(middle) <= 1 - slo.percentile:
            low = middle
        else:
            high = middle
    return low
