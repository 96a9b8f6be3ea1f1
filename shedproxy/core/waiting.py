"""One cell's queue side: who waits, who is evicted or expires, and who gets a slot that is free.

Between Screening (what is refused before slots and queue are looked at) and AdmissionController.
Every refusal of a waiter carries the numbers that were compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shedproxy.core.decision import (
    Permit,
    Rejected,
    RejectReason,
    Ticket,
    TicketState,
    Verdict,
)
from shedproxy.core.fair_share import SlotShare
from shedproxy.core.policy import CellPolicy
from shedproxy.core.queues import UNBOUNDED
from shedproxy.core.request import LEVEL_BITS, RANKS, RequestInfo
from shedproxy.core.screening import Screening
from shedproxy.core.sharding import NO_PLACE
from shedproxy.core.share import CellShare
from shedproxy.core.shed_level import BEGIN_SHARE
from shedproxy.core.spill import SpillBook
from shedproxy.core.surge import LOAD_MIN
from shedproxy.core.units import Instant

__all__ = ["NO_VERDICTS", "Waiting"]

NO_VERDICTS: Final[Sequence[Verdict]] = ()

# Before Python 3.12 a look-up of an enum's member costs more than a call: these are hot.
_EVICTED: Final = RejectReason.EVICTED
_QUEUE_FULL: Final = RejectReason.QUEUE_FULL


class Waiting(Screening):
    """A cell's waiters, on their way in and out of the queue."""

    __slots__ = ()

    def has_room(self, cost: int) -> bool:
        """Whether so many slots are free."""
        # A request wider than the whole limit runs when it is alone, or it never would.
        in_flight = self._host_in_flight()
        return in_flight + cost <= self._limits.limit or not in_flight

    def look_for_room(self, now: Instant) -> None:
        """Note how much of its own it has in flight."""
        book = self.spill
        if book is not None:
            book.look(self._host_in_flight() - self._guests(book), now)

    def _guests(self, book: SpillBook) -> int:
        """Slots that guests hold, of all workers."""
        return book.guests if self._share is None else self._share.guests()

    def _start(
        self,
        request: RequestInfo,
        flow_hash: int,
        place: int,
        arrived_at: Instant,
        now: Instant,
        expires_at: Instant | None,
        host_in_flight: int = -1,
        cohort: int = 0,
    ) -> Permit:
        self._serial = serial = self._serial + 1
        cost = request.cost
        if place >= 0:
            self._running.enter(place, cost)
        before = self.in_flight
        self.in_flight = in_flight = before + cost
        share = self._share
        if share is not None:
            before = share.total() if host_in_flight < 0 else host_in_flight
            share.put(in_flight)
            in_flight = before + cost
        if in_flight >= self._limits.limit:
            self._limits.on_limit_reached()
        demand = self._demand
        if demand.starved_since >= 0 and in_flight >= self._level.full_from:
            demand.feed(now)
        return Permit(
            serial,
            request,
            flow_hash,
            cost,
            arrived_at,
            now,
            expires_at,
            before,
            self,
            place,
            cohort,
        )

    def _enqueue(
        self,
        request: RequestInfo,
        rank: int,
        flow_hash: int,
        place: int,
        cohort: int,
        time_left_ns: int | None,
        now: Instant,
    ) -> Ticket | Rejected:
        queue, level = self._queue, self._level
        length = queue.length
        if not level.is_overloaded:
            if length * 4 >= self._begin_length and self._limits.is_costly:
                # The probe is what filled it, and nobody shall be refused for that.
                self._limits.stop_probing(now=now)
            elif self._is_too_long(length) or self._has_swollen(now):
                self._begin_overload(now)
        index = rank >> LEVEL_BITS
        is_long = level.is_overloaded and level.ahead_max[index] == UNBOUNDED
        # Few wait in all: no need to count those of better levels.
        if is_long and self._is_too_long(length) and self._is_too_long(queue.length_from(rank)):
            self._fill(index)
        wait_max_ns = self._wait_max_ns
        if level.is_overloaded:
            if place >= 0 and self._is_modest(place, request.cost):
                # The first of its level: the excess is not this tenant's to give up.
                rank |= (1 << LEVEL_BITS) - 1
            wait_max_ns = min(wait_max_ns, level.wait_max_ns[rank >> LEVEL_BITS])
        deadline_at: Instant | None = None
        if time_left_ns is not None:
            deadline_at = Instant(now + time_left_ns)
            feasible_ns = time_left_ns - self._limits.expected_ns(request.route)
            share_ns = int(time_left_ns * self._deadline_share)
            if feasible_ns <= 0:
                feasible_ns = share_ns  # it is tried, whatever is expected
            wait_max_ns = max(0, min(wait_max_ns, share_ns, feasible_ns))
        self._serial = serial = self._serial + 1
        expires_at = Instant(now + wait_max_ns)
        ticket = Ticket(
            serial, request, flow_hash, cohort, rank, now, expires_at, deadline_at, self, place
        )
        victim = queue.push(ticket, now, level.ahead_max[rank >> LEVEL_BITS])
        if victim is not None:
            refused = self._make_room(ticket, victim, now)
            if refused is not None:
                return refused
        if not length:
            self._demand.saturate(now)
            self.look_for_room(now)
        self._count(request, place)
        return ticket

    def _is_modest(self, place: int, cost: int) -> bool:
        """Whether a tenant would have no more than an equal part of what the cell holds."""
        if not self._is_fair:
            return False
        in_system = self._fair.in_system(place)
        flows = self._fair.flows_active + (in_system == 0)
        return flows > 1 and (in_system + cost) * flows <= self._slots() + self._queue.length

    def _is_too_long(self, length: int) -> bool:
        """Whether so many in a long queue are more than it is for."""
        if length >= self._begin_length:
            return True
        return length >= self._level.relapse_length and self._queue.is_swelling()

    def _fill(self, level: int) -> None:
        """A level that seemed to be within capacity in overload is not."""
        slots, limits = self._slots(), self._limits
        self._level.fill(
            level,
            limit=slots,
            standing=slots * limits.standing_share,
            scatter=limits.scatter,
            wait_max_ns=self._wait_max_ns,
        )
        self._must_trim = True

    def _has_swollen(self, now: Instant) -> bool:
        """Whether demand passes the oldest by, and has for most of the longest wait.

        A queue that swells gently keeps them for longer than its length tells, and refusals are
        as inevitable then. Below capacity they are not: one burst after the other may swell it.
        """
        since = self._queue.passed_by_since()
        if since is None or now - since < self._wait_max_ns * BEGIN_SHARE:
            return False
        demand = self._demand
        return demand.offered_rps > LOAD_MIN * demand.pace_rps

    def _make_room(self, ticket: Ticket, victim: Ticket, now: Instant) -> Rejected | None:
        """The queue was full and answered with a victim: tell it, or refuse the newcomer."""
        self._level.on_refusal()
        rank = ticket.rank
        if victim is not ticket:
            bound, length = self._policy.queue.length_max, self._queue.length
            if victim.rank >> LEVEL_BITS == rank >> LEVEL_BITS:
                bound, length, _ = self._bound_of(rank)
            numbers = (bound, victim.rank, rank, now - victim.arrived_at)
            ticket.evicted = self._refuse_waiter(victim, _EVICTED, numbers, now, length)
            return None
        ticket.evicted = self._evict_unfair(ticket, now)
        if ticket.evicted is not None:
            self._queue.push(ticket, now=now)
            return None
        bound, length, worst_rank = self._bound_of(rank)
        rejected = self._reject(ticket.request, _QUEUE_FULL, (bound, rank, worst_rank), now)
        rejected.queue_length = length
        return rejected

    def _bound_of(self, rank: int) -> tuple[int, int, int]:
        """The bound that is in a newcomer's way, what it counts, and the rank to exceed there."""
        queue = self._queue
        ahead_max = self._level.ahead_max[rank >> LEVEL_BITS]
        ahead = queue.length_from(rank)
        if ahead >= ahead_max:
            lowest = queue.lowest_from(rank)
            return ahead_max, ahead, RANKS - 1 if lowest is None else lowest.rank
        return self._policy.queue.length_max, queue.length, queue.worst_rank()

    def _evict_unfair(self, ticket: Ticket, now: Instant) -> Verdict | None:
        """Room in a full queue at the cost of a flow that holds more than its share."""
        if not self._is_fair:
            return None
        victim = self._queue.fair_victim(ticket, self._serves_newest())
        if victim is None or victim.place < 0:
            return None
        cost, held = victim.cost, self._fair.in_system(victim.place)
        flows = self._fair.flows_active + (self._fair.in_system(max(0, ticket.place)) == 0)
        share = self._fair.share(self._slots() + self._queue.length, flows=flows)
        if flows < 2 or held <= share:
            return None
        numbers = (held - cost, cost, share, flows)
        self._queue.remove(victim)
        return self._refuse_waiter(victim, RejectReason.FAIR_SHARE, numbers, now)

    def _refuse_waiter(
        self,
        ticket: Ticket,
        reason: RejectReason,
        numbers: tuple[int, ...],
        now: Instant,
        queue_length: int | None = None,
    ) -> Verdict:
        ticket.state = TicketState.REJECTED
        self._uncount(ticket.request, ticket.place)
        rejected = self._reject(ticket.request, reason, numbers, now)
        rejected.waited_ns = now - ticket.arrived_at
        if queue_length is not None:
            rejected.queue_length = queue_length
        return Verdict(ticket, rejected)

    def _trim(self, now: Instant) -> list[Verdict]:
        """Overload has begun: what waits beyond its shorter queue would be refused later anyway."""
        self._must_trim = False
        level, queue = self._level, self._queue
        verdicts = []
        for victim, ahead in queue.trim(level.ahead_max):
            bound = level.ahead_max[victim.rank >> LEVEL_BITS]
            numbers = (bound, victim.rank, RANKS, now - victim.arrived_at)
            verdicts.append(self._refuse_waiter(victim, _EVICTED, numbers, now, ahead))
        for victim in queue.overdue(level.wait_max_ns, now):
            waited = (now - victim.arrived_at, level.wait_max_ns[victim.rank >> LEVEL_BITS])
            verdicts.append(self._refuse_waiter(victim, RejectReason.QUEUE_TIMEOUT, waited, now))
        return verdicts

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """The waiter went away. Nothing if it was answered already."""
        if ticket.state is not TicketState.WAITING:
            return NO_VERDICTS
        self._queue.remove(ticket)
        ticket.state = TicketState.ABANDONED
        self._uncount(ticket.request, ticket.place)
        return self._dispatch(now)

    def _leave(self, permit: Permit, now: Instant) -> None:
        # One of several tenants could shorten the wait of all by leaving in numbers. And who leaves
        # before an answer can be there would leave without any wait: that says nothing of waits.
        age_ns = now - permit.arrived_at
        if (
            permit.place == NO_PLACE
            and 0 < self._limits.expected_ns(permit.request.route) <= age_ns
        ):
            self._patience.leave(age_ns)

    def _expire(self, expired: Sequence[Ticket], now: Instant) -> list[Verdict]:
        self._level.on_refusal()
        verdicts = []
        for ticket in expired:
            numbers = (now - ticket.arrived_at, ticket.expires_at - ticket.arrived_at)
            verdicts.append(self._refuse_waiter(ticket, RejectReason.QUEUE_TIMEOUT, numbers, now))
        return verdicts

    def _dispatch(self, now: Instant) -> Sequence[Verdict]:
        """Give free slots to the best waiters; those that waited too long leave first."""
        queue, share = self._queue, self._share
        expired = queue.expire(now)
        verdicts = self._expire(expired, now) if expired else []
        if self._must_trim:
            verdicts.extend(self._trim(now))
        slots = self._slot_share() if queue.length > 1 else None
        is_newest = self._serves_newest()
        while queue.length:
            # As `has_room`, before the queue is asked.
            free = UNBOUNDED
            in_flight = self.in_flight if share is None else share.total()
            if in_flight:
                free = self._limits.limit - in_flight
                if free <= 0:
                    return verdicts
            if share is not None and share.must_yield(now, self._limits.limit - in_flight):
                break
            ticket = queue.pop(now, free, slots, is_newest)
            if ticket is None:
                if share is None:
                    return verdicts
                share.want(free + 1)  # it is wider than what is free
                break
            verdicts.append(self._admit_waiter(ticket, now))
            if share is not None:
                share.claim(now)
        if share is not None:
            self._pass_on(share)
            if queue.length:
                return verdicts
        if not (self._is_shadowing and self._waiting):
            self._demand.relieve(now)
            if self._host_in_flight() < self._level.full_from:
                self._demand.starve(now)
        return verdicts

    def _serves_newest(self) -> bool:
        # In overload the queue is short, and first come first served, unless clients leave sooner.
        return self._is_hasty or (not self._level.is_overloaded and self._queue.is_swelling())

    def _pass_on(self, share: CellShare) -> None:
        if not self._queue.length:
            share.claim(0)
        share.pass_on(self._limits.limit)

    def _slot_share(self) -> SlotShare | None:
        """What a waiter's tenant may hold while others wait; None: nobody could hold more.

        Places in the system are shared when requests arrive. A tenant whose requests take longer
        than others' would fill the slots from its fair share of places.
        """
        running, limit, flows = self._running, self._slots(), self._fair.flows_active
        if flows < 2:
            return None
        running.most = most = self._fair.share(limit, flows=flows)
        return running if most < limit else None

    def _admit_waiter(self, ticket: Ticket, now: Instant) -> Verdict:
        ticket.state = TicketState.ADMITTED
        request, arrived_at = ticket.request, ticket.arrived_at
        permit = self._start(
            request,
            ticket.flow_hash,
            ticket.place,
            arrived_at,
            now,
            ticket.deadline_at,
            cohort=ticket.cohort,
        )
        return Verdict(ticket, permit)

    def pressure(self) -> float:
        """0 idle .. 1 saturated: slots first, then the queue, and 1 in overload."""
        limit = self._slots()
        used = min(1.0, self.in_flight / limit) if limit else 1.0
        # The end of overload takes arrivals to be seen: without any the cell is idle all the same.
        if self._level.is_overloaded and used >= 1.0:
            return 1.0
        return 0.8 * used + 0.2 * min(1.0, self._waiting / self._begin_length)

    def release_queue(self, *, now: Instant) -> Sequence[Verdict]:
        """Admit every waiter at once: the mode no longer refuses or delays."""
        verdicts = []
        while (ticket := self._queue.pop(now=now)) is not None:
            verdicts.append(self._admit_waiter(ticket, now))
        if self._share is not None:
            self._share.claim(0)
        self._demand.relieve(now)
        return verdicts

    def _shrink_queue(self, policy: CellPolicy, now: Instant) -> list[Verdict]:
        """A new policy may leave less room."""
        length = self._queue.length
        victims = self._queue.apply(policy.queue)
        bound, worst_rank = policy.queue.length_max, self._queue.worst_rank()
        return [
            self._refuse_waiter(victim, _QUEUE_FULL, (bound, victim.rank, worst_rank), now, length)
            for victim in victims
        ]
