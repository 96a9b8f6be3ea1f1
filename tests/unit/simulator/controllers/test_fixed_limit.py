"""A limit without a queue admits below it and refuses at it."""

from __future__ import annotations

from shedproxy.core import Instant, Outcome, Permit, Rejected, RejectReason, RequestInfo
from shedproxy.simulator.controllers.fixed_limit import FixedControl, LimitControl

NOW = Instant(7)
REQUEST = RequestInfo()


def admit(control: LimitControl, request: RequestInfo = REQUEST) -> Permit:
    permit = control.arrive(request, now=NOW)
    assert isinstance(permit, Permit)
    return permit


def test_what_is_above_the_limit_is_refused_at_once() -> None:
    control = FixedControl(3)
    permits = [admit(control) for _ in range(3)]
    refused = control.arrive(REQUEST, now=NOW)
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.in_flight, refused.limit) == (RejectReason.QUEUE_FULL, 3, 3)
    control.release(permits[1], Outcome.OVERLOAD, now=NOW)
    assert admit(control).in_flight_before == 2


def test_a_client_that_left_frees_its_slot() -> None:
    control = FixedControl(1)
    control.leave_zombie(admit(control), now=NOW)
    assert control.in_flight == 0


def test_a_costly_request_may_be_the_last() -> None:
    """The originals compare before they count."""
    control = FixedControl(3)
    admit(control)
    admit(control, RequestInfo(cost=5))
    assert control.reading() == (3, 6, 0, 0.0, 0)
    assert isinstance(control.arrive(REQUEST, now=NOW), Rejected)


def test_a_limit_of_nothing_refuses_all() -> None:
    assert isinstance(FixedControl(0).arrive(REQUEST, now=NOW), Rejected)


def test_the_deadline_travels_with_the_permit() -> None:
    permit = FixedControl(1).arrive(REQUEST, now=NOW, time_left_ns=10)
    assert isinstance(permit, Permit)
    assert permit.expires_at == 17


def test_nothing_moves_it() -> None:
    control = FixedControl(2)
    for outcome in Outcome:
        control.release(admit(control), outcome, now=Instant(10**12))
        assert control.limit == 2
    assert control.next_tick_at() is None
