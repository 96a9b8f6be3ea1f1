"""Slots, the queue, and the end of work in one cell."""

from __future__ import annotations

import pytest

from shedproxy.core import (
    Criticality,
    Outcome,
    Permit,
    QueuePolicy,
    Rejected,
    RejectReason,
    Shedder,
    Ticket,
    milliseconds,
)
from shedproxy.core.opening import Opening
from shedproxy.errors import PermitAlreadyReleasedError


def test_slots_then_the_queue_then_no(fixed, at, arrive) -> None:
    """Limit 2, queue 1: two run, one waits, the fourth is told that the queue is full."""
    shedder = Shedder(fixed(2, queue=QueuePolicy(length_max=1)), now=at(0))
    kinds = [type(arrive(shedder)) for _ in range(4)]
    assert kinds == [Permit, Permit, Ticket, Rejected]


def test_a_freed_slot_goes_to_the_best_waiter(fixed, at, arrive) -> None:
    """Critical first, though it came last."""
    shedder = Shedder(fixed(1), now=at(0))
    running = arrive(shedder)
    low = arrive(shedder, criticality=Criticality.SHEDDABLE)
    high = arrive(shedder, criticality=Criticality.CRITICAL)
    [verdict] = shedder.release(running, Outcome.SUCCESS, now=at(10))
    assert verdict.ticket is high
    assert isinstance(verdict.decision, Permit)
    assert verdict.decision.waited_ns == milliseconds(10)
    assert low.state.name == "WAITING"


def test_a_better_arrival_evicts_the_worst_waiter(fixed, at, arrive, reason) -> None:
    """And the victim's verdict comes with the newcomer's ticket."""
    shedder = Shedder(fixed(1, queue=QueuePolicy(length_max=1)), now=at(0))
    arrive(shedder)
    low = arrive(shedder, criticality=Criticality.SHEDDABLE)
    high = arrive(shedder, criticality=Criticality.CRITICAL_PLUS)
    assert high.evicted is not None
    assert high.evicted.ticket is low
    assert reason(high.evicted.decision) is RejectReason.EVICTED


def test_waiting_too_long_is_a_refusal_with_the_wait_in_it(fixed, at, arrive, reason) -> None:
    """The tick at `next_tick_at` answers."""
    queue = QueuePolicy(wait_max_ns=milliseconds(200))
    shedder = Shedder(fixed(1, queue=queue), now=at(0))
    arrive(shedder)
    ticket = arrive(shedder, 10)
    assert shedder.next_tick_at() == at(210)
    assert not shedder.tick(now=at(209))
    [verdict] = shedder.tick(now=at(210))
    assert verdict.ticket is ticket
    assert reason(verdict.decision) is RejectReason.QUEUE_TIMEOUT
    assert verdict.decision.waited_ns == milliseconds(200)


def test_slots_that_open_one_after_another_go_to_those_who_wait_as_they_open(
    fixed, at, arrive
) -> None:
    """Without an end of work: the tick at `next_tick_at` gives them."""
    shedder = Shedder(fixed(3), now=at(0))
    limits = shedder._cells["default"]._limits
    limits._open(Opening(3, in_flight=0, turn_ns=milliseconds(30), now=at(0)), at(0))
    assert isinstance(arrive(shedder), Permit)
    assert shedder.next_tick_at() is None, "nobody waits for the next"
    first, second = arrive(shedder, 1), arrive(shedder, 2)
    assert shedder.next_tick_at() == at(10)
    assert [verdict.ticket for verdict in shedder.tick(now=at(10))] == [first]
    assert shedder.next_tick_at() == at(20)
    assert [verdict.ticket for verdict in shedder.tick(now=at(20))] == [second]
    assert limits.limit == 3
    assert limits.opens_at is None or limits.opens_at == at(30)


def test_a_deadline_bounds_the_wait(fixed, at, arrive) -> None:
    """A third of the time left, at most."""
    shedder = Shedder(fixed(1), now=at(0))
    arrive(shedder)
    ticket = arrive(shedder, time_left_ns=milliseconds(300))
    assert isinstance(ticket, Ticket)
    assert ticket.expires_at == at(99)


def test_an_answer_that_turns_out_to_be_a_stream_frees_its_slot(fixed, at, arrive) -> None:
    """The next waiter runs."""
    shedder = Shedder(fixed(1), now=at(0))
    permit = arrive(shedder)
    ticket = arrive(shedder)
    shedder.respond(permit, now=at(5))
    [verdict] = shedder.to_resident(permit, now=at(5))
    assert verdict.ticket is ticket
    assert shedder.stats().cells[0].residents == 1
    assert not shedder.to_resident(permit, now=at(6))


def test_the_heads_of_streams_are_no_baseline_for_whole_answers(fixed, at, arrive) -> None:
    """Else opening streams would make every other request of the route look slow."""
    shedder = Shedder(fixed(4), now=at(0))
    for step in range(50):
        stream = arrive(shedder, step)
        shedder.respond(stream, now=at(step))
        shedder.to_resident(stream, now=at(step))
        shedder.release(stream, Outcome.SUCCESS, now=at(step + 1))
    assert shedder.stats().cells[0].baseline_ns == 0


