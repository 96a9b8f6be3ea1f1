"""Whether a concurrency is one at which a service is never idle: more of it gains nothing. Pure.

Gains are of throughput, between closed steps; what chance makes of them is told by how much service
times scatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shedproxy.calibration.estimates import t_quantile
from shedproxy.calibration.measurement import Phase, Step, StepState
from shedproxy.core import NS_PER_S

__all__ = [
    "GAIN_MIN",
    "closed_steps",
    "counted_s",
    "gain_doubt",
    "is_faster",
    "is_outdone",
    "pooled_rps",
]

GAIN_MIN = 1.15
"""Throughput after a doubling over that before it; twice as many slots give 2."""
_DOUBT = 3.0
"""Errors of a gain that are allowed for."""


def closed_steps(steps: Sequence[Step]) -> list[Step]:
    """Those of the sweep that count."""
    return [
        step
        for step in steps
        if step.phase is Phase.CLOSED
        and step.concurrency is not None
        and step.state is not StepState.VOID
    ]


def pooled_rps(steps: Sequence[Step]) -> float:
    """Throughput over all of their time."""
    total = math.fsum(map(counted_s, steps))
    return math.fsum(step.throughput_rps * counted_s(step) for step in steps) / total


def gain_doubt(*groups: Sequence[Step]) -> float:
    """Relative error of the ratio of two throughputs, by the scatter of the latencies."""
    total = 0.0
    for steps in groups:
        known = [step.latency for step in steps if step.latency is not None]
        if not known:
            return math.inf
        count = sum(latency.count for latency in known)
        squares = 0.0
        for latency in known:
            mean = latency.mean_ns
            # A bucket's bound lies half a bucket above its middle.
            square = math.fsum(held * (bound / 1.015) ** 2 for bound, held in latency.histogram)
            squares += latency.count * max(0.0, square / latency.count / mean**2 - 1)
        total += squares / count / count
    return math.sqrt(total)


def is_outdone(steps: Sequence[Step], concurrency: int) -> bool:
    """Whether more in flight than that did clearly more, all such steps taken together."""
    closed = closed_steps(steps)
    at = [step for step in closed if step.concurrency == concurrency]
    above = [step for step in closed if (step.concurrency or 0) > concurrency]
    if not at or not above or not (done_rps := pooled_rps(at)):
        return False
    gain = pooled_rps(above) / done_rps
    return gain >= GAIN_MIN and gain > math.exp(_DOUBT * gain_doubt(at, above))


def is_faster(steps: Sequence[Step], others: Sequence[Step], *, level: float, least: float) -> bool:
    """Whether by more than `least` (a share) and chance, as the longer `others` know it.

    Counts scatter with the root of time. `level` (0..1) is how sure it has to be.
    """
    mean = math.fsum(step.throughput_rps for step in others) / len(others)
    scatter = math.fsum((step.throughput_rps - mean) ** 2 * counted_s(step) for step in others)
    scatter /= len(others) - 1
    error = math.sqrt(
        scatter / math.fsum(map(counted_s, steps)) + scatter / math.fsum(map(counted_s, others))
    )
    gain = pooled_rps(steps) - mean
    return gain > max(t_quantile(level, len(others) - 1) * error, least * mean)


def counted_s(step: Step) -> float:
    """Seconds of it that count."""
    return (step.length_ns - step.cut_ns) / NS_PER_S
