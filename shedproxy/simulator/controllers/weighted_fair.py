"""Aperture's scheduler: weighted fair queueing in virtual time over a bucket of tokens.

Source: pkg/scheduler of fluxninja/aperture (wfq.go, token-bucket.go, windowed-counter.go and
load-multiplier-token-bucket.go). One request at a time stands at the bucket and takes its tokens in
advance; when they have come, the waiter with the least virtual finish time is next: its flow's time
plus tokens x inverse priority x active flows of its workload. Who would have to stand there beyond
its timeout is refused at once.

Left out: the seed of the flow hash, which the original draws anew every five minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from shedproxy.core import (
    NS_PER_S,
    Decision,
    Instant,
    Nanos,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
    Verdict,
    milliseconds,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = [
    "LoadMultiplierBucket",
    "TokenBucket",
    "WeightedFairControl",
    "Workload",
    "workload_by_criticality",
]

_FLOWS = 256
"""Fairness queues of a workload."""
_TIMEOUT_NS = milliseconds(50)
_NEVER = 1 << 62
_SLOT_COUNT = 10
_SLOT_NS: int = milliseconds(100)
_INVERSE_PRIORITY = (8.0, 4.0, 2.0, 1.0)
_QUEUE_TIMEOUT = RejectReason.QUEUE_TIMEOUT
_WAITING = TicketState.WAITING
_ABANDONED = TicketState.ABANDONED


class Workload(NamedTuple):
    """What the scheduler asks of a request."""

    label: str
    """Workloads share the tokens by priority, the flows of a workload evenly."""
    tokens: float
    """What it takes from the bucket, 0 or more; 0 is let through unseen."""
    inverse_priority: float
    """0 or more; twice as much is half the share."""


def workload_by_criticality(request: RequestInfo) -> Workload:
    """A workload per criticality, each worth twice the one below; slots are tokens."""
    criticality = request.criticality
    return Workload(criticality.name, request.cost, _INVERSE_PRIORITY[criticality])


class TokenBucket:
    """Tokens at a fixed rate, at most one second's worth. It begins empty."""

    def __init__(self, fill_rate: float) -> None:
        """`fill_rate` is in tokens per second, 0 or more; 0 gives nothing."""
        self.fill_rate = fill_rate
        self._available = 0.0
        self._filled_at = 0

    @property
    def refused_share(self) -> float:
        """Share of demand it means to refuse, where it has such a notion."""
        return 0.0

    def sees(self, tokens: float, *, now: Instant) -> bool:
        """Hear of an arrival. True: let it through, whatever the bucket holds."""
        return False

    def set_fill_rate(self, fill_rate: float, *, now: Instant) -> None:
        """A new rate from now on."""
        self._fill(now)
        self.fill_rate = fill_rate

    def _fill(self, now: Instant) -> None:
        available = self._available + (now - self._filled_at) * self.fill_rate / NS_PER_S
        self._available = min(available, self.fill_rate)
        self._filled_at = now

    def take(self, tokens: float, *, now: Instant, wait_max_ns: int) -> int | None:
        """Take tokens in advance: ns until they have come; None: too long, none is taken."""
        if self.fill_rate == 0.0:
            return None
        self._fill(now)
        missing = tokens - self._available
        wait_ns = int(missing * NS_PER_S / self.fill_rate) if missing > 0.0 else 0
        if wait_ns > wait_max_ns:
            return None
        self._available -= tokens
        return wait_ns

    def give_back(self, tokens: float) -> None:
        """Of a request that went away at the bucket."""
        self._available = min(self._available + tokens, self.fill_rate)


