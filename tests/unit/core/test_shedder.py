"""The facade: what each mode answers, in which order reasons come, what survives a new policy."""

from __future__ import annotations

import pytest

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    Kind,
    Lane,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    Ticket,
    milliseconds,
    refusal_holds,
)
from shedproxy.errors import PermitAlreadyReleasedError


def fixed(limit: int, **cell: object) -> Policy:
    """One cell with a fixed limit."""
    mode = cell.pop("mode", Mode.ENFORCE)
    return Policy(
        mode=mode,  # type: ignore[arg-type]
        cells=(
            CellPolicy(
                limit=LimitPolicy(algorithm="fixed", initial=limit, maximum=1000),
                **cell,  # type: ignore[arg-type]
            ),
        ),
    )


def at(ms: float) -> Instant:
    return Instant(milliseconds(ms))


def arrive(shedder: Shedder, ms: float = 0, **request: object):
    time_left = request.pop("time_left_ns", None)
    flow = request.pop("flow_hash", 0)
    return shedder.arrive(
        RequestInfo(**request),  # type: ignore[arg-type]
        now=at(ms),
        flow_hash=flow,  # type: ignore[arg-type]
        cohort=5,
        time_left_ns=time_left,  # type: ignore[arg-type]
    )


def reason(decision: object) -> RejectReason:
    assert isinstance(decision, Rejected)
    assert refusal_holds(decision)
    return decision.reason


def test_slots_then_the_queue_then_no() -> None:
    """Limit 2, queue 1: two run, one waits, the fourth is told that the queue is full."""
    shedder = Shedder(fixed(2, queue=QueuePolicy(length_max=1)), now=at(0))
    kinds = [type(arrive(shedder)) for _ in range(4)]
    assert kinds == [Permit, Permit, Ticket, Rejected]


def test_a_freed_slot_goes_to_the_best_waiter() -> None:
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


def test_a_better_arrival_evicts_the_worst_waiter() -> None:
    """And the victim's verdict comes with the newcomer's ticket."""
    shedder = Shedder(fixed(1, queue=QueuePolicy(length_max=1)), now=at(0))
    arrive(shedder)
    low = arrive(shedder, criticality=Criticality.SHEDDABLE)
    high = arrive(shedder, criticality=Criticality.CRITICAL_PLUS)
    assert high.evicted is not None
    assert high.evicted.ticket is low
    assert reason(high.evicted.decision) is RejectReason.EVICTED


def test_waiting_too_long_is_a_refusal_with_the_wait_in_it() -> None:
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


def test_a_deadline_bounds_the_wait() -> None:
    """A third of the time left, at most."""
    shedder = Shedder(fixed(1), now=at(0))
    arrive(shedder)
    ticket = arrive(shedder, time_left_ns=milliseconds(300))
    assert isinstance(ticket, Ticket)
    assert ticket.expires_at == at(99)


def test_what_cannot_finish_in_time_is_refused_at_once() -> None:
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


def test_an_idle_cell_tries_what_it_expects_to_fail() -> None:
    """Else an expectation learnt in bad times would refuse for ever."""
    shedder = Shedder(fixed(4), now=at(0))
    for step in range(20):
        permit = arrive(shedder, step * 200)
        shedder.release(permit, Outcome.SUCCESS, now=at(step * 200 + 200))
    assert isinstance(arrive(shedder, 4000, time_left_ns=milliseconds(100)), Permit)


def test_route_and_class_bounds_refuse_before_slots_are_looked_at() -> None:
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


def test_control_requests_bypass_a_full_cell_within_their_budget() -> None:
    """Health answers while everything else waits."""
    shedder = Shedder(fixed(1, control_budget=1), now=at(0))
    arrive(shedder)
    control = arrive(shedder, lane=Lane.CONTROL)
    assert isinstance(control, Permit)
    assert reason(arrive(shedder, lane=Lane.CONTROL)) is RejectReason.CONTROL_BUDGET
    shedder.release(control, Outcome.SUCCESS, now=at(1))
    assert isinstance(arrive(shedder, 1, lane=Lane.CONTROL), Permit)


def test_streams_are_residents_with_a_bound_of_their_own() -> None:
    """They take no slot and no sample."""
    shedder = Shedder(fixed(1, resident_limit=2), now=at(0))
    streams = [arrive(shedder, kind=Kind.STREAM) for _ in range(2)]
    assert reason(arrive(shedder, kind=Kind.STREAM)) is RejectReason.RESIDENT_LIMIT
    assert isinstance(arrive(shedder), Permit)
    shedder.release(streams[0], Outcome.SUCCESS, now=at(9_999_999))
    assert shedder.stats().cells[0].residents == 1


