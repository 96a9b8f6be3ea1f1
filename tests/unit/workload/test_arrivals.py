"""Schedules: open loop, seeded, as many as the rate says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import seconds
from shedproxy.workload import constant_arrivals, poisson_arrivals


@given(rate=st.floats(0.5, 5_000), length=st.floats(0.1, 3))
def test_constant_arrivals_have_equal_gaps_and_stay_inside(rate: float, length: float) -> None:
    """rate x duration of them (one more at most), rising, before the end."""
    times = list(constant_arrivals(rate_rps=rate, duration_ns=seconds(length)))
    assert abs(len(times) - rate * length) <= 1.001
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] < seconds(length) + 1


def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() -> None:
    """Mean 1 / rate, standard deviation the same."""
    times = list(poisson_arrivals(rate_rps=1_000, duration_ns=seconds(60), rng=random.Random(7)))
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1e6, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.05)


def test_equal_seeds_give_equal_schedules() -> None:
    """Chance is an argument."""

    def draw(seed: int) -> list[int]:
        rng = random.Random(seed)
        return list(poisson_arrivals(rate_rps=200, duration_ns=seconds(2), rng=rng))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
