"""What numbers of several runs come to."""

from __future__ import annotations

import random

import pytest

from shedproxy.simulator.statistics import (
    bootstrap,
    interval_of,
    jain_index,
    max_min_shares,
    mean,
    median,
    median_interval,
    resamples,
)


def test_the_median_is_the_middle_or_between_the_two() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5


def test_jain_s_index_is_1_for_equals_and_1_over_n_for_one_who_gets_all() -> None:
    assert jain_index([7, 7, 7]) == 1
    assert jain_index([9, 0, 0]) == pytest.approx(1 / 3)
    assert jain_index([0, 0]) == 1
    assert jain_index([1, 2]) == pytest.approx(9 / 10)


@pytest.mark.parametrize(
    ("demands", "total", "shares"),
    [
        ([10, 10, 10], 30, [10, 10, 10]),
        ([10, 10, 10], 15, [5, 5, 5]),
        ([1, 100, 4], 15, [1, 10, 4]),
        ([100, 2, 100], 12, [5, 2, 5]),
        ([1, 1], 100, [1, 1]),
        ([], 5, []),
    ],
)
def test_only_who_asks_for_less_gets_less(
    demands: list[float], total: float, shares: list[float]
) -> None:
    assert max_min_shares(demands, total) == shares


def noisy(level: float, *, seed: int, scenarios: int = 30, seeds: int = 5) -> list[list[float]]:
    """Scores of scenarios that differ much, alike for all, and of seeds that differ a little."""
    common, own = random.Random(1), random.Random(seed)
    return [
        [base + level + own.gauss(0, 0.005) for _ in range(seeds)]
        for base in (common.gauss(0, 0.2) for _ in range(scenarios))
    ]


def test_an_interval_holds_the_mean_and_is_as_wide_as_theory_says() -> None:
    rows = noisy(0.5, seed=2)
    intervals, _ = bootstrap({"a": rows}, rng=random.Random(3))
    value, low, high = intervals["a"]
    assert value == pytest.approx(mean([mean(row) for row in rows]))
    spread = (sum((mean(row) - value) ** 2 for row in rows) / 30) ** 0.5
    assert high - low == pytest.approx(2 * 1.96 * spread / 30**0.5, rel=0.15)


def test_what_is_common_to_all_cancels_in_differences() -> None:
    """Scores overlap by far, and yet one is better by a hundredth beyond doubt."""
    scores = {"a": noisy(0.51, seed=2), "b": noisy(0.50, seed=3)}
    intervals, differences = bootstrap(scores, rng=random.Random(4))
    assert intervals["a"].low < intervals["b"].high
    value, low, high = differences["a", "b"]
    assert 0.005 < low < value < high < 0.015


def test_equal_chance_gives_equal_intervals_and_nothing_gives_none() -> None:
    scores = {"a": noisy(0.5, seed=2)}
    runs = [bootstrap(scores, rng=random.Random(5), resamples=100) for _ in range(2)]
    assert runs[0] == runs[1]
    assert bootstrap({}, rng=random.Random(5)) == ({}, {})
    assert bootstrap({"a": []}, rng=random.Random(5)) == ({}, {})


@pytest.mark.parametrize("count", [2, 5, 6, 20, 41])
def test_the_interval_of_a_median_is_that_of_resampling_it(count: int) -> None:
    """The closed form against chance; of an even number it may be the wider one."""
    rng = random.Random(3)
    values = [rng.random() for _ in range(count)]
    drawn = sorted(
        median([values[place] for place in places])
        for places in resamples(count, rng=rng, times=20_000)
    )
    low, high = median_interval(values) or (0.0, 0.0)
    beyond = sum(value < low for value in drawn), sum(value > high for value in drawn)
    assert max(beyond) <= 0.03 * len(drawn)
    if count % 2:
        within = sorted(values)
        tighter = within[within.index(low) + 1] if low != within[-1] else low
        assert sum(value < tighter for value in drawn) >= 0.02 * len(drawn)


def test_one_value_has_no_interval() -> None:
    assert median_interval([1.0]) is None


def test_an_interval_of_any_statistic_is_of_its_resamples() -> None:
    values = [float(number) for number in range(100)]
    draws = resamples(100, rng=random.Random(1), times=1_000)
    found = interval_of(lambda places: mean([values[p] for p in places]), 100, draws)
    assert found.value == 49.5
    assert found.value - found.low == pytest.approx(1.96 * 2.89, rel=0.15)
    assert found.high - found.value == pytest.approx(1.96 * 2.89, rel=0.15)
