"""The books every reference controller keeps: permits out, slots taken, serial numbers.

A controller adds what it decides by. Nothing here decides anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from shedproxy.core import (
    EVIDENCE,
    Instant,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
    Verdict,
    rank_of,
)

__all__ = ["NO_VERDICTS", "Ledger", "QueueLedger"]

NO_VERDICTS: Sequence[Verdict] = ()


class Ledger:
    """Base of reference controllers: counts what is in flight and makes the core's values."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._serial = 0

    def admit(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        arrived_at: Instant | None = None,
        expires_at: Instant | None = None,
    ) -> Permit:
        """Take slots and answer with the permit for them."""
        self._serial += 1
        before = self.in_flight
        self.in_flight = before + request.cost
        arrived_at = now if arrived_at is None else arrived_at
        return Permit(
            self._serial,
            request,
            flow_hash,
            request.cost,
            arrived_at,
            now,
            expires_at,
            before,
            self,
        )

    def reject(
        self, request: RequestInfo, reason: RejectReason, *, now: Instant, limit: float = 0
    ) -> Rejected:
        """A refusal; reference controllers give no evidence: all its numbers are 0."""
        shown = int(limit) if limit < 1 << 62 else 0
        numbers = (0,) * len(EVIDENCE[reason])
        return Rejected(request, reason, now, numbers, self.in_flight, shown)

    def ticket(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        expires_at: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        deadline_at: Instant | None = None,
    ) -> Ticket:
        """A place in the controller's queue."""
        self._serial += 1
        rank = rank_of(request, cohort)
        return Ticket(
            self._serial,
            request,
            flow_hash,
            cohort,
            rank,
            now,
            expires_at,
            deadline_at,
            self,
        )

    def admit_ticket(self, ticket: Ticket, *, now: Instant) -> Verdict:
        """A waiter's turn."""
        ticket.state = TicketState.ADMITTED
        permit = self.admit(
            ticket.request,
            now=now,
            flow_hash=ticket.flow_hash,
            arrived_at=ticket.arrived_at,
            expires_at=ticket.deadline_at,
        )
        return Verdict(ticket, permit)

    def refuse_ticket(self, ticket: Ticket, reason: RejectReason, *, now: Instant) -> Verdict:
        """A waiter leaves unserved."""
        ticket.state = TicketState.REJECTED
        rejected = self.reject(ticket.request, reason, now=now)
        rejected.waited_ns = now - ticket.arrived_at
        return Verdict(ticket, rejected)

    def fits(self, cost: int, slots: int) -> bool:
        """Whether so much more may run; alone, even what is wider than all slots."""
        return self.in_flight + cost <= slots or self.in_flight == 0

    def leaves(self, ticket: Ticket) -> bool:
        """Note that a waiter goes away; False: it does not wait any more."""
        if ticket.state is not TicketState.WAITING:
            return False
        ticket.state = TicketState.ABANDONED
        return True

    def give_back(self, permit: Permit) -> None:
        """Free the slots of a permit."""
        permit.is_released = True
        self.in_flight -= permit.cost

    # --- what a controller without a queue and without timers answers -----------------------

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """References learn from answers only."""

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        """References know no zombies: where the end of the work is not seen, the slot is free."""
        return self.release(permit, outcome, now=now)

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """The upstream's work is done."""
        self.give_back(permit)
        return NO_VERDICTS

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away; without a queue there is none."""
        return NO_VERDICTS

    def next_tick_at(self) -> Instant | None:
        """Only events matter."""
        return None

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Nothing to do."""
        return NO_VERDICTS


class QueueLedger(Ledger):
    """Base of those with a queue before a number of slots, in the order of arrival.

    Args:
        slots: 1 or more. A request wider than all of them runs alone.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots
        self._queue: OrderedDict[int, Ticket] = OrderedDict()

    def join(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        expires_at: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        deadline_at: Instant | None = None,
    ) -> Ticket:
        """Wait behind all others."""
        ticket = self.ticket(
            request,
            now=now,
            expires_at=expires_at,
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )
        self._queue[ticket.serial] = ticket
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A slot is free: waiters may run."""
        self.give_back(permit)
        return self.serve(now) if self._queue else NO_VERDICTS

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away; behind a wide one others may fit."""
        if not self.leaves(ticket):
            return NO_VERDICTS
        del self._queue[ticket.serial]
        return self.serve(now) if self._queue else NO_VERDICTS

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Time has passed: some may have waited for long enough."""
        return self.serve(now) if self._queue else NO_VERDICTS

    def serve(self, now: Instant) -> Sequence[Verdict]:
        """What becomes of those that wait, of whom there are some."""
        raise NotImplementedError
