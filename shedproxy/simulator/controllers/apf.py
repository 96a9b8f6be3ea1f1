"""Kubernetes API Priority and Fairness: seats for priority levels, fair queues inside them.

Source: k8s.io/apiserver, pkg/util/flowcontrol (apf_controller.go, conc_alloc.go and
dropped_requests_tracker.go; the queues are in `apf_queues`). A fixed total of seats is divided
among the levels by nominal shares; every 10 s they lend and borrow by their smoothed demand. A
request waits for at most a quarter of its time, or a minute. A level with its seats taken and the
chosen queue full refuses, with a Retry-After that doubles while drops go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from shedproxy.core import (
    NS_PER_S,
    Criticality,
    Decision,
    Instant,
    Nanos,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
    Verdict,
    seconds,
)
from shedproxy.simulator.controllers.apf_queues import QueueSet, SeatQueue
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["LEVELS", "ApfControl", "ApfLevel", "RetryAfter", "allocate_seats"]

_WAIT_DEFAULT_NS = seconds(15)
_WAIT_MAX_NS = seconds(60)
_DEADLINE_PART = 4
_BORROW_PERIOD_NS = seconds(10)
_DEMAND_SMOOTHING = 0.977
_DEMAND_MIN = 0.001
_RETRY_AFTER_MAX_S = 32
_QUEUE_FULL = RejectReason.QUEUE_FULL
_CLASS_LIMIT = RejectReason.CLASS_LIMIT
_QUEUE_TIMEOUT = RejectReason.QUEUE_TIMEOUT
_WAITING = TicketState.WAITING
_ABANDONED = TicketState.ABANDONED


@dataclass(frozen=True, slots=True, kw_only=True)
class ApfLevel:
    """A priority level."""

    shares: int = 20
    """Its part of the seats, against those of the other levels; 0 or more."""
    lendable_percent: int = 0
    """Of its nominal seats, what others may use."""
    borrowing_percent: int | None = None
    """Of its nominal seats, what it may use on top; None: no bound."""
    queues: int = 128
    """0: it does not queue, it refuses."""
    hand: int = 6
    queue_length: int = 50
    is_exempt: bool = False
    """Nothing of it is ever refused or queued, and it has no seats of its own."""


LEVELS: dict[Criticality, ApfLevel] = {
    Criticality.CRITICAL_PLUS: ApfLevel(shares=40, lendable_percent=25, queues=64),
    Criticality.CRITICAL: ApfLevel(shares=40, lendable_percent=50),
    Criticality.SHEDDABLE_PLUS: ApfLevel(shares=100, lendable_percent=90),
    Criticality.SHEDDABLE: ApfLevel(shares=20, lendable_percent=50),
}
"""As node-high, workload-high, workload-low and global-default are by default."""


def allocate_seats(total: int, classes: Sequence[tuple[float, float, float]]) -> list[float]:
    """Divide seats in proportion to targets, inside bounds.

    `classes` are (lower bound, target, upper bound) with 0 <= lower <= target and lower <= upper;
    `total` is between the sums of the bounds.
    """
    items = [(low, max(target, _DEMAND_MIN), high) for low, target, high in classes]

    def at(part: float) -> list[float]:
        return [min(max(part * target, low), high) for low, target, high in items]

    before = 0.0
    for part in sorted(bound / target for low, target, high in items for bound in (low, high)):
        given = sum(at(part))
        if given >= total:
            # Between two bounds the sum is a straight line.
            given_before = sum(at(before))
            if given > given_before:
                before += (part - before) * (total - given_before) / (given - given_before)
            break
        before = part
    return at(before)


class RetryAfter:
    """How long refused clients should stay away: doubles while drops go on, else 1 s less."""

    __slots__ = ("_changed_at_s", "_count", "_history", "_second", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        """1..32."""
        self._history: list[tuple[int, int]] = []
        self._second = -1
        self._count = 0
        self._changed_at_s = -_RETRY_AFTER_MAX_S

    def record(self, *, now: Instant) -> int:
        """A request was dropped: the seconds to answer with."""
        second = now // NS_PER_S
        if second == self._second:
            self._count += 1
            return self.seconds
        kept = [(at, count) for at, count in self._history if second - at <= _RETRY_AFTER_MAX_S]
        kept.append((self._second, self._count))
        self._history = kept
        self._second = second
        self._count = 1
        lately = sum(count for at, count in kept if second - at <= self.seconds)
        if lately >= 3 * self.seconds and second - self._changed_at_s >= self.seconds:
            self.seconds = min(2 * self.seconds, _RETRY_AFTER_MAX_S)
            self._changed_at_s = second
        elif lately < self.seconds > 1:
            self.seconds -= 1
        return self.seconds


class _Demand:
    """Seats in use and waited for, over a borrowing period."""

    __slots__ = ("_at", "_began_at", "_square_sum", "_sum", "high", "seats", "smoothed")

    def __init__(self) -> None:
        self.seats = 0
        self.high = 0
        self.smoothed = 0.0
        self._sum = 0
        self._square_sum = 0
        self._at = 0
        self._began_at = 0

    def add(self, seats: int, *, now: Instant) -> None:
        """So many seats more (or less) from now on."""
        length_ns = now - self._at
        self._at = now
        area = self.seats * length_ns
        self._sum += area
        self._square_sum += self.seats * area
        self.seats += seats
        self.high = max(self.high, self.seats)

    def close(self, *, now: Instant) -> int:
        """End the period: smooth the demand. Returned: the most there was."""
        self.add(0, now=now)
        length_ns = now - self._began_at
        if length_ns > 0:
            mean = self._sum / length_ns
            envelope = mean + math.sqrt(max(0.0, self._square_sum / length_ns - mean * mean))
            faded = _DEMAND_SMOOTHING * self.smoothed + (1.0 - _DEMAND_SMOOTHING) * envelope
            self.smoothed = max(envelope, faded)
        high, self.high = self.high, self.seats
        self._sum = self._square_sum = 0
        self._began_at = now
        return high


class _Level:
    """A priority level at work."""

    def __init__(self, config: ApfLevel, nominal: int, total: int) -> None:
        self.config = config
        self.nominal = nominal
        self.seats_min = nominal - _rounded(nominal * config.lendable_percent / 100)
        self.seats_max = nominal + total
        if config.borrowing_percent is not None:
            self.seats_max = nominal + _rounded(nominal * config.borrowing_percent / 100)
        self.queue_set = QueueSet(queues=config.queues, hand=config.hand, seats=nominal)
        self.demand = _Demand()
        self.retry_after = RetryAfter()


def _rounded(value: float) -> int:
    return int(value + 0.5)


class ApfControl(Ledger):
    """Priority levels by criticality, over a fixed total.

    Args:
        slots: seats of the server, 1 or more. Levels are rounded up, as published, so that their
            seats may be a few more.
        levels: by criticality; each that occurs must be there.
        wait_default_ns: how long a request without a deadline waits at most, up to a minute.
    """

    def __init__(
        self,
        *,
        slots: int,
        levels: Mapping[Criticality, ApfLevel] | None = None,
        wait_default_ns: Nanos = _WAIT_DEFAULT_NS,
    ) -> None:
        super().__init__()
        levels = LEVELS if levels is None else levels
        share_sum = sum(level.shares for level in levels.values() if not level.is_exempt)
        self._levels: dict[Criticality, _Level] = {}
        for criticality, config in levels.items():
            nominal = 0 if config.is_exempt else math.ceil(slots * config.shares / share_sum)
            self._levels[criticality] = _Level(config, nominal, slots)
        self._wait_default_ns = wait_default_ns
        self._queue_of: dict[int, SeatQueue | None] = {}
        self._expiries: list[tuple[int, int, Ticket]] = []
        self._borrow_at: int = _BORROW_PERIOD_NS

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run where the level has seats and nobody waits, else wait for a fair turn."""
        level = self._levels[request.criticality]
        config, queue_set = level.config, level.queue_set
        deadline_at = None if time_left_ns is None else Instant(now + time_left_ns)
        if config.is_exempt:
            return self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
        queue_set.advance(now)
        queue = queue_set.choose(flow_hash) if config.queues else None
        if not queue_set.waiting and queue_set.fits(request.cost):
            if queue is not None:
                queue_set.enter(queue)
            queue_set.start(queue, request.cost)
            level.demand.add(request.cost, now=now)
            permit = self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
            self._queue_of[permit.serial] = queue
            return permit
        if queue is None:
            return self._drop(level, self.reject(request, _CLASS_LIMIT, now=now))
        has_no_seat = queue_set.seats_in_use >= queue_set.seats
        if has_no_seat and len(queue.waiting) >= config.queue_length:
            return self._drop(level, self.reject(request, _QUEUE_FULL, now=now))
        wait_max_ns: int = self._wait_default_ns
        if time_left_ns is not None:
            wait_max_ns = time_left_ns // _DEADLINE_PART
        ticket = self.ticket(
            request,
            now=now,
            expires_at=Instant(now + min(wait_max_ns, _WAIT_MAX_NS)),
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )
        ticket.queue_slot = queue
        queue_set.enter(queue)
        queue_set.enqueue(queue, ticket)
        level.demand.add(ticket.cost, now=now)
        heappush(self._expiries, (ticket.expires_at, ticket.serial, ticket))
        # While a wide request waits for more seats, this one may fit and be due before it.
        verdicts = self._dispatch(level, now)
        return verdicts[0].decision if verdicts else ticket

    def _drop(self, level: _Level, rejected: Rejected) -> Rejected:
        rejected.limit = level.queue_set.seats
        rejected.retry_after_ns = level.retry_after.record(now=rejected.at) * NS_PER_S
        return rejected

    def _dispatch(self, level: _Level, now: Instant) -> list[Verdict]:
        """Start those whose turn it is while there are seats for them."""
        verdicts: list[Verdict] = []
        queue_set = level.queue_set
        while queue_set.waiting and queue_set.seats_in_use < queue_set.seats:
            queue, ticket = queue_set.next_ticket()
            if not queue_set.fits(ticket.cost):
                break
            queue_set.dequeue(queue, ticket)
            queue_set.start(queue, ticket.cost)
            verdict = self.admit_ticket(ticket, now=now)
            assert isinstance(verdict.decision, Permit)
            self._queue_of[verdict.decision.serial] = queue
            verdicts.append(verdict)
        return verdicts

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """Seats are free: they go to those of the level whose turn it is."""
        self.give_back(permit)
        level = self._levels[permit.request.criticality]
        if level.config.is_exempt:
            return NO_VERDICTS
        level.queue_set.advance(now)
        queue = self._queue_of.pop(permit.serial)
        level.queue_set.end(queue, permit.cost, now - permit.admitted_at)
        level.demand.add(-permit.cost, now=now)
        return self._dispatch(level, now) or NO_VERDICTS

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away; behind a wide one others may fit."""
        if ticket.state is not _WAITING:
            return NO_VERDICTS
        ticket.state = _ABANDONED
        return self._dispatch(self._withdraw(ticket, now), now)

    def _withdraw(self, ticket: Ticket, now: Instant) -> _Level:
        level = self._levels[ticket.request.criticality]
        level.queue_set.advance(now)
        level.queue_set.dequeue(ticket.queue_slot, ticket)
        level.queue_set.leave(ticket.queue_slot)
        level.demand.add(-ticket.cost, now=now)
        return level

    def next_tick_at(self) -> Instant | None:
        """When a waiter runs out of time or levels borrow anew."""
        expiries = self._expiries
        while expiries and expiries[0][2].state is not _WAITING:
            heappop(expiries)
        return Instant(min(self._borrow_at, expiries[0][0]) if expiries else self._borrow_at)

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Refuse who has waited too long; every 10 s let levels lend and borrow."""
        verdicts: list[Verdict] = []
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            ticket = heappop(expiries)[2]
            if ticket.state is _WAITING:
                level = self._withdraw(ticket, now)
                verdict = self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now)
                assert isinstance(verdict.decision, Rejected)
                self._drop(level, verdict.decision)
                verdicts.append(verdict)
        if now >= self._borrow_at:
            self._borrow(now)
        for level in self._levels.values():
            verdicts.extend(self._dispatch(level, now))
        return verdicts

    def _borrow(self, now: Instant) -> None:
        """Divide the seats by demand; no level gets less than it needs of its own."""
        self._borrow_at = now + _BORROW_PERIOD_NS
        levels = [level for level in self._levels.values() if not level.config.is_exempt]
        classes: list[tuple[float, float, float]] = []
        for level in levels:
            level.queue_set.advance(now)
            high = level.demand.close(now=now)
            low = max(level.seats_min, min(level.nominal, high))
            classes.append((low, max(low, level.demand.smoothed), level.seats_max))
        total = sum(level.nominal for level in levels)
        for level, seats in zip(levels, allocate_seats(total, classes), strict=True):
            # Of hundreds of seats, as a server has, no level is ever left with none.
            level.queue_set.seats = max(1, _rounded(seats))

    def reading(self) -> Reading:
        """All levels together; exempt ones add to what is in flight only."""
        queue_sets = [level.queue_set for level in self._levels.values()]
        seats = sum(queue_set.seats for queue_set in queue_sets)
        waiting = sum(queue_set.waiting for queue_set in queue_sets)
        return Reading(seats, self.in_flight, waiting, 0.0, 0)