class LoadMultiplierBucket(TokenBucket):
    """Tokens at a multiple of the rate at which they were asked for over the last second.

    Until it has seen one second of demand, and again after a longer gap, it lets all through.
    """

    def __init__(self, multiplier: float) -> None:
        """`multiplier` is 0 (nothing) or more; whoever controls the load sets it."""
        super().__init__(0.0)
        self._multiplier = multiplier
        self._asked = [0.0] * (_SLOT_COUNT + 1)
        """Tokens asked for by slot; the present one is not looked at."""
        self._slot = 0
        self._slot_ends_at = _SLOT_NS
        self._is_learning = True

    @property
    def refused_share(self) -> float:
        """What the multiplier leaves over."""
        return max(0.0, 1.0 - self._multiplier)

    def set_multiplier(self, multiplier: float, *, now: Instant) -> None:
        """Accept this much of the demand, 0 or more."""
        self._multiplier = multiplier
        if not self._is_learning:
            self._follow(now)

    def sees(self, tokens: float, *, now: Instant) -> bool:
        """Count what is asked for; at the end of a slot the rate follows."""
        was_learning = self._is_learning
        has_moved = now > self._slot_ends_at and self._move(now)
        self._asked[self._slot] += tokens
        if has_moved and not self._is_learning:
            self._follow(now)
            if was_learning:
                self._available = self.fill_rate
        return self._is_learning

    def _move(self, now: Instant) -> bool:
        """Go on to the present slot. False: nothing of the window was left."""
        passed = 1 + (now - self._slot_ends_at) // _SLOT_NS
        self._slot_ends_at += passed * _SLOT_NS
        if passed > _SLOT_COUNT:
            self._asked = [0.0] * (_SLOT_COUNT + 1)
            self._slot = 0
            self._is_learning = True
            return False
        for _ in range(passed):
            self._slot += 1
            if self._slot > _SLOT_COUNT:
                self._slot = 0
                self._is_learning = False
            self._asked[self._slot] = 0.0
        return True

    def _follow(self, now: Instant) -> None:
        asked = sum(self._asked) - self._asked[self._slot]
        rate = asked * NS_PER_S / (_SLOT_COUNT * _SLOT_NS)
        self.set_fill_rate(self._multiplier * rate, now=now)


class _Flow:
    """The waiters of one flow, oldest first; only the first of them is on the heap."""

    __slots__ = ("head", "key", "members", "virtual_time", "waiters")

    def __init__(self, key: tuple[str, int], virtual_time: float) -> None:
        self.key = key
        self.virtual_time = virtual_time
        self.head: _Waiter | None = None
        """The one on the heap."""
        self.waiters: OrderedDict[int, _Waiter] = OrderedDict()
        self.members = 0
        """Its requests in the scheduler, the one at the bucket included."""


class _Waiter(NamedTuple):
    """A ticket, and what it costs in tokens and in virtual time."""

    ticket: Ticket
    flow: _Flow
    tokens: float
    cost: float


