"""The yardstick: admission that knows the backend's true capacity at every instant.

It keeps exactly as many calls in flight as the backend can use and lets the rest wait, the more
important class first and the oldest first within one, as long as an answer would still come in
time whatever the call turns out to take. It refuses nobody on a guess. It does not know how long a
single call will take: a clairvoyant could serve the short ones only, which no admission can.
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

_WAIT_SHARE = 2 / 3
"""Of the longest wait: the rest is for calls that take several times the mean."""


class OracleControl(Ledger):
    """One in front of one backend.

    Args:
        best_limit: calls in flight that keep the backend just busy; asked at every decision.
        wait_max_ns: longest wait after which a call of mean work is still answered in time.
        inside: calls at the backend, those included whose client has left and whose work goes on.
    """

    def __init__(
        self,
        *,
        best_limit: Callable[[], float],
        wait_max_ns: int,
        inside: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self._best_limit = best_limit
        self._wait_max_ns = round(wait_max_ns * _WAIT_SHARE)
        self._inside = inside
        self._waiting: list[deque[Ticket]] = [deque() for _ in Criticality]
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
        self._waiting[request.criticality].append(ticket)
        self._length += 1
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """The slot goes to the most important, oldest waiter that can be served in time."""
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
        for waiting in reversed(self._waiting):
            while waiting:
                ticket = waiting[0]
                if ticket.state is not TicketState.WAITING:
                    waiting.popleft()
                    continue
                is_late = ticket.expires_at <= now
                if not (is_late or self._has_room(ticket.cost)):
                    return verdicts
                waiting.popleft()
                self._length -= 1
                if is_late:
                    reason = RejectReason.QUEUE_TIMEOUT
                    verdicts.append(self.refuse_ticket(ticket, reason, now=now))
                else:
                    verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts or NO_VERDICTS
