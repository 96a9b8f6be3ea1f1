"""What is refused before slots and queue are looked at."""

from __future__ import annotations

from shedproxy.core import (
    Criticality,
    Kind,
    Lane,
    Outcome,
    Permit,
    QueuePolicy,
    Rejected,
    RejectReason,
    Shedder,
    Ticket,
    milliseconds,
)


def test_what_cannot_finish_in_time_is_refused_at_once(fixed, at, arrive, reason) -> None:
    """200 ms of work do not fit in 100 ms; a passed deadline never does."""
    shedder = Shedder(fixed(4), now=at(0))
    for step in range(20):
        permit = arrive(shedder, step * 200)
        shedder.release(permit, Outcome.SUCCESS, now=at(step * 200 + 200))
    arrive(shedder, 4000)
    decision = arrive(shedder, 4000, time_left_ns=milliseconds(100))
    assert reason(decision) is RejectReason.DEADLINE
    assert reason(arrive(shedder, 4000, time_left_ns=0)) is RejectReason.DEADLINE
    assert isinstance(arrive(shedder, 4000, time_left_ns=milliseconds(900)), Permit)


def test_an_idle_cell_tries_what_it_expects_to_fail(fixed, at, arrive) -> None:
    """Else an expectation learnt in bad times would refuse for ever."""
    shedder = Shedder(fixed(4), now=at(0))
    for step in range(20):
        permit = arrive(shedder, step * 200)
        shedder.release(permit, Outcome.SUCCESS, now=at(step * 200 + 200))
    assert isinstance(arrive(shedder, 4000, time_left_ns=milliseconds(100)), Permit)


def test_route_and_class_bounds_refuse_before_slots(fixed, at, arrive, reason) -> None:
    """A bound of 0 always refuses."""
    shedder = Shedder(fixed(10, class_limits=(0, None, 1, None)), now=at(0))
    assert reason(arrive(shedder, route="x", route_limit=0)) is RejectReason.ROUTE_LIMIT
    sheddable = arrive(shedder, criticality=Criticality.SHEDDABLE)
    assert reason(sheddable) is RejectReason.CLASS_LIMIT
    first = arrive(shedder, criticality=Criticality.CRITICAL)
    assert isinstance(first, Permit)
    assert reason(arrive(shedder)) is RejectReason.CLASS_LIMIT
    shedder.release(first, Outcome.SUCCESS, now=at(1))
    assert isinstance(arrive(shedder, 2), Permit)


def test_a_class_holds_what_its_bound_counts(fixed, at, arrive) -> None:
    """In flight, waiting and streaming; a control request is of no class."""
    shedder = Shedder(fixed(3), now=at(0))

    def held() -> tuple[int, ...]:
        return shedder.stats().cells[0].class_in_flight

    assert held() == (0, 0, 0, 0)
    first = arrive(shedder, criticality=Criticality.SHEDDABLE, cost=3)
    arrive(shedder, criticality=Criticality.CRITICAL)
    arrive(shedder, criticality=Criticality.CRITICAL_PLUS, kind=Kind.STREAM)
    arrive(shedder, lane=Lane.CONTROL)
    assert held() == (3, 0, 1, 1)
    assert isinstance(first, Permit)
    shedder.release(first, Outcome.SUCCESS, now=at(1))
    assert held() == (0, 0, 1, 1)


def test_control_requests_bypass_a_full_cell_within_their_budget(fixed, at, arrive, reason) -> None:
    """Health answers while everything else waits."""
    shedder = Shedder(fixed(1, control_budget=1), now=at(0))
    arrive(shedder)
    control = arrive(shedder, lane=Lane.CONTROL)
    assert isinstance(control, Permit)
    assert reason(arrive(shedder, lane=Lane.CONTROL)) is RejectReason.CONTROL_BUDGET
    shedder.release(control, Outcome.SUCCESS, now=at(1))
    assert isinstance(arrive(shedder, 1, lane=Lane.CONTROL), Permit)


def test_streams_are_residents_with_a_bound_of_their_own(fixed, at, arrive, reason) -> None:
    """They take no slot and no sample."""
    shedder = Shedder(fixed(1, resident_limit=2), now=at(0))
    streams = [arrive(shedder, kind=Kind.STREAM) for _ in range(2)]
    assert reason(arrive(shedder, kind=Kind.STREAM)) is RejectReason.RESIDENT_LIMIT
    assert isinstance(arrive(shedder), Permit)
    shedder.release(streams[0], Outcome.SUCCESS, now=at(9_999_999))
    assert shedder.stats().cells[0].residents == 1


def test_a_tenant_over_its_share_is_refused_in_overload(fixed, at, arrive) -> None:
    """One tenant floods, another sends a little: the flood gets 429s, the other gets in."""
    shedder = Shedder(fixed(4, queue=QueuePolicy(length_max=16)), now=at(0))
    running: list[Permit] = []
    refused = {1: [], 2: []}
    offered = {1: 0, 2: 0}

    def settle(decision: object, flow: int) -> None:
        if isinstance(decision, Permit):
            running.append(decision)
        elif isinstance(decision, Rejected):
            refused[flow].append(decision.reason)
        elif isinstance(decision, Ticket) and decision.evicted is not None:
            gone = decision.evicted
            assert isinstance(gone.decision, Rejected)
            refused[gone.ticket.flow_hash // 7_777_777].append(gone.decision.reason)

    for ms in range(4000):
        for _ in range(3):
            flow = 2 if ms % 20 == 0 and offered[2] * 60 <= offered[1] else 1
            offered[flow] += 1
            settle(arrive(shedder, ms, flow_hash=flow * 7_777_777), flow)
        if ms % 5 == 4 and running:
            for verdict in shedder.release(running.pop(0), Outcome.SUCCESS, now=at(ms)):
                if isinstance(verdict.decision, Permit):
                    running.append(verdict.decision)
                else:
                    flow = verdict.ticket.flow_hash // 7_777_777
                    refused[flow].append(verdict.decision.reason)
    assert RejectReason.FAIR_SHARE in refused[1]
    assert RejectReason.FAIR_SHARE not in refused[2]
    assert len(refused[1]) / offered[1] > 0.9
    assert len(refused[2]) / offered[2] < 0.1


def test_a_limit_that_falls_below_what_runs_is_no_queue(fixed, at, arrive) -> None:
    """Nobody waits, so there is nothing to refuse anybody for: who comes next may wait."""
    shedder = Shedder(fixed(100), now=at(0))
    for _ in range(100):
        arrive(shedder, criticality=Criticality.SHEDDABLE)
    for step in range(1, 60):
        shedder.tick(now=at(step * 100))
    shedder.apply(fixed(10), now=at(6000))
    for step in range(60, 64):
        shedder.tick(now=at(step * 100))
    assert shedder.stats().cells[0].shed_share == 0
    assert isinstance(arrive(shedder, 6400, criticality=Criticality.SHEDDABLE), Ticket)
