"""Up to which rate the SLO holds, by open steps: pooled levels, made monotone, interpolated.

A level passes when its latency percentile and its errors are within the SLO; the estimate of the
percentile is that of all its steps together, from their histograms. Between the highest level that
passes and the next the rate is interpolated on the percentile, because a quantised step is no
measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.calibration.estimates import bootstrap_interval, rising
from shedproxy.calibration.measurement import Interval, Percentiles, Phase, Slo, Step, StepState
from shedproxy.core import Nanos
from shedproxy.workload import RandomSource

__all__ = [
    "Level",
    "SloRate",
    "kept_rate",
    "merge_percentiles",
    "next_levels",
    "open_levels",
    "percentile_ns",
    "slo_rate",
]

_START_LEVELS = (0.9, 0.7)
_GRID = 0.025
_HIGHEST = 0.975
_LOWEST = 0.1
_BOOTSTRAPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """All open steps at one planned rate."""

    rate_rps: float
    """Offered, as it came out."""
    steps: tuple[Step, ...]
    latency: Percentiles | None
    error_ratio: float
    goodput_rps: float
    throughput_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SloRate:
    """The rate and the level next below it; `is_bound` False: nothing that was played broke it."""

    rate_rps: Interval
    in_flight: float
    latency: Percentiles
    is_bound: bool


def open_levels(steps: Sequence[Step]) -> list[Level]:
    """Open steps pooled by planned rate (equal within a hundredth), rising."""
    groups: list[list[Step]] = []
    counted = [
        step
        for step in steps
        if step.phase is Phase.OPEN and step.planned_rps and step.state is not StepState.VOID
    ]
    for step in sorted(counted, key=lambda step: step.planned_rps or 0.0):
        planned = step.planned_rps or 0.0
        if groups and planned <= 1.01 * (groups[-1][0].planned_rps or 0.0):
            groups[-1].append(step)
        else:
            groups.append([step])
    return [_level(group) for group in groups]


def _level(steps: Sequence[Step]) -> Level:
    lengths = [step.length_ns - step.cut_ns for step in steps]
    total = sum(lengths)

    def mean(values: Sequence[float]) -> float:
        return math.fsum(v * length for v, length in zip(values, lengths, strict=True)) / total

    offered = sum(step.offered_count for step in steps)
    bad = sum(step.failed_count + step.refused_count for step in steps)
    return Level(
        rate_rps=mean([step.offered_rps for step in steps]),
        steps=tuple(steps),
        latency=merge_percentiles([step.latency for step in steps]),
        error_ratio=bad / offered if offered else 1.0,
        goodput_rps=mean([step.goodput_rps for step in steps]),
        throughput_rps=mean([step.throughput_rps for step in steps]),
    )


def merge_percentiles(parts: Sequence[Percentiles | None]) -> Percentiles | None:
    """Of all samples together, as well as histograms know them; percentiles are never averaged."""
    known = [part for part in parts if part is not None]
    if len(known) < 2:
        return known[0] if known else None
    buckets: dict[int, int] = {}
    for part in known:
        for bound, count in part.histogram:
            buckets[bound] = buckets.get(bound, 0) + count
    histogram = tuple(sorted((Nanos(bound), count) for bound, count in buckets.items()))
    count = sum(part.count for part in known)
    most = max(part.max_ns for part in known)
    return Percentiles(
        count=count,
        mean_ns=Nanos(sum(part.mean_ns * part.count for part in known) // count),
        p50_ns=_at(histogram, count, 0.5, most),
        p90_ns=_at(histogram, count, 0.9, most),
        p99_ns=_at(histogram, count, 0.99, most),
        p999_ns=_at(histogram, count, 0.999, most),
        max_ns=most,
        histogram=histogram,
    )


def _at(histogram: Sequence[tuple[Nanos, int]], count: int, share: float, most: Nanos) -> Nanos:
    wanted, passed, low = share * count, 0, 0
    for bound, held in histogram:
        if passed + held >= wanted:
            # A bucket is narrow; inside it any law is a straight line.
            low = max(low, int(bound / 1.03))
            return Nanos(min(most, round(low + (bound - low) * (wanted - passed) / held)))
        passed, low = passed + held, bound
    return most


def percentile_ns(latency: Percentiles, share: float) -> Nanos:
    """Any percentile, from the histogram."""
    return _at(latency.histogram, latency.count, share, latency.max_ns)


def next_levels(steps: Sequence[Step], rate_rps: float, slo: Slo, *, count: int) -> list[float]:
    """Which shares of `rate_rps` to offer next: those around the place where the SLO breaks."""
    levels = [level for level in open_levels(steps) if level.rate_rps < 1.02 * rate_rps]
    if not levels:
        return list(_START_LEVELS[:count])
    rates = [level.rate_rps / rate_rps for level in levels]
    strains = _strains(levels, slo)
    passing = [rate for rate, strain in zip(rates, strains, strict=True) if strain <= 1]
    failing = [rate for rate, strain in zip(rates, strains, strict=True) if strain > 1]
    low = max(passing, default=0.0)
    high = min((rate for rate in failing if rate > low), default=1.0)
    middle = (low + high) / 2 if low else high / 2
    wanted = [middle, low or high / 4, high]
    found: list[float] = []
    for level in wanted:
        snapped = min(_HIGHEST, max(_LOWEST, round(level / _GRID) * _GRID))
        if snapped not in found:
            found.append(snapped)
    return found[:count]


def _strains(levels: Sequence[Level], slo: Slo) -> list[float]:
    """Latency percentile over what the SLO allows, per level, never falling with the rate."""
    strains, weights = [], []
    for level in levels:
        if level.latency is None:
            strains.append(math.inf)
        else:
            strains.append(percentile_ns(level.latency, slo.percentile) / slo.latency_ns)
        weights.append(float(sum(step.offered_count for step in level.steps)) or 1.0)
        if level.error_ratio > slo.error_ratio:
            strains[-1] = max(strains[-1], 1 + level.error_ratio)
    return rising([min(strain, 1e6) for strain in strains], weights)


def slo_rate(
    steps: Sequence[Step], slo: Slo, *, ceiling_rps: float, rng: RandomSource
) -> SloRate | None:
    """The largest rate that keeps the SLO, at most `ceiling_rps`; None: none did."""
    levels = open_levels(steps)
    value = kept_rate(levels, slo, ceiling_rps)
    if value is None:
        return None
    below = [level for level in levels if level.rate_rps <= value * 1.001]
    nearest = below[-1] if below else levels[0]
    if nearest.latency is None:
        return None

    def resample(rng: RandomSource) -> float | None:
        again = []
        for level in levels:
            count = len(level.steps)
            drawn = [level.steps[int(rng.random() * count)] for _ in range(count)]
            again.append(_level(drawn))
        return kept_rate(again, slo, ceiling_rps)

    interval = bootstrap_interval(value, resample, rng=rng, times=_BOOTSTRAPS)
    if interval is None:
        return None
    strains = _strains(levels, slo)
    return SloRate(
        rate_rps=interval,
        in_flight=nearest.throughput_rps * nearest.latency.mean_ns / 1e9,
        latency=nearest.latency,
        is_bound=max(strains) > 1,
    )


def kept_rate(levels: Sequence[Level], slo: Slo, ceiling_rps: float) -> float | None:
    """The largest rate that keeps the SLO, at most `ceiling_rps`; None where none did."""
    if not levels:
        return None
    strains = _strains(levels, slo)
    passing = [place for place, strain in enumerate(strains) if strain <= 1]
    if not passing:
        return None
    place = passing[-1]
    rate = levels[place].rate_rps
    if place + 1 < len(levels):
        low, high = strains[place], min(strains[place + 1], 1e3)
        above = min(levels[place + 1].rate_rps, ceiling_rps)
        if above > rate and high > low:
            # Latency grows as 1 / (1 - load): its inverse falls in a straight line.
            share = (1 / low - 1) / (1 / low - 1 / high) if low > 0 else 0.5
            rate += (above - rate) * share
    return min(rate, ceiling_rps)
