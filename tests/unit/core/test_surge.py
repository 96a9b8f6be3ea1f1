"""What lasts is no burst, and what comes back soon is part of a train."""

from __future__ import annotations

import random

import pytest

from shedproxy.core import Instant, milliseconds, seconds
from shedproxy.core.surge import Surge

PACE_RPS = 1000


def ask(surge: Surge, loads, *, period_ms: int = 10, limit: int = 4, pace_rps: int = PACE_RPS):
    """Periods with demand of so many times capacity, from time 0; after which of them it lasts."""
    lasts = []
    now = waiting = 0
    for load in loads:
        now += milliseconds(period_ms)
        asked = round(load * pace_rps * period_ms / 1000)
        waiting = max(0, waiting + asked - round(pace_rps * period_ms / 1000))
        surge.add(asked, waiting=waiting, pace_rps=pace_rps, limit=limit, now=Instant(now))
        lasts.append(surge.lasts)
    return lasts


def test_demand_above_capacity_lasts_after_three_tenths_of_a_second() -> None:
    """And no longer than it does."""
    lasts = ask(Surge(now=Instant(0)), [1.3] * 35 + [0.9] * 20)
    assert lasts.index(True) == 29
    assert lasts.index(False, 29) in range(39, 50), "with the first tenth that is not above"


@pytest.mark.parametrize("begins_at", range(10))
def test_a_burst_of_a_tenth_of_a_second_does_not_last(begins_at: int) -> None:
    """Wherever it begins, and however high it is."""
    loads = [0.9] * begins_at + [12.0] * 10 + [0.9] * 30
    assert not any(ask(Surge(now=Instant(0)), loads))


def test_demand_a_little_above_capacity_is_none() -> None:
    """Nearer to 1 than chance may bring it."""
    assert not any(ask(Surge(now=Instant(0)), [1.1] * 500))


def test_chance_does_not_make_it_last() -> None:
    """An hour of Poisson arrivals at 0.9, with 64 ends of work in a tenth of a second."""
    rng = random.Random(3)
    surge = Surge(now=Instant(0))
    pace_rps = 640
    hits = waiting = 0
    for period in range(1, 36_000):
        asked = round(rng.gauss(57.6, 57.6**0.5))
        waiting = max(0, waiting + asked - 64)
        at = Instant(period * milliseconds(100))
        surge.add(asked, waiting=waiting, pace_rps=pace_rps, limit=4, now=at)
        hits += surge.lasts
    assert hits <= 1


def test_of_a_slow_service_a_period_is_64_ends() -> None:
    """A hundred a second: what lasts is known after two seconds."""
    lasts = ask(Surge(now=Instant(0)), [1.3] * 25, period_ms=100, pace_rps=100)
    assert lasts.index(True) == 3 * 7 - 1


def test_with_more_slots_than_when_it_began_it_begins_anew() -> None:
    """What they can do is not known yet: a limit that is still rising is no overload."""
    surge = Surge(now=Instant(0))
    for period in range(1, 20):
        at = Instant(period * milliseconds(100))
        surge.add(200, waiting=100 * period, pace_rps=PACE_RPS, limit=8 + period, now=at)
        assert not surge.lasts


def test_demand_that_is_served_is_none_whatever_the_pace_was() -> None:
    """64 clients in step with our loop: the few that wait are waited for while others are read."""
    surge = Surge(now=Instant(0))
    for period in range(1, 20):
        at = Instant(period * milliseconds(100))
        surge.add(2000, waiting=6, pace_rps=10 * PACE_RPS, limit=58, now=at)
        assert not surge.lasts


@pytest.mark.parametrize(("took_s", "wary_s"), [(0.5, 2), (3, 12), (600, 60)])
def test_after_an_overload_it_is_wary_for_four_times_as_long(took_s, wary_s) -> None:
    """For a minute at most."""
    surge = Surge(now=Instant(0))
    assert not surge.is_wary(Instant(0))
    began_at = seconds(10)
    ended_at = began_at + int(took_s * 1e9)
    surge.begin(Instant(began_at))
    surge.end(Instant(ended_at))
    assert surge.is_wary(Instant(ended_at + seconds(wary_s) - 1))
    assert not surge.is_wary(Instant(ended_at + seconds(wary_s)))
