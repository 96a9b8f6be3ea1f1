"""Estimates agree with published tables and with what they estimate."""

from __future__ import annotations

import math
import random

import pytest

from shedproxy.calibration.estimates import (
    bootstrap_interval,
    mean_interval,
    mser_cut,
    quantile_interval,
    quantile_ranks,
    rising,
    t_quantile,
    trend,
    z_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (9, 2.262), (30, 2.042), (1000, 1.962)],
)
def test_quantiles_of_t_are_those_of_the_tables(freedom: int, value: float) -> None:
    assert t_quantile(0.95, freedom) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(("share", "value"), [(0.975, 1.95996), (0.5, 0.0), (0.001, -3.09023)])
def test_quantiles_of_the_normal_distribution(share: float, value: float) -> None:
    assert z_quantile(share) == pytest.approx(value, abs=1e-4)


def test_ninety_five_of_a_hundred_intervals_hold_the_mean() -> None:
    rng = random.Random(1)
    intervals = [mean_interval([rng.gauss(10, 2) for _ in range(6)]) for _ in range(2000)]
    held = sum(one is not None and one.low <= 10 <= one.high for one in intervals)
    assert 0.935 <= held / 2000 <= 0.965


def test_values_of_unlike_length_are_weighed_by_it() -> None:
    rng = random.Random(4)

    def one() -> bool:
        weights = [1.0, 9.0, 4.0, 9.0, 0.5, 9.0]
        values = [rng.gauss(10, 2 / weight**0.5) for weight in weights]
        found = mean_interval(values, weights=weights)
        return found is not None and found.low <= 10 <= found.high

    assert 0.935 <= sum(one() for _ in range(2000)) / 2000 <= 0.965


def test_one_value_has_no_interval() -> None:
    assert mean_interval([1.0]) is None
    with pytest.raises(ValueError, match="two values"):
        t_quantile(0.95, 0)


def test_ranks_of_p99_of_ten_thousand_are_the_published_ones() -> None:
    assert quantile_ranks(10_000, 0.99) == (9880, 9921)
    assert quantile_ranks(300, 0.99) is None
    interval = quantile_interval([float(i) for i in range(1, 10_001)], 0.99)
    assert interval is not None
    assert (interval.low, interval.value, interval.high) == (9880, 9900, 9921)


def test_the_cut_is_where_warm_up_ends() -> None:
    rng = random.Random(2)
    values = [100 - i for i in range(50)] + [20 + rng.random() for _ in range(450)]
    assert 45 <= mser_cut(values) <= 60
    assert mser_cut([1.0] * 3) == 0


def test_a_trend_is_told_from_noise() -> None:
    rng = random.Random(3)
    flat = trend([rng.gauss(0, 1) for _ in range(50)])
    steep = trend([i + rng.gauss(0, 1) for i in range(50)])
    assert flat is not None
    assert steep is not None
    assert abs(flat.t_value) < 3 < steep.t_value
    assert steep.slope == pytest.approx(1, abs=0.05)
    assert trend([1.0, 2.0]) is None
    assert trend([1.0, 2.0, 3.0]) == (1.0, math.inf)


def test_a_rising_sequence_pools_what_falls_by_weight() -> None:
    assert rising([1, 3, 2, 4], [1, 1, 1, 1]) == [1, 2.5, 2.5, 4]
    assert rising([4, 0], [3, 1]) == [3, 3]


def test_a_bootstrap_says_where_a_mean_may_lie_or_that_it_does_not_know() -> None:
    rng = random.Random(4)
    values = [rng.gauss(5, 1) for _ in range(100)]

    def again(rng: random.Random) -> float:
        return sum(values[int(rng.random() * 100)] for _ in values) / 100

    interval = bootstrap_interval(sum(values) / 100, again, rng=rng)
    assert interval is not None
    assert interval.high - interval.low == pytest.approx(4 * 0.1, rel=0.3)
    assert bootstrap_interval(1.0, lambda _: None, rng=rng) is None
