"""Where curves bend: goodput against offered rate by a broken line, latency by Kneedle.

Satopaa et al. 2011 (Kneedle): bring both axes to 0..1 and take the place farthest from the
diagonal. Plain Kneedle is as coarse as its points and says nothing of chance, so that an interval
by bootstrap over the steps of each level goes with it, no narrower than the points are apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from shedproxy.calibration.estimates import bootstrap_interval, rising
from shedproxy.calibration.measurement import Interval, Phase, Slo, Step
from shedproxy.calibration.results import KneeFit
from shedproxy.calibration.settled import lengths_of, normal
from shedproxy.calibration.slo import merge_percentiles, open_levels, percentile_ns
from shedproxy.core import NS_PER_S
from shedproxy.workload import RandomSource

__all__ = ["broken_line", "goodput_knee", "kneedle", "latency_knee"]

_LEVELS_MIN = 4
_GOLDEN = (math.sqrt(5) - 1) / 2


def kneedle(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """The knee of a concave rising curve (for a convex one mirror it); None of a straight line."""
    if len(xs) < 3 or xs[-1] <= xs[0] or max(ys) <= min(ys):
        return None
    low, high = min(ys), max(ys)
    gaps = [
        (y - low) / (high - low) - (x - xs[0]) / (xs[-1] - xs[0])
        for x, y in zip(xs, ys, strict=True)
    ]
    place = max(range(len(gaps)), key=lambda at: gaps[at])
    if gaps[place] <= 0:
        return None
    return xs[place]


def broken_line(points: Sequence[tuple[float, float]]) -> float | None:
    """The rate at which y = min(x, knee) fits best; None where no point lies beyond it."""
    beyond = max(x for x, _ in points)

    def rest(knee: float) -> float:
        return math.fsum((y - min(x, knee)) ** 2 for x, y in points)

    low, high = 0.0, beyond
    for _ in range(60):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if rest(left) < rest(right):
            high = right
        else:
            low = left
    knee = (low + high) / 2
    return knee if knee < 0.999 * beyond else None


def goodput_knee(steps: Sequence[Step], *, rng: RandomSource) -> KneeFit | None:
    """Where answers per second no longer keep up with what is offered.

    Beyond the knee most levels have one step, which resampling cannot see scatter: what a service
    that is never idle answers in a time does as a renewal process, by its cv over the root of the
    answers, and is drawn so.
    """
    levels = [
        [
            (step.offered_rps, step.throughput_rps, (step.length_ns - step.cut_ns) / NS_PER_S)
            for step in level.steps
        ]
        for level in open_levels(steps)
    ]
    if len(levels) < _LEVELS_MIN:
        return None
    value = broken_line([(x, y) for points in levels for x, y, _ in points])
    if value is None:
        return None
    cv = _cv(steps)

    def resample(rng: RandomSource) -> float | None:
        drawn = []
        for points in levels:
            for _ in points:
                x, y, length_s = points[int(rng.random() * len(points))]
                error = cv * math.sqrt(y / length_s) if x > value else 0.0
                drawn.append((x, y + error * normal(rng)))
        return broken_line(drawn)

    interval = bootstrap_interval(value, resample, rng=rng, times=200)
    return _knee("goodput", interval, [x for points in levels for x, *_ in points])


def _cv(steps: Sequence[Step]) -> float:
    """Of service times, by the latencies without load; 1 where there are none."""
    lengths = lengths_of([step.latency for step in steps if step.phase is Phase.IDLE])
    total = math.fsum(count for _, count in lengths)
    if not total:
        return 1.0
    mean = math.fsum(length * count for length, count in lengths) / total
    square = math.fsum(length**2 * count for length, count in lengths) / total
    return math.sqrt(max(0.0, square / mean**2 - 1))


def latency_knee(steps: Sequence[Step], slo: Slo, *, rng: RandomSource) -> KneeFit | None:
    """Where the SLO's percentile of latency begins to climb steeply."""
    levels = [level for level in open_levels(steps) if level.latency is not None]
    if len(levels) < _LEVELS_MIN:
        return None

    def knee(rng: RandomSource | None) -> float | None:
        latencies = []
        for level in levels:
            steps = level.steps
            if rng is not None:
                steps = tuple(steps[int(rng.random() * len(steps))] for _ in steps)
            merged = merge_percentiles([step.latency for step in steps])
            latencies.append(float(percentile_ns(merged, slo.percentile)) if merged else 0.0)
        latencies = rising(latencies, [1.0] * len(levels))
        # Convex and rising: turned by half a turn it is concave and rising.
        turned = kneedle(
            [-level.rate_rps for level in reversed(levels)], [-one for one in reversed(latencies)]
        )
        return None if turned is None else -turned

    value = knee(None)
    if value is None:
        return None
    interval = bootstrap_interval(value, knee, rng=rng, times=200)
    return _knee("latency", interval, [level.rate_rps for level in levels])


def _knee(curve: str, found: Interval | None, rates: Sequence[float]) -> KneeFit | None:
    """Its interval ends at rates that were played: between two of them nothing is known."""
    if found is None:
        return None
    low = max((rate for rate in rates if rate < found.value), default=found.low)
    high = min((rate for rate in rates if rate > found.value), default=found.high)
    return KneeFit(
        curve=curve,
        rate_rps=replace(found, low=min(found.low, low), high=max(found.high, high)),
    )
