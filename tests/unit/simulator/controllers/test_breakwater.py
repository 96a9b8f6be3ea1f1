"""The published credit arithmetic of Breakwater, rule by rule."""

from __future__ import annotations

from heapq import heappop, heappush

import pytest

from shedproxy.core import Outcome, Permit, Rejected, RejectReason, RequestInfo, Ticket
from shedproxy.simulator.controllers.breakwater import BreakwaterControl, next_credit_pool

MS = 1_000_000
S = 1_000_000_000
INFO = RequestInfo()


def breakwater(slots=1, **others):
    """A target of 40 ms, a round trip of 1 ms."""
    return BreakwaterControl(slots=slots, service_ns=9 * MS, rtt_ns=MS, **others)


@pytest.mark.parametrize(
    ("delay", "clients", "expected"),
    [
        (0, 1000, 1001),
        (79, 1000, 1001),
        (79, 5000, 1005),
        (80, 1000, 999),
        (160, 1000, 980),
        (80 + 40 * 80, 1000, 500),
        (10**6, 1000, 500),
    ],
)
def test_pool_follows_the_delay(delay, clients, expected):
    """Target 80: below it max(0.001 x clients, 1) more, else 0.02 of the excess less, at least one
    and at most half: an excess of 40 targets would leave a fifth.
    """
    assert next_credit_pool(1000, delay_ns=delay, target_ns=80, client_count=clients) == expected


def test_target_is_four_tenths_of_the_slo():
    """SLO = 10 x (service + round trip), or given; or the target itself is."""
    assert breakwater().target_ns == 40 * MS
    assert breakwater(slo_ns=200 * MS).target_ns == 80 * MS
    assert breakwater(target_ns=7 * MS).target_ns == 7 * MS


def test_first_client_gets_the_pool_and_the_second_is_over_committed():
    """4 cores, 4 credits: 4 to the first, and one more although none is left."""
    control = breakwater(slots=4)
    control.arrive(INFO, now=0, flow_hash=1)
    assert control.issued == 4
    control.arrive(INFO, now=0, flow_hash=2)
    assert control.issued == 5
    assert control.reading() == (4, 2, 0, 0.0, 0)


def test_arrival_without_a_credit_is_refused():
    """The credits of a client are the requests it may have at the server."""
    control = breakwater(slots=4)
    decisions = [control.arrive(INFO, now=0, flow_hash=1) for _ in range(5)]
    assert [type(decision) for decision in decisions] == [Permit] * 4 + [Rejected]
    assert decisions[4].reason is RejectReason.SHED_LEVEL


def test_flow_zero_is_one_client():
    """All requests without a flow share its credits."""
    control = breakwater(slots=2)
    kinds = [type(control.arrive(INFO, now=0)) for _ in range(3)]
    assert kinds == [Permit, Permit, Rejected]


def test_response_brings_what_is_unused_but_no_more_than_wanted():
    """Pool 10, issued 4 of one client with 3 there: 2 pending + 0 demand + 6 extra = 8."""
    control = breakwater(slots=4)
    permits = [control.arrive(INFO, now=0, flow_hash=1) for _ in range(3)]
    control.pool = 10
    control._pool_moved_at = MS
    control.release(permits[0], Outcome.SUCCESS, now=MS)
    assert control.issued == 8


def test_refused_arrivals_are_demand_until_the_next_response():
    """With nothing unused, 3 refused arrivals are wanted but not given; with 2 unused, 2 are."""
    for pool, expected in ((1, 1), (3, 3)):
        control = breakwater(slots=1, client_window=100)
        permit = control.arrive(INFO, now=0, flow_hash=1)
        for _ in range(3):
            assert isinstance(control.arrive(INFO, now=0, flow_hash=1), Rejected)
        control.pool = pool
        control._pool_moved_at = MS
        control.release(permit, Outcome.SUCCESS, now=MS)
        assert control.issued == expected
        assert control._clients[1].demand == 0


def test_client_gives_credit_back_while_too_many_are_issued():
    """One per response, and never one that is in use."""
    control = breakwater(slots=2)
    control.pool = 6
    permits = [control.arrive(INFO, now=0, flow_hash=1) for _ in range(6)]
    assert control.issued == 6
    for flow in (2, 3):
        control.arrive(INFO, now=0, flow_hash=flow)
    control.pool = 3
    control._pool_moved_at = MS
    before = control._clients[1].credit
    control.release(permits[0], Outcome.SUCCESS, now=MS)
    assert control._clients[1].credit == before - 1 == 5


def test_a_client_that_was_not_dropped_keeps_one_credit():
    """Two clients on one core hold one credit each and the pool is 1: one too many is issued, yet
    a response takes none from a client that would be left without.
    """
    control = breakwater(slots=1)
    permit = control.arrive(INFO, now=0, flow_hash=1)
    control.pool = 2
    control.arrive(INFO, now=0, flow_hash=2)
    control.pool = 1
    control._pool_moved_at = 0
    control.release(permit, Outcome.SUCCESS, now=0)
    assert control._clients[1].credit == 1
    assert control.issued == 2


def test_pool_moves_once_per_round_trip():
    """And with responses only."""
    control = breakwater(slots=4)
    permits = [control.arrive(INFO, now=MS) for _ in range(4)]
    pools = []
    for permit, now in zip(permits, (MS, MS + 1, 2 * MS - 1, 2 * MS), strict=True):
        control.release(permit, Outcome.SUCCESS, now=now)
        pools.append(control.pool)
    assert pools == [5, 5, 5, 6]


