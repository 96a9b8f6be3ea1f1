"""The cases of `LifoBlockingLimiterTest`: a limit of 4, a backlog of 10, a second of patience."""

from __future__ import annotations

from shedproxy.core import Instant, Outcome, Permit, Rejected, RejectReason, RequestInfo, Ticket
from shedproxy.simulator.controllers.lifo_blocking import LifoBlockingControl

MS = 1_000_000
INFO = RequestInfo()


def at(ms: float) -> Instant:
    return Instant(round(ms * MS))


def filled(*, waiting: int = 0) -> tuple[LifoBlockingControl, list[Permit], list[Ticket]]:
    """All four slots are taken; so many wait, one a millisecond."""
    control = LifoBlockingControl(4, backlog_max=10)
    permits = [control.arrive(INFO, now=at(0)) for _ in range(4)]
    tickets = [control.arrive(INFO, now=at(ms)) for ms in range(waiting)]
    assert all(isinstance(permit, Permit) for permit in permits)
    assert all(isinstance(ticket, Ticket) for ticket in tickets)
    return control, permits, tickets  # type: ignore[return-value]


def test_a_waiter_is_refused_after_a_second_and_not_before() -> None:
    control, _, [ticket] = filled(waiting=1)
    assert control.next_tick_at() == at(1000)
    assert not control.tick(now=at(999))
    [verdict] = control.tick(now=at(1000))
    assert verdict.ticket is ticket
    assert isinstance(verdict.decision, Rejected)
    assert verdict.decision.reason is RejectReason.QUEUE_TIMEOUT
    assert control.next_tick_at() is None


def test_a_waiter_runs_when_a_slot_comes_free() -> None:
    control, permits, [ticket] = filled(waiting=1)
    [verdict] = control.release(permits[0], Outcome.SUCCESS, now=at(250))
    assert verdict.ticket is ticket
    assert isinstance(verdict.decision, Permit)
    assert control.in_flight == 4


def test_the_fifteenth_is_refused_at_once() -> None:
    control, _, _ = filled(waiting=10)
    refused = control.arrive(INFO, now=at(20))
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.QUEUE_FULL
    assert control.reading() == (4, 4, 10, 0.0, 0)


def test_the_newest_is_served_first() -> None:
    control, permits, tickets = filled(waiting=5)
    served = [
        verdict.ticket
        for permit in [*permits, None]
        for verdict in (
            control.release(permit, Outcome.SUCCESS, now=at(50))
            if permit is not None
            else control.resize(5, now=at(60))
        )
    ]
    assert [tickets.index(ticket) for ticket in served] == [4, 3, 2, 1, 0]


def test_a_higher_limit_lets_waiters_run_at_once() -> None:
    control, _, _ = filled(waiting=4)
    assert len(control.resize(7, now=at(10))) == 3
    assert control.reading()[:3] == (7, 7, 1)


def test_who_times_out_while_a_slot_comes_free_loses_no_slot() -> None:
    """Ten rounds of both at the same instant: the slot is free for the next who asks."""
    control, permits, _ = filled()
    for turn in range(10):
        begin = turn * 2_000
        ticket = control.arrive(INFO, now=at(begin))
        assert isinstance(ticket, Ticket)
        [verdict] = control.release(permits.pop(0), Outcome.SUCCESS, now=at(begin + 1000))
        assert isinstance(verdict.decision, Rejected)
        assert control.in_flight == 3
        permit = control.arrive(INFO, now=at(begin + 1001))
        assert isinstance(permit, Permit)
        permits.append(permit)


def test_who_went_away_is_not_served() -> None:
    control, permits, [first, second] = filled(waiting=2)
    assert not control.abandon(second, now=at(5))
    assert not control.abandon(second, now=at(6))
    [verdict] = control.release(permits[0], Outcome.SUCCESS, now=at(7))
    assert verdict.ticket is first
