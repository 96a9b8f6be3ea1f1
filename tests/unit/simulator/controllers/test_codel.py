"""The cases of folly's `CodelTest`, and the queue of "Fail at Scale"."""

from __future__ import annotations

import pytest

from shedproxy.core import Outcome, Permit, Rejected, RejectReason, RequestInfo, Ticket, TicketState
from shedproxy.simulator.controllers.codel import Codel, CodelControl

MS = 1_000_000
INFO = RequestInfo()


def drops(codel, *waits):
    """(at, wait) in ms each: which were dropped."""
    return [codel.drops(wait * MS, now=at * MS) for at, wait in waits]


# --- CodelTest.cpp ------------------------------------------------------------------------------


def test_basic():
    """Kept: the first of an interval, whatever it waited, and a short wait in a bad interval."""
    waits = ((110, 100), (200, 50), (200, 50), (310, 2), (400, 20))
    assert drops(Codel(), *waits) == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("waits", "lowest", "highest"),
    [
        ((40,), 100, 100),
        ((10,), 100, 100),
        ((10, 7), 61, 79),
        ((10, 7, 2), 11, 29),
    ],
)
def test_load(waits, lowest, highest):
    """highLoad and getLoadSanity: the least wait over twice the target, in percent."""
    codel = Codel()
    drops(codel, *((1, wait) for wait in waits))
    assert lowest <= codel.load_percent <= highest


def test_medium_load():
    """8 ms in an overloaded interval are not over twice the target."""
    codel = Codel()
    assert drops(codel, (1, 20), (91, 8)) == [False, False]
    assert codel.load_percent < 100


@pytest.mark.parametrize(
    ("least", "then", "is_dropped"), [(5, 11, False), (6, 10, False), (6, 11, True)]
)
def test_over_the_target_is_bad_and_over_twice_of_it_is_dropped(least, then, is_dropped):
    """Least wait of the first interval, then the second wait of the next one, in ms."""
    waits = ((1, least), (50, 30), (102, 30), (103, then))
    assert drops(Codel(), (0, 9), *waits)[-1] is is_dropped


@pytest.mark.parametrize("waits", [((1, 20),), ((1, 20), (91, 4))])
def test_nothing_is_dropped(waits):
    """oneRequestNoDrop and reducingLoad."""
    assert not any(drops(Codel(), *waits))


def test_update_target():
    """A target of 40 ms ends the drops; 5 ms bring them back."""
    codel = Codel()
    drops(codel, (1, 40))
    assert codel.load_percent == 100
    codel.configure(target_ns=40 * MS, interval_ns=100 * MS)
    assert drops(codel, (1, 40)) == [False]
    codel.configure(target_ns=5 * MS, interval_ns=100 * MS)
    assert drops(codel, (112, 40), (112, 40)) == [False, True]


def test_update_interval():
    """Two delayed requests are overload, with an interval of 200 ms as with 100."""
    codel = Codel()
    drops(codel, (1, 50))
    assert drops(codel, (111, 50), (111, 50)) == [False, True]
    codel.configure(target_ns=5 * MS, interval_ns=200 * MS)
    assert drops(codel, (212, 20), (212, 20)) == [False, True]


@pytest.mark.parametrize(("target", "interval"), [(110, 100), (20, 5), (0, 100), (5, 5)])
def test_invalid_values_leave_the_former_ones(target, interval):
    """invalidParamUpdates."""
    codel = Codel()
    with pytest.raises(ValueError, match="target"):
        codel.configure(target_ns=target * MS, interval_ns=interval * MS)
    assert (codel.target_ns, codel.interval_ns) == (5 * MS, 100 * MS)
    codel.configure(target_ns=10 * MS, interval_ns=200 * MS)
    assert (codel.target_ns, codel.interval_ns) == (10 * MS, 200 * MS)


# --- the queue ----------------------------------------------------------------------------------


def test_runs_at_once_while_a_thread_is_free():
    """Two threads: the third waits."""
    control = CodelControl(slots=2)
    decisions = [control.arrive(INFO, now=0) for _ in range(3)]
    assert [type(decision) for decision in decisions] == [Permit, Permit, Ticket]
    assert control.reading() == (2, 2, 1, 0.0, 0)


