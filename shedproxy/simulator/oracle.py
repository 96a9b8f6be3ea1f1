"""The yardstick: admission that knows the backend's true capacity at every instant.

It keeps exactly as many calls in flight as the backend can use and lets the rest wait. The more
important class is served first, and within one the oldest whose answer will come in time whatever
the call turns out to take; where there is none, the newest. It refuses nobody on a guess. It does
not know how long a single call will take: a clairvoyant could serve the short ones only, which no
admission can. Where work stops with its client it begins late, so that calls that take long are cut
off: with scattered work that serves more calls than capacity tells, and fewer long ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from shedproxy.core import (
    Criticality,
    Decision,
    Instant,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
    Verdict,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["OracleControl"]

_WAITING = TicketState.WAITING


class _Line:
    """Waiters of one class: those that are in good time, and behind them those that may not be."""

    __slots__ = ("fresh", "old")

    def __init__(self) -> None:
        self.fresh: deque[Ticket] = deque()
        self.old: list[Ticket] = []


class OracleControl(Ledger):
    """One in front of one backend.

    Args:
        best_limit: calls in flight that keep the backend just busy; asked at every decision.
        wait_max_ns: longest wait after which a call of mean work is still answered in time.
        safe_wait_ns: longest wait after which nearly every call is; default: half of that.
        inside: calls at the backend, those included whose client has left and whose work goes on.
    """

    def __init__(
        self,
        *,
        best_limit: Callable[[], float],
        wait_max_ns: int,
        safe_wait_ns: int | None = None,
        inside: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self._best_limit = best_limit
        self._wait_max_ns = wait_max_ns
        self._safe_wait_ns = wait_max_ns // 2 if safe_wait_ns is None else safe_wait_ns
        self._inside = inside
        self._lines = [_Line() for _ in Criticality]
        self._length = 0

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """A slot, or a place among those that wait."""
        if self._has_room(request.cost):
            return self.admit(request, now=now, flow_hash=flow_hash)
        expires_at = Instant(now + self._wait_max_ns)
        ticket = self.ticket(
            request, now=now, expires_at=expires_at, flow_hash=flow_hash, cohort=cohort
        )
        self._lines[request.criticality].fresh.append(ticket)
        self._length += 1
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """The slot goes to the best waiter."""
        self.give_back(permit)
        return self._dispatch(now)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter left; its place is found empty later."""
        ticket.state = TicketState.ABANDONED
        self._length -= 1
        return NO_VERDICTS

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """The capacity may have grown."""
        return self._dispatch(now)

    def reading(self) -> Reading:
        """The truth."""
        return Reading(self._best_limit(), self.in_flight, self._length, 0.0, 0)

    def _has_room(self, cost: int) -> bool:
        in_flight = max(self.in_flight, self._inside())
        return in_flight + cost <= self._best_limit() or not in_flight

    def _dispatch(self, now: Instant) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        for line in reversed(self._lines):
            while (ticket := self._first(line, now, verdicts)) is not None:
                if not self._has_room(ticket.cost):
                    return verdicts
                (line.fresh.popleft if line.fresh else line.old.pop)()
                self._length -= 1
                verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts or NO_VERDICTS

    def _first(self, line: _Line, now: Instant, verdicts: list[Verdict]) -> Ticket | None:
        """Who of a class comes next; who cannot be served in time any more is refused."""
        fresh, old = line.fresh, line.old
        while fresh:
            ticket = fresh[0]
            if ticket.state is _WAITING and now - ticket.arrived_at <= self._safe_wait_ns:
                return ticket
            fresh.popleft()
            if ticket.state is _WAITING:
                old.append(ticket)
        while old:
            if old[-1].state is not _WAITING:
                old.pop()
            elif old[-1].expires_at > now:
                return old[-1]
            else:
                # Whoever is below came earlier still.
                verdicts.extend(self._refuse_all(old, now))
        return None

    def _refuse_all(self, waiting: list[Ticket], now: Instant) -> list[Verdict]:
        verdicts = [
            self.refuse_ticket(ticket, RejectReason.QUEUE_TIMEOUT, now=now)
            for ticket in waiting
            if ticket.state is _WAITING
        ]
        self._length -= len(verdicts)
        waiting.clear()
        return verdicts
