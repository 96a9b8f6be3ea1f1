"""What numbers of several runs come to: fairness, medians, intervals by resampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from shedproxy.workload import RandomSource

__all__ = [
    "Interval",
    "bootstrap",
    "interval_of",
    "jain_index",
    "max_min_shares",
    "mean",
    "median",
    "median_interval",
    "resamples",
]

RESAMPLES = 2_000
_TAIL = 0.025


class Interval(NamedTuple):
    """An estimate, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of one value or more."""
    return math.fsum(values) / len(values)


def median(values: Sequence[float]) -> float:
    """The middle of one value or more; of an even number the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def jain_index(values: Sequence[float]) -> float:
    """Jain, Chiu and Hawe 1984: 1 if all get alike, 1/n if one gets all; 1 if nobody gets any."""
    squares = math.fsum(value * value for value in values)
    return math.fsum(values) ** 2 / (len(values) * squares) if squares else 1.0


def max_min_shares(demands: Sequence[float], total: float) -> list[float]:
    """Max-min fair shares of a total.

    Nobody gets more than it asks for, and only who asks for less gets less than others.
    """
    shares = [0.0] * len(demands)
    left, waiting = total, sorted(range(len(demands)), key=demands.__getitem__)
    for place, index in enumerate(waiting):
        shares[index] = min(demands[index], left / (len(waiting) - place))
        left -= shares[index]
    return shares


def bootstrap(
    scores: Mapping[str, Sequence[Sequence[float]]],
    *,
    rng: RandomSource,
    resamples: int = RESAMPLES,
) -> tuple[dict[str, Interval], dict[tuple[str, str], Interval]]:
    """Mean scores and their differences with 95 % intervals, resampled in pairs.

    Args:
        scores: by name, a row for each scenario (in the same order for all) with a score for each
            seed. Scenarios are drawn with replacement, and seeds within each: the same ones for
            every name, so that what is common to all cancels in the differences.
        rng: chance.
        resamples: how many times.

    Returns:
        The intervals by name, and those of differences by (name, other name), in the order given.
    """
    names = list(scores)
    sizes = [len(row) for row in scores[names[0]]] if names else []
    if not sizes:
        return {}, {}
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(resamples):
        picks = [int(rng.random() * len(sizes)) for _ in sizes]
        seeds = [[int(rng.random() * sizes[row]) for _ in range(sizes[row])] for row in picks]
        for name in names:
            rows = scores[name]
            total = math.fsum(
                mean([rows[row][seed] for seed in chosen])
                for row, chosen in zip(picks, seeds, strict=True)
            )
            drawn[name].append(total / len(picks))
    values = {name: mean([mean(row) for row in scores[name]]) for name in names}
    intervals = {name: _interval(values[name], drawn[name]) for name in names}
    differences = {
        (one, other): _interval(
            values[one] - values[other],
            [a - b for a, b in zip(drawn[one], drawn[other], strict=True)],
        )
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }
    return intervals, differences


def resamples(count: int, *, rng: RandomSource, times: int = RESAMPLES) -> list[list[int]]:
    """Places of `count` things, drawn with replacement as many at a time, so many times."""
    return [[int(rng.random() * count) for _ in range(count)] for _ in range(times)]


def interval_of(
    statistic: Callable[[Sequence[int]], float], count: int, draws: Sequence[Sequence[int]]
) -> Interval:
    """A statistic of `count` things, given their places, with its interval over `draws` of them."""
    return _interval(statistic(range(count)), [statistic(places) for places in draws])


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where the median lies with 95 % confidence, by the bootstrap; None of fewer than two.

    The distribution of the median of endless resamples is known (Efron 1979): it is at most the
    k-th of n values when enough of n draws, each with a chance of k/n, are. Of an even number the
    lower end is that of the lower of the two in the middle, the upper end that of the upper one.
    """
    if len(values) < 2:
        return None
    low, high = _median_places(len(values))
    ordered = sorted(values)
    return ordered[low], ordered[high]


@lru_cache(256)
def _median_places(count: int) -> tuple[int, int]:
    lower, upper = (count + 1) // 2, count // 2 + 1
    low = next(k for k in range(1, count + 1) if _chance_of_so_many(count, k, lower) >= _TAIL)
    high = next(k for k in range(1, count + 1) if _chance_of_so_many(count, k, upper) >= 1 - _TAIL)
    return low - 1, high - 1


def _chance_of_so_many(count: int, favourable: int, at_least: int) -> float:
    """That of `count` draws among `count` at least so many are of the favourable ones."""
    share = favourable / count
    return math.fsum(
        math.comb(count, hits) * share**hits * (1 - share) ** (count - hits)
        for hits in range(at_least, count + 1)
    )


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    ordered = sorted(drawn)
    last = len(ordered) - 1
    return Interval(value, ordered[round(_TAIL * last)], ordered[round((1 - _TAIL) * last)])