def test_oldest_first_while_the_queue_is_young():
    """And a newcomer may wait N = 100 ms."""
    control = CodelControl(slots=1)
    running = control.arrive(INFO, now=0)
    first, second = control.arrive(INFO, now=1), control.arrive(INFO, now=2)
    assert first.expires_at - first.arrived_at == 100 * MS
    (verdict,) = control.release(running, Outcome.SUCCESS, now=4 * MS)
    assert verdict.ticket is first
    assert isinstance(verdict.decision, Permit)
    assert verdict.decision.arrived_at == 1
    assert second.state is TicketState.WAITING


def standing(control):
    """A queue that has not been empty for over 100 ms, and the permit of what runs."""
    permit = control.arrive(INFO, now=0)
    control.arrive(INFO, now=0)
    for at in range(10, 111, 10):
        control.arrive(INFO, now=at * MS)
        control.tick(now=at * MS)
    return permit


def test_newest_first_once_the_queue_stands():
    """And a newcomer may wait M = 5 ms only."""
    control = CodelControl(slots=1)
    permit = standing(control)
    newest = control.arrive(INFO, now=111 * MS)
    assert newest.expires_at - newest.arrived_at == 5 * MS
    verdicts = control.release(permit, Outcome.SUCCESS, now=112 * MS)
    assert verdicts[-1].ticket is newest
    assert isinstance(verdicts[-1].decision, Permit)


def test_an_empty_queue_is_young_again():
    """The 100 ms begin anew after it was empty."""
    control = CodelControl(slots=1)
    permit = standing(control)
    served = 1
    while verdicts := control.release(permit, Outcome.SUCCESS, now=111 * MS):
        permits = [decision for _, decision in verdicts if isinstance(decision, Permit)]
        if not permits:
            break
        permit = permits[0]
        served += 1
    assert served > 1
    assert control.reading().queue_length == 0
    control.arrive(INFO, now=120 * MS)
    ticket = control.arrive(INFO, now=120 * MS)
    assert ticket.expires_at - ticket.arrived_at == 100 * MS


def test_waits_over_twice_the_target_are_sloughed_after_a_bad_interval():
    """One thread of 30 ms, and always one who has waited for 29 ms: the interval to 130 ms is bad,
    the first of the next one is kept, the second is not.
    """
    control = CodelControl(slots=1)
    permit = control.arrive(INFO, now=0)
    decisions = []
    for now in range(30 * MS, 181 * MS, 30 * MS):
        control.arrive(INFO, now=now - 29 * MS)
        (verdict,) = control.release(permit, Outcome.SUCCESS, now=now)
        permit = verdict.decision
        decisions.append(type(permit))
    assert decisions == [Permit] * 5 + [Rejected]
    assert permit.reason is RejectReason.QUEUE_TIMEOUT
    assert permit.waited_ns == 29 * MS
    assert control.reading()[1:3] == (0, 0)


def test_waiters_expire_at_their_own_time():
    """next_tick_at names the earliest, tick refuses it and no other."""
    control = CodelControl(slots=1)
    control.arrive(INFO, now=0)
    first, second = control.arrive(INFO, now=3), control.arrive(INFO, now=7)
    assert control.next_tick_at() == 3 + 100 * MS
    assert not control.tick(now=2 + 100 * MS)
    (verdict,) = control.tick(now=3 + 100 * MS)
    assert verdict.ticket is first
    assert verdict.decision.reason is RejectReason.QUEUE_TIMEOUT
    assert verdict.decision.waited_ns == 100 * MS
    assert control.next_tick_at() == second.expires_at
    control.abandon(second, now=4 + 100 * MS)
    assert control.next_tick_at() is None


def test_abandoned_waiters_are_gone():
    """Once only, and a wide one lets those behind it run."""
    control = CodelControl(slots=2)
    control.arrive(INFO, now=0)
    wide = control.arrive(RequestInfo(cost=2), now=1)
    narrow = control.arrive(INFO, now=2)
    assert isinstance(wide, Ticket)
    (verdict,) = control.abandon(wide, now=3)
    assert verdict.ticket is narrow
    assert not control.abandon(wide, now=4)
    assert control.reading()[1:3] == (2, 0)
