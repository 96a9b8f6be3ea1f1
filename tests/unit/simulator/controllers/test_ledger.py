"""The books of reference controllers balance, and their values are the core's own."""

from __future__ import annotations

from shedproxy.core import (
    EVIDENCE,
    Criticality,
    Instant,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    TicketState,
    rank_of,
)
from shedproxy.simulator.controllers.ledger import Ledger

REQUEST = RequestInfo(criticality=Criticality.CRITICAL, cost=3)


def test_a_permit_takes_slots_until_it_is_given_back() -> None:
    ledger = Ledger()
    ledger.admit(REQUEST, now=Instant(1))
    permit = ledger.admit(REQUEST, now=Instant(2), flow_hash=7)
    assert (permit.in_flight_before, permit.cost, permit.flow_hash) == (3, 3, 7)
    assert (permit.arrived_at, permit.admitted_at, ledger.in_flight) == (2, 2, 6)
    assert list(ledger.release(permit, Outcome.SUCCESS, now=Instant(3))) == []
    assert (permit.is_released, ledger.in_flight) == (True, 3)


def test_a_client_that_leaves_frees_the_slot_at_once() -> None:
    ledger = Ledger()
    ledger.leave_zombie(ledger.admit(REQUEST, now=Instant(1)), now=Instant(2))
    assert ledger.in_flight == 0


def test_a_refusal_has_as_many_numbers_as_its_reason_names() -> None:
    ledger = Ledger()
    ledger.admit(REQUEST, now=Instant(1))
    for reason in RejectReason:
        rejected = ledger.reject(REQUEST, reason, now=Instant(2), limit=9.7)
        assert len(rejected.numbers) == len(EVIDENCE[reason])
        assert (rejected.in_flight, rejected.limit) == (3, 9)
    assert ledger.reject(REQUEST, RejectReason.CLASS_LIMIT, now=Instant(2), limit=1e300).limit == 0


def test_a_waiter_is_admitted_with_the_time_it_waited() -> None:
    ledger = Ledger()
    ticket = ledger.ticket(REQUEST, now=Instant(1), expires_at=Instant(9), cohort=5, flow_hash=7)
    assert ticket.rank == rank_of(REQUEST, 5)
    verdict = ledger.admit_ticket(ticket, now=Instant(4))
    assert isinstance(verdict.decision, Permit)
    assert (verdict.decision.waited_ns, verdict.decision.flow_hash) == (3, 7)
    assert (ticket.state, ledger.in_flight) == (TicketState.ADMITTED, 3)


def test_a_waiter_is_refused_and_takes_nothing() -> None:
    ledger = Ledger()
    ticket = ledger.ticket(REQUEST, now=Instant(1), expires_at=Instant(9))
    verdict = ledger.refuse_ticket(ticket, RejectReason.QUEUE_TIMEOUT, now=Instant(9))
    assert verdict.decision.waited_ns == 8
    assert (ticket.state, ledger.in_flight) == (TicketState.REJECTED, 0)


def test_without_a_queue_and_timers_there_is_nothing_to_do() -> None:
    ledger = Ledger()
    ticket = ledger.ticket(REQUEST, now=Instant(1), expires_at=Instant(9))
    assert ledger.next_tick_at() is None
    assert list(ledger.tick(now=Instant(5))) == []
    assert list(ledger.abandon(ticket, now=Instant(5))) == []