@pytest.mark.parametrize(
    ("outcome", "stood_still"),
    [(Outcome.IGNORE, False), (Outcome.OVERLOAD, False), (Outcome.ABANDONED, True)],
)
def test_a_service_that_answers_with_errors_does_not_stand_still(
    fixed, at, arrive, outcome, stood_still
) -> None:
    """Clients that leave show nothing of it."""
    shedder = Shedder(fixed(8), now=at(0))
    for at_ms in range(0, 10_000, 20):
        shedder.release(arrive(shedder, at_ms), Outcome.SUCCESS, now=at(at_ms + 20))
    under_way = [arrive(shedder, 10_000) for _ in range(4)]
    for at_ms in range(10_000, 10_400, 20):
        shedder.release(arrive(shedder, at_ms), outcome, now=at(at_ms + 20))
    limits = shedder._cells["default"]._limits
    for permit in under_way:
        shedder.release(permit, Outcome.SUCCESS, now=at(10_410))
    assert (limits.standstill.since, limits.standstill.until) == (
        (at(10_000), at(10_410)) if stood_still else (at(0), at(0))
    )


def test_beyond_the_bound_of_residents_a_stream_keeps_its_slot(fixed, at, arrive) -> None:
    """Else any number of streams could slip past both bounds."""
    shedder = Shedder(fixed(2, resident_limit=1), now=at(0))
    first, second = arrive(shedder), arrive(shedder)
    shedder.to_resident(first, now=at(1))
    shedder.to_resident(second, now=at(1))
    [cell] = shedder.stats().cells
    assert (cell.residents, cell.in_flight) == (1, 1)
    for permit in (first, second):
        shedder.release(permit, Outcome.SUCCESS, now=at(2))
    [cell] = shedder.stats().cells
    assert (cell.residents, cell.in_flight) == (0, 0)


def test_a_zombie_keeps_its_slot_for_the_expected_rest(fixed, at, arrive) -> None:
    """Work of 100 ms whose client left after 40 ms holds its slot for 60 more."""
    shedder = Shedder(fixed(1), now=at(0))
    for step in range(30):
        permit = arrive(shedder, step * 100)
        shedder.release(permit, Outcome.SUCCESS, now=at(step * 100 + 100))
    permit = arrive(shedder, 3000)
    ticket = arrive(shedder, 3000)
    assert not shedder.leave_zombie(permit, now=at(3040))
    assert shedder.stats().cells[0].zombies == 1
    due = shedder.next_tick_at()
    assert due is not None
    assert due == pytest.approx(at(3100), abs=milliseconds(2))
    [verdict] = shedder.tick(now=due)
    assert verdict.ticket is ticket
    with pytest.raises(PermitAlreadyReleasedError):
        shedder.release(permit, Outcome.SUCCESS, now=at(3200))


def test_a_request_wider_than_the_limit_runs_alone(fixed, at, arrive) -> None:
    """Or it never would."""
    shedder = Shedder(fixed(3), now=at(0))
    wide = arrive(shedder, cost=7)
    assert isinstance(wide, Permit)
    assert isinstance(arrive(shedder, cost=1), Ticket)


def test_a_wide_waiter_holds_up_nobody_better(fixed, at, arrive) -> None:
    """Two slots are free, too few for the sheddable request that waits, enough for a better one."""
    shedder = Shedder(fixed(4), now=at(0))
    arrive(shedder, cost=2)
    assert isinstance(arrive(shedder, cost=3, criticality=Criticality.SHEDDABLE), Ticket)
    assert isinstance(arrive(shedder), Permit)
    assert isinstance(arrive(shedder, criticality=Criticality.SHEDDABLE), Ticket)


def test_a_stream_is_measured_to_its_head(fixed, at, arrive) -> None:
    """Seen late, because a reader was slow: two seconds of his are no latency of the route."""
    shedder = Shedder(fixed(4), now=at(0))
    for step in range(20):
        permit = arrive(shedder, step * 3000)
        shedder.respond(permit, now=at(step * 3000 + 20))
        shedder.to_resident(permit, now=at(step * 3000 + 2020))
        shedder.release(permit, Outcome.SUCCESS, now=at(step * 3000 + 2500))
    arrive(shedder, 60_000)
    in_time = arrive(shedder, 60_000, time_left_ns=milliseconds(100))
    assert isinstance(in_time, Permit)


def test_waiters_without_a_tenant_are_not_charged_with_what_a_tenant_holds(
    fixed, at, arrive, reason
) -> None:
    """This flow's counters are the ones that a flow of 0 would have."""
    same_counters = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    shedder = Shedder(fixed(12, queue=QueuePolicy(length_max=2)), now=at(0))
    for flow_hash in [same_counters] * 5 + [7_777_777] * 7:
        arrive(shedder, flow_hash=flow_hash)
    waiting = [arrive(shedder) for _ in range(2)]
    assert reason(arrive(shedder, flow_hash=7_777_777)) is RejectReason.QUEUE_FULL
    assert all(ticket.state.name == "WAITING" for ticket in waiting)


def test_in_overload_a_tenant_below_an_equal_part_is_the_first_of_its_level(
    fixed, at, arrive, reason
) -> None:
    """It has a place in a full queue, and no newcomer takes it away."""
    shedder = Shedder(fixed(2, queue=QueuePolicy(length_max=2)), now=at(0))
    noisy = [arrive(shedder, flow_hash=1) for _ in range(4)]
    assert reason(arrive(shedder, flow_hash=1)) is RejectReason.QUEUE_FULL
    quiet = arrive(shedder, flow_hash=7_777_777)
    assert quiet.state.name == "WAITING"
    assert quiet.evicted.ticket in noisy
    assert isinstance(arrive(shedder, flow_hash=1), Rejected)
    assert quiet.state.name == "WAITING"