def test_an_answer_that_turns_out_to_be_a_stream_frees_its_slot() -> None:
    """The next waiter runs."""
    shedder = Shedder(fixed(1), now=at(0))
    permit = arrive(shedder)
    ticket = arrive(shedder)
    shedder.respond(permit, now=at(5))
    [verdict] = shedder.to_resident(permit, now=at(5))
    assert verdict.ticket is ticket
    assert shedder.stats().cells[0].residents == 1
    assert not shedder.to_resident(permit, now=at(6))


def test_a_zombie_keeps_its_slot_for_the_expected_rest() -> None:
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


def test_a_second_release_raises_and_changes_nothing() -> None:
    """A caller's mistake is an exception at once."""
    shedder = Shedder(fixed(2), now=at(0))
    permit = arrive(shedder)
    shedder.release(permit, Outcome.SUCCESS, now=at(1))
    before = shedder.stats()
    with pytest.raises(PermitAlreadyReleasedError):
        shedder.release(permit, Outcome.SUCCESS, now=at(2))
    assert shedder.stats() == before


def test_a_request_wider_than_the_limit_runs_alone() -> None:
    """Or it never would."""
    shedder = Shedder(fixed(3), now=at(0))
    wide = arrive(shedder, cost=7)
    assert isinstance(wide, Permit)
    assert isinstance(arrive(shedder, cost=1), Ticket)


def test_observe_refuses_nobody_and_says_what_it_would_have_done() -> None:
    """What is in flight above the limit stands for the queue."""
    policy = fixed(1, mode=Mode.OBSERVE, queue=QueuePolicy(length_max=1))
    shedder = Shedder(policy, now=at(0))
    decisions = [arrive(shedder) for _ in range(4)]
    assert all(isinstance(decision, Permit) for decision in decisions)
    would = [decision.would_reject for decision in decisions]
    assert [w is None for w in would] == [True, True, False, False]
    assert reason(would[2]) is RejectReason.QUEUE_FULL
    for decision in decisions:
        shedder.release(decision, Outcome.SUCCESS, now=at(1))
    assert shedder.stats().cells[0].in_flight == 0


def test_off_decides_nothing_but_counts() -> None:
    """Even a route that is closed runs."""
    shedder = Shedder(fixed(1, mode=Mode.OFF), now=at(0))
    permits = [arrive(shedder, route="x", route_limit=0) for _ in range(5)]
    assert all(isinstance(permit, Permit) for permit in permits)
    assert shedder.stats().cells[0].in_flight == 5


def test_leaving_enforce_lets_everybody_in() -> None:
    """Waiters are admitted at once: break-glass means now."""
    shedder = Shedder(fixed(1), now=at(0))
    arrive(shedder)
    tickets = [arrive(shedder) for _ in range(3)]
    verdicts = shedder.apply(fixed(1, mode=Mode.OFF), now=at(1))
    assert [verdict.ticket for verdict in verdicts] == tickets
    assert all(isinstance(verdict.decision, Permit) for verdict in verdicts)


def test_a_new_policy_keeps_permits_and_waiters() -> None:
    """A higher limit admits at once; a shorter queue refuses the surplus with its numbers."""
    shedder = Shedder(fixed(1), now=at(0))
    arrive(shedder)
    tickets = [arrive(shedder) for _ in range(3)]
    [verdict] = shedder.apply(fixed(2), now=at(1))
    assert verdict.ticket is tickets[0]
    verdicts = shedder.apply(fixed(2, queue=QueuePolicy(length_max=1)), now=at(2))
    assert [reason(v.decision) for v in verdicts] == [RejectReason.QUEUE_FULL]
    assert shedder.stats().cells[0].queue_length == 1


def test_a_removed_cell_ends_where_it_began() -> None:
    """Its work is released into it; then it is forgotten."""
    two = Policy(cells=(CellPolicy(name="a"), CellPolicy(name="b")))
    shedder = Shedder(two, now=at(0))
    permit = arrive(shedder, cell="b")
    shedder.apply(Policy(cells=(CellPolicy(name="a"),)), now=at(1))
    assert isinstance(arrive(shedder, 2, cell="b"), Permit)
    assert [cell.name for cell in shedder.stats().cells] == ["a"]
    shedder.release(permit, Outcome.SUCCESS, now=at(3))
    shedder.tick(now=at(4))
    assert [cell.in_flight for cell in shedder.stats().cells] == [1]


def test_draining_refuses_data_and_serves_control() -> None:
    """What runs may finish."""
    shedder = Shedder(fixed(2), now=at(0))
    permit = arrive(shedder)
    shedder.drain()
    assert reason(arrive(shedder)) is RejectReason.DRAINING
    assert isinstance(arrive(shedder, lane=Lane.CONTROL), Permit)
    shedder.release(permit, Outcome.SUCCESS, now=at(1))


def test_a_tenant_over_its_share_is_refused_while_demand_is_above_capacity() -> None:
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
