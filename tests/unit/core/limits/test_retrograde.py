"""Where more in flight means less done, that is seen, and nothing else is taken for it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.retrograde import Company, Knee, is_retrograde
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS


def seen(in_flight: float, rtt_ms: float, *, samples: int = 64) -> Evidence:
    evidence = Evidence()
    evidence.add(window(in_flight, rtt_ms, samples=samples), target_ns=1.0, memory=math.inf)
    return evidence


def window(in_flight: float, rtt_ms: float, *, samples: int = 16) -> WindowSummary:
    return WindowSummary(
        sample_count=samples, rtt_mean_ns=round(rtt_ms * MS), in_flight_mean=in_flight
    )


def alone(two_ms: float, one_ms: float, *, samples: int = 16) -> Company:
    company = Company(seen(2, two_ms), now=Instant(0))
    company.take(window(1, one_ms, samples=samples))
    return company


@given(st.integers(2, 64), st.floats(0.5, 20))
def test_a_queue_is_not_retrograde_however_long(slots: int, overload: float) -> None:
    """Latency grows with what is in flight, and as much is done."""
    more = seen(slots * (1 + overload), 10 * (1 + overload))
    assert not is_retrograde(seen(slots, 10), more, scatter=0.0)
    assert not is_retrograde(seen(slots / 2, 10), more, scatter=0.0)


def test_work_that_slows_other_work_by_more_than_it_adds_is() -> None:
    assert is_retrograde(seen(2, 30), seen(8, 500), scatter=0.2)


def test_nothing_is_said_of_what_scatters_more_than_it_differs() -> None:
    less, more = seen(2, 30, samples=16), seen(8, 150, samples=16)
    assert is_retrograde(less, more, scatter=0.01)
    assert not is_retrograde(less, more, scatter=1.0)


def test_nothing_is_said_of_nothing() -> None:
    assert not is_retrograde(Evidence(), seen(8, 500), scatter=0.0)
    assert not is_retrograde(seen(2, 30), Evidence(), scatter=0.0)


def test_two_that_take_as_long_as_one_cost_nothing_and_that_is_known_soon() -> None:
    company = alone(two_ms=10, one_ms=10, samples=8)
    assert not company.costs
    assert company.is_over(scatter=1.0, now=Instant(0))
    assert not company.is_of_no_use


@pytest.mark.parametrize(("two_ms", "is_of_no_use"), [(20, True), (20.1, True), (19, False)])
def test_of_two_in_one_slot_each_waits_for_the_other_and_one_does_as_much(
    two_ms: float, is_of_no_use: bool
) -> None:
    """But for the way to the service and back, in which it has nothing to do."""
    company = alone(two_ms=two_ms, one_ms=10, samples=64)
    assert company.costs
    assert company.is_of_no_use is is_of_no_use


def test_how_much_company_costs_takes_more_samples_and_is_told_at_once_that_it_does() -> None:
    company = alone(two_ms=30, one_ms=10)
    assert company.tells_first()
    assert not company.tells_first()
    assert not company.is_over(scatter=0.0, now=Instant(0))
    company.take(window(1, 10))
    assert company.is_over(scatter=0.0, now=Instant(0))
    assert not company.is_over(scatter=1.0, now=Instant(0))
    assert company.is_of_no_use


def test_what_was_admitted_beside_another_says_nothing_of_one_alone() -> None:
    company = Company(seen(2, 30), now=Instant(0))
    company.take(window(1.5, 10, samples=100))
    assert not company.costs
    assert not company.is_over(scatter=0.0, now=Instant(0))


def test_whether_company_costs_is_not_answered_where_nobody_came() -> None:
    """Demand was gone. Where many came and none was alone, as of several workers, it is: no."""
    company = Company(seen(2, 30), now=Instant(0))
    company.take(window(1, 10, samples=7))
    assert company.is_over(scatter=0.0, now=Instant(2 * NS_PER_S))
    assert not company.is_answered
    company.take(window(1.5, 10, samples=1))
    assert company.is_answered
    assert not company.costs


@pytest.mark.parametrize(("two_ms", "late_s"), [(1.0, 1.0), (200.0, 4.8)])
def test_nobody_is_kept_alone_for_long_if_that_tells_nothing(two_ms: float, late_s: float) -> None:
    """Several workers, say, may have one in flight each."""
    company = Company(seen(2, two_ms), now=Instant(0))
    assert not company.is_over(scatter=0.0, now=Instant(round(late_s * NS_PER_S) - 1))
    assert company.is_over(scatter=0.0, now=Instant(round(late_s * NS_PER_S)))


def test_where_company_costs_there_is_time_to_learn_how_much() -> None:
    company = alone(two_ms=200, one_ms=50)
    assert not company.is_over(scatter=1.0, now=Instant(5 * NS_PER_S))
    assert company.is_over(scatter=1.0, now=Instant(20 * NS_PER_S))


def test_only_where_two_do_as_much_as_many_one_may() -> None:
    knee, many = Knee(), seen(8, 40)
    assert knee.is_in_doubt(seen(2, 10), many, scatter=0.0)
    assert not knee.is_in_doubt(seen(2, 20), many, scatter=0.0)
    assert not knee.is_in_doubt(Evidence(), many, scatter=0.0)


def test_once_it_is_known_that_two_do_not_disturb_each_other_only_a_better_two_is_a_doubt() -> None:
    knee, many = Knee(), seen(8, 40)
    knee.company_costs = False
    assert not knee.is_in_doubt(seen(2, 10), many, scatter=0.0)
    assert knee.is_in_doubt(seen(2, 8), many, scatter=0.0)


def test_two_are_low_unless_they_are_known_to_cost() -> None:
    knee = Knee()
    assert [knee.low_in_flight(limit) for limit in (1, 4, 20)] == [2, 2, 6]
    knee.company_costs = True
    assert [knee.low_in_flight(limit) for limit in (1, 4, 20)] == [1, 1, 6]


def test_of_two_more_is_asked_where_latencies_scatter() -> None:
    assert Company.can_tell(seen(2, 10, samples=16), scatter=0.0)
    assert not Company.can_tell(seen(2, 10, samples=16), scatter=1.0)
    assert Company.can_tell(seen(2, 10, samples=32), scatter=1.0)


def test_a_knee_that_is_lifted_is_none() -> None:
    knee = Knee()
    assert not knee.is_known
    knee.level = 3.0
    assert knee.is_known
    knee.lift(3.0)  # nothing above it was seen to do more
    assert knee.level == 3.0
    knee.lift(3.5)
    assert not knee.is_known
    knee.level = 3.0
    knee.lift()
    assert not knee.is_known
