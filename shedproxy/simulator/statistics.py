"""What numbers of several runs come to: fairness, medians, intervals by resampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shedproxy.workload import RandomSource

__all__ = ["Interval", "bootstrap", "jain_index", "max_min_shares", "mean", "median"]

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


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    ordered = sorted(drawn)
    last = len(ordered) - 1
    return Interval(value, ordered[round(_TAIL * last)], ordered[round((1 - _TAIL) * last)])
