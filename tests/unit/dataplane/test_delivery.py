"""Verdicts on their way: whatever a waiter does when it hears, the others hear too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
)
from shedproxy.dataplane.driver import Driver
from shedproxy.snapshot import Document

REQUEST = RequestInfo()
LOW = RequestInfo(criticality=Criticality.SHEDDABLE)
HIGH = RequestInfo(criticality=Criticality.CRITICAL_PLUS)


class Caller:
    """A waiter that remembers its verdicts, and does something when it hears."""

    def __init__(self, then: Callable[[Permit | Rejected], object] = lambda _: None) -> None:
        self.verdicts: list[Permit | Rejected] = []
        self._then = then

    def on_verdict(self, decision: Permit | Rejected) -> None:
        self.verdicts.append(decision)
        self._then(decision)


def driver(limit: int = 1, *, length_max: int = 2000) -> Driver:
    cell = CellPolicy(
        limit=LimitPolicy(algorithm="fixed", initial=limit),
        queue=QueuePolicy(length_max=length_max),
    )
    return Driver(Document(policy=Policy(cells=(cell,))), clock=lambda: Instant(0))


def waiting(subject: Driver, caller: Caller, request: RequestInfo = REQUEST) -> Ticket:
    ticket = subject.arrive(request, caller)
    assert isinstance(ticket, Ticket)
    return ticket


def running(subject: Driver) -> Permit:
    permit = subject.arrive(REQUEST, Caller())
    assert isinstance(permit, Permit)
    return permit


def in_flight(subject: Driver) -> int:
    return subject.shedder.stats().cells[0].in_flight


def test_a_waiter_that_fails_keeps_the_verdict_from_nobody() -> None:
    """All hear; without a loop to report to, the error comes after that."""
    subject = driver()
    running(subject)

    def fail(_: object) -> None:
        raise RuntimeError("a waiter's own")

    callers = [Caller(fail), Caller(), Caller(fail), Caller()]
    for caller in callers:
        waiting(subject, caller)
    with pytest.raises(RuntimeError, match="a waiter's own"):
        subject.set_mode(Mode.OFF)
    assert [len(caller.verdicts) for caller in callers] == [1, 1, 1, 1]


def test_a_waiter_abandoned_between_answer_and_delivery_leaks_no_slot() -> None:
    """Two are admitted at once; the first one's verdict makes the second one leave."""
    subject = driver()
    running(subject)
    gone = Caller()
    tickets: list[Ticket] = []
    waiting(subject, Caller(lambda _: subject.abandon(tickets[0])))
    tickets.append(waiting(subject, gone))
    subject.set_mode(Mode.OFF)
    assert gone.verdicts == []
    assert in_flight(subject) == 2
    assert subject.meter.admitted(0) == 2


def test_a_long_line_of_waiters_that_give_back_at_once_is_no_recursion() -> None:
    """A thousand clients left at once: each verdict gives the slot to the next."""
    subject = driver()
    first = running(subject)
    callers = []
    for _ in range(1000):
        caller = Caller(
            lambda decision: (
                subject.release(decision, Outcome.IGNORE) if type(decision) is Permit else None
            )
        )
        waiting(subject, caller)
        callers.append(caller)
    subject.release(first, Outcome.SUCCESS)
    assert all(len(caller.verdicts) == 1 for caller in callers)
    assert in_flight(subject) == 0


def test_verdicts_keep_their_order_when_a_waiter_releases() -> None:
    """What follows from a verdict is told after what was decided before."""
    subject = driver(2)
    held = [running(subject), running(subject)]
    heard: list[str] = []

    def first(decision: Permit | Rejected) -> None:
        heard.append("first")
        assert isinstance(decision, Permit)
        subject.release(decision, Outcome.IGNORE)
        heard.append("first is done")

    waiting(subject, Caller(first))
    waiting(subject, Caller(lambda _: heard.append("second")))
    waiting(subject, Caller(lambda _: heard.append("third")))
    subject.apply(
        Document(
            policy=Policy(cells=(CellPolicy(limit=LimitPolicy(algorithm="fixed", initial=4)),))
        )
    )
    assert heard[:3] == ["first", "first is done", "second"]
    for permit in held:
        subject.release(permit, Outcome.SUCCESS)
    assert heard == ["first", "first is done", "second", "third"]


def test_nobody_hears_before_it_has_its_ticket() -> None:
    """An evicted client sends its next request at once, and that one evicts the newcomer."""
    subject = driver(length_max=1)
    running(subject)
    waiting(subject, Caller(lambda _: subject.arrive(HIGH, Caller())), LOW)
    newcomer = Caller()
    decision = subject.arrive(REQUEST, newcomer)
    assert isinstance(decision, Rejected)
    assert decision.reason is RejectReason.EVICTED
    assert newcomer.verdicts == []
    assert subject.meter.rejected(0, RejectReason.EVICTED) == 2


def test_a_ticket_does_not_keep_whom_it_evicted() -> None:
    """Or a chain of the dead would hang on every waiter."""
    subject = driver(length_max=1)
    running(subject)
    waiting(subject, Caller(), LOW)
    assert waiting(subject, Caller()).evicted is None
