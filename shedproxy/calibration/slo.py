"""Up to which rate the SLO holds, by open steps: pooled levels, made monotone, interpolated.

A level passes when its latency percentile and its errors are within the SLO; the estimate of the
percentile is that of all its steps together, from their histograms. Between the highest level that
passes and the next the rate is interpolated on the percentile, because a quantised step is no
measurement. What a queue comes to in the long run bounds it (`settled`): a step is over too soon to
show that close to capacity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.calibration.estimates import LEVEL, rising, z_quantile
from shedproxy.calibration.measurement import Interval, Percentiles, Phase, Slo, Step, StepState
from shedproxy.calibration.settled import (
    POISSON_CV,
    Lengths,
    drawn_lengths,
    lengths_of,
    normal,
    settled_rate,
    uncrowded_steps,
)
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
    "rate_within",
    "slo_rate",
    "waitless_lengths",
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
    steps: Sequence[Step],
    slo: Slo,
    *,
    capacity: Interval | None,
    rng: RandomSource,
    arrivals_cv: float = POISSON_CV,
) -> SloRate | None:
    """The largest rate that keeps the SLO, at most the capacity; None: none did.

    It is the lower of what the levels show and of what waits leave in the long run; the interval
    reaches from the one to the other, and to the levels between which the SLO breaks.
    """
    levels = open_levels(steps)
    lengths = waitless_lengths(steps, capacity)
    found = rate_within(levels, slo, lengths, _drawn_from(capacity), arrivals_cv=arrivals_cv)
    if found is None:
        return None
    value, shown = found
    below = [level for level in levels if level.rate_rps <= value * 1.001]
    nearest = below[-1] if below else levels[0]
    if nearest.latency is None:
        return None

    def drawn() -> tuple[float, float] | None:
        again = [
            _level([each.steps[int(rng.random() * len(each.steps))] for _ in each.steps])
            for each in levels
        ]
        return rate_within(
            again,
            slo,
            drawn_lengths(lengths, rng),
            _drawn_from(capacity, rng),
            arrivals_cv=arrivals_cv,
        )

    known = [one for one in (drawn() for _ in range(_BOOTSTRAPS)) if one is not None]
    if len(known) < 0.9 * _BOOTSTRAPS:
        return None
    low, high = _bracket(levels, slo, shown, capacity)
    last, tail = len(known) - 1, (1 - LEVEL) / 2
    return SloRate(
        rate_rps=Interval(
            value=value,
            low=min(value, low, sorted(one[0] for one in known)[round(tail * last)]),
            high=max(value, high, sorted(one[1] for one in known)[round((1 - tail) * last)]),
        ),
        in_flight=nearest.throughput_rps * nearest.latency.mean_ns / 1e9,
        latency=nearest.latency,
        is_bound=value < shown or max(_strains(levels, slo)) > 1,
    )


def _bracket(
    levels: Sequence[Level], slo: Slo, shown: float, capacity: Interval | None
) -> tuple[float, float]:
    """The rates that kept the SLO and did not: between them nothing was played."""
    strains = _strains(levels, slo)
    kept = max(level.rate_rps for level, strain in zip(levels, strains, strict=True) if strain <= 1)
    broken = [level.rate_rps for level, strain in zip(levels, strains, strict=True) if strain > 1]
    above = min((rate for rate in broken if rate > kept), default=math.inf)
    if capacity is None:
        return kept, above if above < math.inf else shown
    return min(kept, capacity.low), min(above, capacity.high)


def _drawn_from(capacity: Interval | None, rng: RandomSource | None = None) -> float:
    """A capacity as it might be, or without `rng` as it most likely is."""
    if capacity is None:
        return math.inf
    if rng is None:
        return capacity.value
    error = (capacity.high - capacity.low) / 2 / z_quantile((1 + capacity.level) / 2)
    return max(1e-9, capacity.value + error * normal(rng))


def waitless_lengths(steps: Sequence[Step], capacity: Interval | None) -> Lengths:
    """Lengths of requests that waited for nobody; none where the capacity is not known."""
    alone = uncrowded_steps(steps, capacity.value) if capacity else []
    return lengths_of([step.latency for step in alone])


def rate_within(
    levels: Sequence[Level],
    slo: Slo,
    lengths: Lengths,
    capacity_rps: float,
    *,
    arrivals_cv: float = POISSON_CV,
) -> tuple[float, float] | None:
    """The rate that keeps the SLO for good, and the one that was seen to; None where none did."""
    shown = kept_rate(levels, slo, capacity_rps)
    if shown is None or not lengths:
        return None if shown is None else (shown, shown)
    settled = settled_rate(lengths, slo, capacity_rps=capacity_rps, arrivals_cv=arrivals_cv)
    return min(shown, settled), shown


def kept_rate(levels: Sequence[Level], slo: Slo, ceiling_rps: float) -> float | None:
    """The largest rate that keeps the SLO, at most `ceiling_rps`; None where none did."""
    if not levels:
        return None
    strains = _strains(levels, slo)
    passing = [place for place, strain in enumerate(strains) if strain <= 1]
    if not passing:
        return None
    place = passing[-1]
    # As it came out a rate may be above the next one that was planned.
    rate = max(level.rate_rps for level in levels[: place + 1])
    if place + 1 < len(levels):
        low, high = strains[place], min(strains[place + 1], 1e3)
        above = min(levels[place + 1].rate_rps, ceiling_rps)
        if above > rate and high > low:
            # Latency grows as 1 / (1 - load): its inverse falls in a straight line.
            share = (1 / low - 1) / (1 / low - 1 / high) if low > 0 else 0.5
            rate += (above - rate) * share
    return min(rate, ceiling_rps)