class WeightedFairControl(Ledger):
    """Admits at the rate of a bucket, in the order of virtual finish times.

    Args:
        bucket: gives the tokens.
        workload_of: what a request belongs to, takes and is worth. Inside a workload each flow
            (256 of them, by hash; 0 is a flow of its own) has an equal part.
        timeout_ns: how long a request may wait; the time it has left, if that is less.
    """

    def __init__(
        self,
        *,
        bucket: TokenBucket,
        workload_of: Callable[[RequestInfo], Workload] = workload_by_criticality,
        timeout_ns: Nanos = _TIMEOUT_NS,
    ) -> None:
        super().__init__()
        self._bucket = bucket
        self._workload_of = workload_of
        self._timeout_ns = timeout_ns
        self._flows: dict[tuple[str, int], _Flow] = {}
        self._flow_counts: dict[str, int] = {}
        self._virtual_time = 0.0
        self._heap: list[tuple[float, int, _Waiter]] = []
        self._expiries: list[tuple[int, int, Ticket]] = []
        self._current: _Waiter | None = None
        """The one at the bucket: while there is one the queue is open."""
        self._current_at = _NEVER
        """When its tokens have come."""
        self._queue_length = 0

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run where there are tokens and nobody waits, else wait for them."""
        label, tokens, inverse_priority = self._workload_of(request)
        wait_max_ns: int = self._timeout_ns
        deadline_at = None
        if time_left_ns is not None:
            deadline_at = Instant(now + time_left_ns)
            wait_max_ns = min(wait_max_ns, time_left_ns)
        wait_ns: int | None = 0
        if tokens and not self._bucket.sees(tokens, now=now):
            wait_ns = None
            if self._current is None:
                wait_ns = self._bucket.take(tokens, now=now, wait_max_ns=wait_max_ns)
                if wait_ns is None:
                    return self.reject(request, _QUEUE_TIMEOUT, now=now)
        if wait_ns == 0:
            return self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
        ticket = self.ticket(
            request,
            now=now,
            expires_at=Instant(now + wait_max_ns),
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )
        flow = self._flow_of(label, flow_hash)
        cost = tokens * inverse_priority * self._flow_counts[label]
        waiter = ticket.queue_slot = _Waiter(ticket, flow, tokens, cost)
        flow.members += 1
        self._queue_length += 1
        if wait_ns is not None:
            self._current = waiter
            self._current_at = now + wait_ns
            return ticket
        flow.waiters[ticket.serial] = waiter
        self._put_next_on_heap(flow)
        heappush(self._expiries, (ticket.expires_at, ticket.serial, ticket))
        return ticket

    def _flow_of(self, label: str, flow_hash: int) -> _Flow:
        key = (label, 1 + flow_hash % _FLOWS if flow_hash else 0)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, self._virtual_time)
            self._flow_counts[label] = self._flow_counts.get(label, 0) + 1
        return flow

    def _put_next_on_heap(self, flow: _Flow) -> None:
        if flow.head is None and flow.waiters:
            serial, flow.head = flow.waiters.popitem(last=False)
            heappush(self._heap, (flow.virtual_time + flow.head.cost, serial, flow.head))

    def _leave(self, waiter: _Waiter) -> None:
        """Out of the scheduler, served or not; a flow without requests is forgotten."""
        self._queue_length -= 1
        flow = waiter.flow
        flow.members -= 1
        if not flow.members:
            del self._flows[flow.key]
            label = flow.key[0]
            self._flow_counts[label] -= 1
            if not self._flow_counts[label]:
                del self._flow_counts[label]

    # --- the bucket -------------------------------------------------------------------------

    def _serve(self, now: Instant) -> Sequence[Verdict]:
        """Hand out the tokens that have come, then refuse who has waited too long."""
        verdicts: list[Verdict] = []
        if self._current is not None and self._current_at <= now:
            self._admit(self._current, now, verdicts)
            self._call_up(now, verdicts)
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            ticket = heappop(expiries)[2]
            if ticket.state is _WAITING:
                self._withdraw(ticket.queue_slot)
                verdicts.append(self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now))
        return verdicts

    def _admit(self, waiter: _Waiter, now: Instant, verdicts: list[Verdict]) -> None:
        """Its tokens are here: its flow's time moves on, and the scheduler's with it."""
        flow = waiter.flow
        flow.virtual_time += waiter.cost
        self._virtual_time = flow.virtual_time
        verdicts.append(self.admit_ticket(waiter.ticket, now=now))
        self._put_next_on_heap(flow)
        self._leave(waiter)

    def _call_up(self, now: Instant, verdicts: list[Verdict]) -> None:
        """Send waiters to the bucket until one has to stand there."""
        heap = self._heap
        while heap:
            waiter = heappop(heap)[2]
            flow = waiter.flow
            if flow.head is not waiter:
                continue
            flow.head = None
            ticket = waiter.ticket
            wait_max_ns = ticket.expires_at - now
            wait_ns = self._bucket.take(waiter.tokens, now=now, wait_max_ns=wait_max_ns)
            if wait_ns == 0:
                self._admit(waiter, now, verdicts)
            elif wait_ns is not None:
                self._current = waiter
                self._current_at = now + wait_ns
                return
            else:
                verdicts.append(self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now))
                self._put_next_on_heap(flow)
                self._leave(waiter)
        self._current = None
        self._current_at = _NEVER

    def _withdraw(self, waiter: _Waiter) -> None:
        """Out of its flow, before it was called up."""
        flow = waiter.flow
        if flow.head is waiter:
            flow.head = None
            self._put_next_on_heap(flow)
        else:
            del flow.waiters[waiter.ticket.serial]
        self._leave(waiter)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away; from the bucket its tokens come back and the next is called up."""
        if ticket.state is not _WAITING:
            return NO_VERDICTS
        ticket.state = _ABANDONED
        waiter: _Waiter = ticket.queue_slot
        if waiter is not self._current:
            self._withdraw(waiter)
            return NO_VERDICTS
        self._bucket.give_back(waiter.tokens)
        self._put_next_on_heap(waiter.flow)
        self._leave(waiter)
        verdicts: list[Verdict] = []
        self._call_up(now, verdicts)
        return verdicts

    def next_tick_at(self) -> Instant | None:
        """When the tokens of the one at the bucket have come, or a waiter runs out of time."""
        expiries = self._expiries
        while expiries and expiries[0][2].state is not _WAITING:
            heappop(expiries)
        due = min(self._current_at, expiries[0][0]) if expiries else self._current_at
        return Instant(due) if due < _NEVER else None

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Hand out tokens, refuse who has waited too long."""
        return self._serve(now) if self._queue_length else NO_VERDICTS

    def reading(self) -> Reading:
        """Who waits; it limits a rate, not what is in flight."""
        return Reading(
            float("inf"), self.in_flight, self._queue_length, self._bucket.refused_share, 0
        )
