"""What is refused before slots and queue are looked at."""

from __future__ import annotations

import pytest

from shedproxy.core import (
    CellPolicy,
    Criticality,
    FairnessPolicy,
    Kind,
    Lane,
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
    seconds,
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


def test_one_of_a_route_that_was_slow_once_is_tried_beside_other_work(fixed, at, arrive) -> None:
    """Else it would be refused for as long as anything else runs; of those after it, none is."""
    shedder = Shedder(fixed(4), now=at(0))
    shedder.release(arrive(shedder, 0, route="report"), Outcome.SUCCESS, now=at(3000))
    arrive(shedder, 3000, route="page")
    after = [
        isinstance(arrive(shedder, step, route="report", time_left_ns=seconds(1)), Permit)
        for step in range(3100, 9000, 100)
    ]
    assert [place for place, is_tried in enumerate(after) if is_tried] == [29]
    later = RequestInfo(route="report")
    assert shedder.screen(later, now=at(9000), time_left_ns=seconds(1)) is None


def test_who_is_tried_may_wait_for_a_slot(fixed, at, arrive) -> None:
    shedder = Shedder(fixed(1), now=at(0))
    shedder.release(arrive(shedder, 0, route="report"), Outcome.SUCCESS, now=at(3000))
    page = arrive(shedder, 3000, route="page")
    ticket = arrive(shedder, 6000, route="report", time_left_ns=seconds(1))
    (verdict,) = shedder.release(page, Outcome.SUCCESS, now=at(6100))
    assert verdict.ticket is ticket
    assert isinstance(verdict.decision, Permit)


def test_routes_that_are_no_more_leave_nothing_behind(fixed, at, arrive) -> None:
    """A `classify` hook may take their names from clients."""
    shedder = Shedder(fixed(4), now=at(0))
    for number in range(100):
        permit = arrive(shedder, route=f"of-{number}", route_limit=1)
        shedder.release(permit, Outcome.SUCCESS, now=at(1))
    assert not shedder._cells["default"]._route_count


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


def test_who_is_wider_than_a_bound_runs_alone(fixed, at, arrive, reason) -> None:
    """A worker's part of it may be less than one request; else it would refuse all that come."""
    shedder = Shedder(fixed(20, class_limits=(None, None, 2, None)), now=at(0))
    first = arrive(shedder, route="x", route_limit=3, cost=5, criticality=Criticality.SHEDDABLE)
    assert isinstance(first, Permit)
    second = arrive(shedder, route="x", route_limit=3, cost=5, criticality=Criticality.SHEDDABLE)
    assert reason(second) is RejectReason.ROUTE_LIMIT
    assert isinstance(arrive(shedder, cost=5), Permit)
    assert reason(arrive(shedder, cost=5)) is RejectReason.CLASS_LIMIT
    shedder.release(first, Outcome.SUCCESS, now=at(1))
    third = arrive(shedder, 2, route="x", route_limit=3, cost=5, criticality=Criticality.SHEDDABLE)
    assert isinstance(third, Permit)


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


CUT_RANK = 2688
"""Of critical requests that begin a task the lower half of the cohorts is below it."""


@pytest.fixture
def overloaded(fixed, at, arrive):
    """One slot, two waiters, and a level that stands at `CUT_RANK` unless fewer than two wait."""

    def make(**cell) -> Shedder:
        shedder = Shedder(fixed(1, **cell), now=at(0))
        for _ in range(3):
            assert not isinstance(arrive(shedder), Rejected)
        level = shedder._cells["default"]._level
        level.is_overloaded, level.due_at = True, seconds(10)
        level.cut_rank, level.relaxed_below = CUT_RANK, [2] * 8
        return shedder

    return make


def ask(shedder: Shedder, cohort: int, flow_hash: int = 0, *, screened: bool = False) -> object:
    put = shedder.screen if screened else shedder.arrive
    return put(RequestInfo(), now=milliseconds(1), cohort=cohort, flow_hash=flow_hash)


def test_ranks_below_the_cut_are_refused_on_arrival(overloaded, reason) -> None:
    """With the two ranks; the cut itself passes."""
    shedder = overloaded()
    refused = ask(shedder, 510)
    assert reason(refused) is RejectReason.SHED_LEVEL
    assert refused.numbers == (CUT_RANK - 1, CUT_RANK, 0, 0)
    assert refused.queue_length == 2
    assert isinstance(ask(shedder, 512), Ticket)


def test_a_head_is_refused_by_the_cut_before_its_body_is_read(overloaded, reason) -> None:
    """And one that may go on takes nothing yet."""
    shedder = overloaded()
    assert reason(ask(shedder, 510, screened=True)) is RejectReason.SHED_LEVEL
    before = shedder.stats()
    assert ask(shedder, 512, screened=True) is None
    assert shedder.stats() == before


def test_nobody_is_refused_by_the_cut_while_the_queue_runs_dry(overloaded) -> None:
    """Two wait where three would keep the slot busy."""
    shedder = overloaded()
    shedder._cells["default"]._level.relaxed_below = [3] * 8
    assert isinstance(ask(shedder, 0), Ticket)
    assert isinstance(ask(shedder, 0), Rejected)


@pytest.mark.parametrize("fairness", [FairnessPolicy(), FairnessPolicy(enabled=False)])
def test_nor_is_a_heavy_tenant_that_nobody_has_to_share_with(overloaded, fairness) -> None:
    shedder = overloaded(fairness=fairness)
    cell = shedder._cells["default"]
    cell._level.relaxed_below = [3] * 8
    cell._limits.heavy._heavy = [True] * 256
    assert isinstance(ask(shedder, 0, 7_777_777), Ticket)


def test_better_waiters_count_and_worse_do_not(overloaded) -> None:
    """What waits behind a request keeps no slot from it."""
    shedder = overloaded()
    best = RequestInfo(criticality=Criticality.CRITICAL_PLUS)
    level = shedder._cells["default"]._level
    level.cut_rank = 4095
    now = milliseconds(1)
    assert isinstance(shedder.arrive(best, now=now, cohort=0), Ticket)
    assert isinstance(shedder.arrive(best, now=now, cohort=0), Ticket)
    assert isinstance(shedder.arrive(best, now=now, cohort=0), Rejected)


def test_a_tenant_over_its_share_is_refused_before_the_cut_is_asked(overloaded, reason) -> None:
    """The cut would let it pass; another tenant that is not above an equal part passes the cut."""
    shedder = overloaded(fairness=FairnessPolicy(slack=1.0))
    mine, other = 7_777_777, 8_888_888
    for flow_hash, cohort in ((mine, 1022), (mine, 1022), (other, 0), (mine, 1022), (mine, 1022)):
        assert isinstance(ask(shedder, cohort, flow_hash), Ticket)
    refused = ask(shedder, 1022, mine)
    assert reason(refused) is RejectReason.FAIR_SHARE
    # One slot and seven waiters for two tenants.
    assert refused.numbers == (4, 1, 4, 2)


def test_what_the_cut_refuses_is_demand_and_what_a_share_refuses_is_not(overloaded) -> None:
    """The second is one tenant's excess; both keep overload up."""
    shedder = overloaded(fairness=FairnessPolicy(slack=1.0))
    level = shedder._cells["default"]._level
    demand = level.demand
    before = demand.arrivals
    assert isinstance(ask(shedder, 0), Rejected)
    assert demand.arrivals == before + 1 == level._refused_at
    for flow_hash in (7_777_777, 8_888_888, 7_777_777, 7_777_777, 7_777_777):
        assert isinstance(ask(shedder, 1022, flow_hash), Ticket)
    before = demand.arrivals
    refused = ask(shedder, 1022, 7_777_777)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.FAIR_SHARE
    assert demand.arrivals == before == level._refused_at


def test_while_a_baseline_is_learnt_a_heavy_tenant_gets_none_of_the_few_slots(
    overloaded, reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    shedder = overloaded(fairness=FairnessPolicy(slack=1.0))
    cell = shedder._cells["default"]
    cell._level.relaxed_below = [3] * 8
    assert isinstance(ask(shedder, 1022, 8_888_888), Ticket)
    monkeypatch.setattr(type(cell._limits), "is_probing", property(lambda _: True))
    assert isinstance(ask(shedder, 1022, 7_777_777), Ticket)
    cell._limits.heavy._heavy = [True] * 256
    assert reason(ask(shedder, 1022, 9_999_999)) is RejectReason.FAIR_SHARE


def test_the_longest_wait_is_some_services_however_long_work_waits_inside_the_service(at) -> None:
    """Else a service that is overloaded would be given a longer queue for it."""
    cell = Shedder(Policy(cells=(CellPolicy(),)), now=at(0))._cells["default"]
    limits = cell._limits
    limits.scatter, limits.service_ns, limits.typical_ns = 0.0, seconds(0.4), seconds(2)
    cell._move_level(at(1000))
    assert cell._wait_max_ns == seconds(1.6)


def test_a_tenant_whose_request_is_wider_than_its_share_has_one_at_a_time(overloaded) -> None:
    """Else none of them would ever be let in, whatever its rank."""
    shedder = overloaded()
    for number in range(1, 7):
        assert isinstance(ask(shedder, 1022, number << 32), Ticket)

    def wide() -> object:
        return shedder.arrive(
            RequestInfo(cost=3), now=milliseconds(1), cohort=1022, flow_hash=7 << 32
        )

    assert isinstance(wide(), Ticket)
    second = wide()
    assert isinstance(second, Rejected)
    assert second.reason is RejectReason.FAIR_SHARE
