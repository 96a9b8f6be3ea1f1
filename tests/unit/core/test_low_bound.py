"""What counts as low is what did at admission."""

from __future__ import annotations

from shedproxy.core import Instant
from shedproxy.core.low_bound import LowBound


def test_less_in_flight_than_the_bound_is_low() -> None:
    bound = LowBound(now=Instant(0))
    assert not bound.holds(0, Instant(0)), "none is set"
    bound.set(4, now=Instant(0))
    assert [bound.holds(in_flight, Instant(5)) for in_flight in (0, 3, 4)] == [True, True, False]


def test_a_bound_that_has_moved_counts_for_those_admitted_since() -> None:
    bound = LowBound(now=Instant(0))
    for at, low in ((10, 4), (20, 8), (30, 3)):
        bound.set(low, now=Instant(at))
    assert [bound.holds(5, Instant(at)) for at in (15, 25, 35)] == [False, True, False]
    assert [bound.holds(3, Instant(at)) for at in (15, 25, 35)] == [True, True, False]


def test_before_the_first_and_what_is_forgotten_two_are_low() -> None:
    bound = LowBound(now=Instant(0))
    for at in range(100):
        bound.set(10 + at % 2, now=Instant(10 * at))
    assert [bound.holds(in_flight, Instant(15)) for in_flight in (1, 2)] == [True, False]
