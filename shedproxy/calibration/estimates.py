"""Estimates and their intervals: Student's t, ranks of quantiles, trends, monotone curves.

Small enough to need no numeric library, whose import takes longer than all fits of a calibration.
Sources: Hill 1970 (Algorithm 396) for quantiles of t; David and Nagaraja 2003 for intervals of
quantiles by rank; White 1997 (MSER) for the cut of a warm-up; Barlow et al. 1972 for isotonic
regression (pool adjacent violators).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shedproxy.calibration.measurement import Interval
from shedproxy.workload import RandomSource

__all__ = [
    "Trend",
    "bootstrap_interval",
    "mean_interval",
    "mser_cut",
    "quantile_interval",
    "quantile_ranks",
    "rising",
    "t_quantile",
    "trend",
    "z_quantile",
]

LEVEL = 0.95


def z_quantile(share: float) -> float:
    """Of the standard normal distribution; `share` in (0, 1). Error below 4.5e-4.

    Abramowitz and Stegun 1964, 26.2.23, then one step of Newton's on the exact distribution.
    """
    tail = min(share, 1 - share)
    t = math.sqrt(-2 * math.log(tail))
    rational = (2.515517 + 0.802853 * t + 0.010328 * t * t) / (
        1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t**3
    )
    z = t - rational
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    z += (math.erfc(z / math.sqrt(2)) / 2 - tail) / density
    return z if share > 0.5 else -z


def t_quantile(level: float, freedom: int) -> float:
    """The half-width, in standard errors, of a two-sided interval of `level` (0..1).

    Raises:
        ValueError: less than one degree of freedom.
    """
    if freedom < 1:
        raise ValueError("an interval needs two values")
    tail = 1 - level
    if freedom == 1:
        return 1 / math.tan(tail * math.pi / 2)
    if freedom == 2:
        return math.sqrt(2 / (tail * (2 - tail)) - 2)
    n = float(freedom)
    a = 1 / (n - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * tail) ** (2 / n)
    if y > 0.05 + a:
        x = -z_quantile(1 - tail / 2)
        y = x * x
        if freedom < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = (
            (1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1
        ) * (n + 1) / (n + 2) + 1 / y
    return math.sqrt(n * y)


def mean_interval(
    values: Sequence[float], *, weights: Sequence[float] | None = None, level: float = LEVEL
) -> Interval | None:
    """The mean of independent values, by Student's t; None of less than two.

    With `weights` (lengths of time, counts) the variance of a value is one over its weight.
    """
    count = len(values)
    if count < 2:
        return None
    weights = [1.0] * count if weights is None else weights
    pairs, total = list(zip(weights, values, strict=True)), math.fsum(weights)
    mean = math.fsum(weight * value for weight, value in pairs) / total
    variance = math.fsum(weight * (value - mean) ** 2 for weight, value in pairs) / (count - 1)
    half = t_quantile(level, count - 1) * math.sqrt(variance / total)
    return Interval(value=mean, low=max(0.0, mean - half), high=mean + half, level=level)


def quantile_ranks(count: int, share: float, *, level: float = LEVEL) -> tuple[int, int] | None:
    """Ranks (from 1) of the sorted values between which the quantile lies; None: too few values.

    Distribution-free, by the normal approximation of the binomial.
    """
    middle, half = (
        count * share,
        z_quantile((1 + level) / 2) * math.sqrt(count * share * (1 - share)),
    )
    low, high = math.floor(middle - half), math.ceil(middle + half) + 1
    return (low, high) if low >= 1 and high <= count else None


def quantile_interval(
    ordered: Sequence[float], share: float, *, level: float = LEVEL
) -> Interval | None:
    """A quantile of sorted independent values; None of too few."""
    ranks = quantile_ranks(len(ordered), share, level=level)
    if ranks is None:
        return None
    middle = ordered[min(len(ordered), max(1, math.ceil(len(ordered) * share))) - 1]
    return Interval(
        value=middle, low=ordered[ranks[0] - 1], high=ordered[ranks[1] - 1], level=level
    )


def mser_cut(values: Sequence[float], *, batch: int = 5) -> int:
    """How many of the first values are warm-up: MSER-5.

    The cut that makes the standard error of the rest smallest, over means of `batch` values; never
    more than half, because a minimum beyond it is chance.
    """
    means = [
        math.fsum(values[i : i + batch]) / batch for i in range(0, len(values) - batch + 1, batch)
    ]
    count = len(means)
    best, best_cut = math.inf, 0
    total = square = 0.0
    for place in range(count - 1, -1, -1):
        total += means[place]
        square += means[place] ** 2
        kept = count - place
        if kept > count // 2:
            error = max(0.0, square - total * total / kept) / (kept * kept)
            if error <= best:
                best, best_cut = error, place
    return best_cut * batch


class Trend(NamedTuple):
    """A straight line through values at equal distances."""

    slope: float
    """Change from one value to the next."""
    t_value: float
    """Slope in its standard errors; infinite where the line is exact and not flat."""


def trend(values: Sequence[float]) -> Trend | None:
    """Least squares over time; None of less than three values."""
    count = len(values)
    if count < 3:
        return None
    middle, mean = (count - 1) / 2, math.fsum(values) / count
    spread = count * (count * count - 1) / 12
    slope = math.fsum((i - middle) * (value - mean) for i, value in enumerate(values)) / spread
    rest = math.fsum((value - mean - slope * (i - middle)) ** 2 for i, value in enumerate(values))
    error = math.sqrt(rest / (count - 2) / spread)
    if error == 0:
        return Trend(slope, math.copysign(math.inf, slope) if slope else 0.0)
    return Trend(slope, slope / error)


def rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The rising sequence that is closest in weighted squares."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, total, count = value, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, other_total, other_count = blocks.pop()
            mean = (mean * total + other * other_total) / (total + other_total)
            total, count = total + other_total, count + other_count
        blocks.append((mean, total, count))
    return [mean for mean, _, count in blocks for _ in range(count)]


def bootstrap_interval(
    value: float,
    resample: Callable[[RandomSource], float | None],
    *,
    rng: RandomSource,
    times: int = 300,
    level: float = LEVEL,
) -> Interval | None:
    """Percentile interval of what `resample` draws; None where more than a tenth are None."""
    drawn = [one for one in (resample(rng) for _ in range(times)) if one is not None]
    if len(drawn) < 0.9 * times:
        return None
    drawn.sort()
    last = len(drawn) - 1
    low, high = drawn[round((1 - level) / 2 * last)], drawn[round((1 + level) / 2 * last)]
    return Interval(value=value, low=max(0.0, min(low, value)), high=max(high, value), level=level)