def test_pool_has_bounds():
    """At least the cores, at most the windows of all clients."""
    control = breakwater(slots=4, client_window=5)
    now = 0
    for _ in range(3):
        now += MS
        control.release(control.arrive(INFO, now=now), Outcome.SUCCESS, now=now)
    assert control.pool == 5
    control = breakwater(slots=1)
    permit = control.arrive(INFO, now=0)
    control.pool = 2
    control._grant(control._clients[0], 0)
    control.arrive(INFO, now=0)
    control.release(permit, Outcome.SUCCESS, now=60 * MS)
    assert control.pool == 1


def drained(control):
    """A client that was refused for want of any credit, on a server of one core."""
    permit = control.arrive(INFO, now=0, flow_hash=1)
    for flow in (2, 3):
        assert isinstance(control.arrive(INFO, now=0, flow_hash=flow), Rejected)
    return permit


def test_client_without_credit_is_given_the_first_that_comes_free():
    """The pool grows by one: it goes to the latest that asked."""
    control = breakwater()
    permit = drained(control)
    control.release(permit, Outcome.SUCCESS, now=MS)
    assert control.pool == 2
    assert control._clients[3].credit == 1
    assert control._clients[2].credit == 0
    assert isinstance(control.arrive(INFO, now=MS, flow_hash=3), Permit)


def test_a_client_that_asks_outright_is_answered_at_once():
    """With nothing at the server and credits unused, it need not wait for a response."""
    control = breakwater()
    drained(control)
    control.pool = 3
    assert isinstance(control.arrive(INFO, now=0, flow_hash=2), Ticket)


def test_twice_the_target_drops_on_arrival():
    """The oldest waiter has waited for 80 ms: refused, and the pool shrinks at once."""
    control = breakwater(slots=1, client_window=100)
    control.pool = 50
    control.arrive(INFO, now=0)
    assert isinstance(control.arrive(INFO, now=0), Ticket)
    assert isinstance(control.arrive(INFO, now=80 * MS - 1), Ticket)
    decision = control.arrive(INFO, now=80 * MS)
    assert isinstance(decision, Rejected)
    assert decision.reason is RejectReason.QUEUE_FULL
    assert control.pool == 49
    assert control.reading().queue_length == 2


def test_silent_clients_hang_up():
    """After a second their credits come back; one with a request at the server stays."""
    control = breakwater(slots=8)
    permits = {flow: control.arrive(INFO, now=0, flow_hash=flow) for flow in (1, 2, 3)}
    control.release(permits[1], Outcome.SUCCESS, now=0)
    issued = control.issued
    credit = control._clients[1].credit
    control.release(control.arrive(INFO, now=S, flow_hash=4), Outcome.SUCCESS, now=S)
    assert set(control._clients) == {2, 3, 4}
    assert control.issued == issued - credit + control._clients[4].credit
    control.release(permits[2], Outcome.SUCCESS, now=2 * S)
    assert set(control._clients) == {2, 3, 4}


def test_new_clients_need_not_wait_for_a_response_to_those_who_left():
    """The credit is with a silent client and nothing runs: another is served a second later."""
    control = breakwater(slots=1)
    permit = control.arrive(INFO, now=0, flow_hash=1)
    control.release(permit, Outcome.SUCCESS, now=0)
    assert isinstance(control.arrive(INFO, now=0, flow_hash=2), Rejected)
    assert isinstance(control.arrive(INFO, now=S - 1, flow_hash=2), Rejected)
    assert isinstance(control.arrive(INFO, now=S, flow_hash=2), Permit)


def test_abandoned_waiter_gives_its_place_back():
    """Once only; the queue is oldest first."""
    control = breakwater(slots=1, client_window=100)
    control.pool = 10
    permit = control.arrive(INFO, now=0)
    first, second = control.arrive(INFO, now=1), control.arrive(INFO, now=2)
    pending = control._clients[0].pending
    assert not control.abandon(first, now=3)
    assert not control.abandon(first, now=3)
    assert control._clients[0].pending == pending - 1
    (verdict,) = control.release(permit, Outcome.SUCCESS, now=4)
    assert verdict.ticket is second
    assert control.next_tick_at() is None


def test_double_demand_is_served_at_capacity_with_a_bounded_delay():
    """4 cores of 10 ms, 40 clients, 800 per second: 400 are served, none waits for over twice the
    target and one service, and the books of credits agree all the time.
    """
    control = breakwater(slots=4)
    events = [(index * 1_250_000, index, None) for index in range(8000)]
    serial = len(events)
    served, waits, books = 0, [], []
    while events:
        now, index, permit = heappop(events)
        if now >= 10 * S:
            break
        if permit is None:
            started = [control.arrive(INFO, now=now, flow_hash=1 + index % 40)]
        else:
            verdicts = control.release(permit, Outcome.SUCCESS, now=now)
            started = [decision for _, decision in verdicts]
            served += now >= 5 * S
        for decision in started:
            if isinstance(decision, Permit):
                serial += 1
                heappush(events, (now + 10 * MS, serial, decision))
                waits.append(decision.waited_ns)
        books.append(control.issued == sum(c.credit for c in control._clients.values()))
    assert all(books)
    assert served == pytest.approx(400 * 5, rel=0.02)
    assert max(waits) <= 2 * control.target_ns + 10 * MS
