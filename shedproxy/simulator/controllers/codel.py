"""Controlled delay with adaptive LIFO: the queue Facebook's services stand behind.

Two publications that are used together: `Codel` of facebook/folly (folly/executors/Codel.cpp) and
Maurer, "Fail at Scale" (ACM Queue 13-8, 2015). The first drops what waited over twice the target
while even the least wait of the last interval was over the target. The second serves newest first
once the queue has not been empty for N, and then lets a newcomer wait M instead of N; its M = 5 ms
and N = 100 ms are the target and the interval of the first. Neither knows of priorities.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from shedproxy.core import (
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
from shedproxy.simulator.controllers.ledger import QueueLedger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["Codel", "CodelControl"]

_TARGET_NS = milliseconds(5)
_INTERVAL_NS = milliseconds(100)
_QUEUE_TIMEOUT = RejectReason.QUEUE_TIMEOUT
_WAITING = TicketState.WAITING
_ABANDONED = TicketState.ABANDONED


class Codel:
    """Judges waits, one after the other, by the least wait of the interval before."""

    __slots__ = (
        "_interval_ends_at",
        "_is_fresh",
        "_wait_min_ns",
        "interval_ns",
        "is_overloaded",
        "target_ns",
    )

    def __init__(self, *, target_ns: Nanos = _TARGET_NS, interval_ns: Nanos = _INTERVAL_NS) -> None:
        self.configure(target_ns=target_ns, interval_ns=interval_ns)
        self.is_overloaded = False
        """Whether the least wait of the last interval was over the target."""
        self._interval_ends_at = 0
        self._wait_min_ns = 0
        self._is_fresh = True
        """The interval has seen no request yet."""

    def configure(self, *, target_ns: Nanos, interval_ns: Nanos) -> None:
        """Set both at once.

        Raises:
            ValueError: not 0 < target < interval; the former values stay.
        """
        if not 0 < target_ns < interval_ns:
            raise ValueError("the target is above 0 and below the interval")
        self.target_ns = target_ns
        self.interval_ns = interval_ns

    def drops(self, wait_ns: int, *, now: Instant) -> bool:
        """Take note of a wait, and whether it was too long. The first of an interval never is."""
        if now > self._interval_ends_at and not self._is_fresh:
            self._interval_ends_at = now + self.interval_ns
            self.is_overloaded = self._wait_min_ns > self.target_ns
            self._is_fresh = True
        if self._is_fresh:
            self._wait_min_ns = wait_ns
            self._is_fresh = False
            return False
        self._wait_min_ns = min(self._wait_min_ns, wait_ns)
        return self.is_overloaded and wait_ns > 2 * self.target_ns

    @property
    def load_percent(self) -> int:
        """The least wait of this interval in percent of the longest one that is kept, 0..100."""
        return min(100, 100 * self._wait_min_ns // (2 * self.target_ns))


class CodelControl(QueueLedger):
    """A queue in front of `slots` threads, bounded in time only.

    Args:
        slots: threads of the server, 1 or more. A request wider than all of them runs alone.
        target_ns: wait that is good enough; also what a newcomer may wait once the queue stands.
        interval_ns: over which the least wait is taken; also the most that anybody may wait, and
            the time without an empty queue after which it stands.
    """

    def __init__(
        self, *, slots: int, target_ns: Nanos = _TARGET_NS, interval_ns: Nanos = _INTERVAL_NS
    ) -> None:
        super().__init__(slots)
        self._codel = Codel(target_ns=target_ns, interval_ns=interval_ns)
        self._queued_since = 0
        """When the queue was last empty, while it is not."""
        self._expiries: list[tuple[int, int, Ticket]] = []

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run at once where a thread is free and nobody waits, else wait."""
        deadline_at = None if time_left_ns is None else Instant(now + time_left_ns)
        queue = self._queue
        if not queue:
            if self.fits(request.cost, self._slots):
                self._codel.drops(0, now=now)
                return self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
            self._queued_since = now
        wait_max_ns = self._codel.target_ns if self._stands(now) else self._codel.interval_ns
        ticket = self.join(
            request,
            now=now,
            expires_at=Instant(now + wait_max_ns),
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )
        heappush(self._expiries, (ticket.expires_at, ticket.serial, ticket))
        return ticket

    def _stands(self, now: Instant) -> bool:
        """Whether the queue has not been empty for longer than the interval."""
        return now - self._queued_since > self._codel.interval_ns

    def next_tick_at(self) -> Instant | None:
        """When the next waiter has waited long enough."""
        expiries = self._expiries
        while expiries and expiries[0][2].state is not _WAITING:
            heappop(expiries)
        return Instant(expiries[0][0]) if expiries else None

    def serve(self, now: Instant) -> Sequence[Verdict]:
        """Refuse who has waited too long, then fill the free threads."""
        verdicts: list[Verdict] = []
        queue = self._queue
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            ticket = heappop(expiries)[2]
            if ticket.state is _WAITING:
                del queue[ticket.serial]
                verdicts.append(self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now))
        takes_newest = self._stands(now)
        while queue:
            serial, ticket = queue.popitem(last=takes_newest)
            if not self.fits(ticket.cost, self._slots):
                queue[serial] = ticket
                queue.move_to_end(serial, last=takes_newest)
                break
            if self._codel.drops(now - ticket.arrived_at, now=now):
                verdicts.append(self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now))
            else:
                verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts

    def reading(self) -> Reading:
        """The threads and who waits for them; it means to refuse no share of demand."""
        return Reading(self._slots, self.in_flight, len(self._queue), 0.0, 0)
