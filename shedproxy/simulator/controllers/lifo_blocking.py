"""Netflix's LIFO blocking limiter: callers wait in a short stack, the newest is served first.

Source: `LifoBlockingLimiter` of Netflix/concurrency-limits. Who finds no slot waits, for a second
at most by default, among 100 at most; who does not fit among them is refused at once. A slot that
comes free goes to the newest, for the oldest are the likeliest to have given up.
"""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import (
    Decision,
    Instant,
    Nanos,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Ticket,
    Verdict,
    seconds,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["LifoBlockingControl"]

_TIMEOUT_NS = seconds(1)


class LifoBlockingControl(Ledger):
    """A limit that is set from outside, and a stack.

    Args:
        limit: slots.
        backlog_max: most that wait.
        timeout_ns: how long one waits at most.
    """

    def __init__(
        self, limit: int, *, backlog_max: int = 100, timeout_ns: Nanos = _TIMEOUT_NS
    ) -> None:
        super().__init__()
        self._limit = limit
        self._backlog_max = backlog_max
        self._timeout_ns = timeout_ns
        self._waiting: dict[int, Ticket] = {}
        """The oldest first: everybody waits equally long at most."""

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run, wait, or no."""
        if self.fits(request.cost, self._limit):
            return self.admit(request, now=now, flow_hash=flow_hash)
        if len(self._waiting) >= self._backlog_max:
            return self.reject(request, RejectReason.QUEUE_FULL, now=now, limit=self._limit)
        expires_at = Instant(now + self._timeout_ns)
        ticket = self.ticket(
            request, now=now, expires_at=expires_at, flow_hash=flow_hash, cohort=cohort
        )
        self._waiting[ticket.serial] = ticket
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """The slot goes to the newest."""
        self.give_back(permit)
        return self._serve(now)

    def resize(self, limit: int, *, now: Instant) -> Sequence[Verdict]:
        """Another limit; what it makes room for is served at once."""
        self._limit = limit
        return self._serve(now)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away."""
        if self.leaves(ticket):
            del self._waiting[ticket.serial]
        return NO_VERDICTS

    def next_tick_at(self) -> Instant | None:
        """When the oldest has waited long enough."""
        return next(iter(self._waiting.values())).expires_at if self._waiting else None

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Refuse those whose time is up."""
        verdicts: list[Verdict] = []
        while self._waiting:
            ticket = next(iter(self._waiting.values()))
            if ticket.expires_at > now:
                break
            del self._waiting[ticket.serial]
            verdicts.append(self.refuse_ticket(ticket, RejectReason.QUEUE_TIMEOUT, now=now))
        return verdicts

    def reading(self) -> Reading:
        """The limit and who waits."""
        return Reading(self._limit, self.in_flight, len(self._waiting), 0.0, 0)

    def _serve(self, now: Instant) -> Sequence[Verdict]:
        verdicts = list(self.tick(now=now))
        while self._waiting:
            ticket = self._waiting[next(reversed(self._waiting))]
            if not self.fits(ticket.cost, self._limit):
                break
            del self._waiting[ticket.serial]
            verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts
