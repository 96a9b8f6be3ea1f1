"""The rate of arrivals over time: steps, ramps, bursts, a beginning and an end."""

from __future__ import annotations

import math
from typing import Any

import pytest

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.workload.curve import RateCurve


def stretches(until_s: float = 100, **spec: Any) -> list[tuple[float, float]]:
    """(from second, rate) of a curve of 10/s, as one who asks again at each end sees it."""
    curve = RateCurve(10.0, **spec)
    at, seen = 0.0, []
    while at < until_s * NS_PER_S:
        rate, until = curve.at(at)
        assert until > at
        seen.append((round(at / NS_PER_S, 6), round(rate, 6)))
        at = until
    return seen


def test_without_a_schedule_the_rate_is_constant_for_ever() -> None:
    assert RateCurve(10.0).at(5.0) == (10.0, math.inf)


def test_factors_hold_until_the_next_and_1_before_the_first() -> None:
    assert stretches(schedule=((2, 3), (5, 0), (7, 0.5))) == [(0, 10), (2, 30), (5, 0), (7, 5)]


def test_nothing_comes_before_the_start_or_from_the_stop_on() -> None:
    assert stretches(start_s=3, stop_s=9, schedule=((5, 2),)) == [(0, 0), (3, 10), (5, 20), (9, 0)]


def test_a_ramp_climbs_evenly_between_its_points() -> None:
    steps = stretches(2, is_ramp=True, schedule=((1, 1), (2, 3)))
    assert (1.5, 20) in steps
    assert [rate for _, rate in steps] == sorted(rate for _, rate in steps)
    assert RateCurve(10.0, is_ramp=True, schedule=((1, 1), (2, 3))).at(3e9) == (30.0, math.inf)


def test_bursts_come_at_the_end_of_each_interval() -> None:
    burst = {"burst_every_ms": 1000, "burst_ms": 200, "burst_factor": 5}
    assert stretches(2, **burst) == [(0, 10), (0.8, 50), (1, 10), (1.8, 50)]


def test_a_step_ends_a_burst_s_stretch_too() -> None:
    burst = {"burst_every_ms": 1000, "burst_ms": 200, "burst_factor": 5}
    assert stretches(1, schedule=((0.9, 2),), **burst) == [(0, 10), (0.8, 50), (0.9, 100)]


@pytest.mark.parametrize("at_ns", [0, 799 * NS_PER_MS, 800 * NS_PER_MS, 999_999_999])
def test_any_instant_may_be_asked_for(at_ns: int) -> None:
    curve = RateCurve(10.0, burst_every_ms=1000, burst_ms=200, burst_factor=5)
    rate, until = curve.at(at_ns)
    assert rate == (50 if at_ns >= 800 * NS_PER_MS else 10)
    assert at_ns < until <= NS_PER_S


def test_bursts_end_with_the_load() -> None:
    """Whoever waits for the next change waits for ever, and is told so."""
    curve = RateCurve(10.0, stop_s=1, burst_every_ms=1000, burst_ms=200, burst_factor=5)
    assert curve.at(1.5 * NS_PER_S) == (0.0, math.inf)


def test_between_its_bursts_a_population_may_be_silent() -> None:
    """On and off: nothing for 0.8 s, then its rate for 0.2."""
    on_off = {"burst_every_ms": 1000, "burst_ms": 200, "quiet_factor": 0}
    assert stretches(2, **on_off) == [(0, 0), (0.8, 10), (1, 0), (1.8, 10)]
    assert RateCurve(10.0, **on_off).highest_rps == 10
