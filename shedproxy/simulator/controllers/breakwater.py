"""Breakwater: the server hands out credits, as many as its queueing delay allows.

Source: Cho et al., "Overload Control for us-scale RPCs with Breakwater" (OSDI 2020), and its code
(breakwater/src/bw_server.c of shenango/caladan), from which the bookkeeping of credits is taken.
Once per round trip the pool grows by max(0.001 x clients, 1), or, with the oldest waiter over the
target d_t, shrinks by 0.02 (d - d_t) / d_t, at most by half. A client gets its share with every
response, over-committed because a client's demand is not known before it comes; what that costs is
dropped on arrival while the delay is over 2 d_t.

In the paper a client without a credit waits at its own side, for one round trip in the published
set-up. A proxy has no such place: here it is refused, and that refusal is the demand the server is
told of.
"""

from __future__ import annotations

from collections import OrderedDict
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
    TicketState,
    Verdict,
    seconds,
)
from shedproxy.simulator.controllers.ledger import QueueLedger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["SLO_FACTOR", "BreakwaterControl", "next_credit_pool"]

_ADDITIVE = 0.001
_MULTIPLICATIVE = 0.02
_SHRINK_MIN = 0.5
SLO_FACTOR = 10
_TARGET_SHARE = 0.4
_IDLE_NS = seconds(1)
_NEVER = Instant(1 << 62)
_SHED_LEVEL = RejectReason.SHED_LEVEL
_QUEUE_FULL = RejectReason.QUEUE_FULL
_WAITING = TicketState.WAITING
_ABANDONED = TicketState.ABANDONED


def next_credit_pool(pool: int, *, delay_ns: int, target_ns: int, client_count: int) -> int:
    """One step of the control loop: credits in all, from the queueing delay.

    A delay at the target or above takes at least one credit away.
    """
    if delay_ns < target_ns:
        return pool + max(int(_ADDITIVE * client_count), 1)
    shrink = 1.0 - _MULTIPLICATIVE * (delay_ns - target_ns) / target_ns
    return min(int(pool * max(shrink, _SHRINK_MIN)), pool - 1)


class _Client:
    """What the server knows of one client."""

    __slots__ = ("credit", "demand", "pending", "seen_at")

    def __init__(self) -> None:
        self.credit = 0
        """Requests it may have at the server."""
        self.pending = 0
        """Requests it has there: waiting or in flight."""
        self.demand = 0
        """Requests it could not send since it was last given credit."""
        self.seen_at = 0


class BreakwaterControl(QueueLedger):
    """Credits per client (flow), and a queue in front of `slots` cores, oldest first.

    Args:
        slots: cores of the server, 1 or more: also the least credits it hands out. A request wider
            than all of them runs alone.
        service_ns: expected time of service.
        rtt_ns: round trip between client and server: how often the pool moves at most.
        slo_ns: what a response may take; None: 10 x (service + round trip).
        target_ns: the delay d_t to steer to; None: 0.4 of `slo_ns`.
        client_window: most credits of one client; times clients, the most of all.
        client_idle_ns: a client that is silent for so long has hung up; its credits come back.
    """

    def __init__(
        self,
        *,
        slots: int,
        service_ns: Nanos,
        rtt_ns: Nanos,
        slo_ns: Nanos | None = None,
        target_ns: Nanos | None = None,
        client_window: int = 64,
        client_idle_ns: Nanos = _IDLE_NS,
    ) -> None:
        super().__init__(slots)
        if slo_ns is None:
            slo_ns = Nanos(SLO_FACTOR * (service_ns + rtt_ns))
        self.target_ns = Nanos(round(_TARGET_SHARE * slo_ns)) if target_ns is None else target_ns
        """The queueing delay it steers to."""
        self.pool = slots
        """Credits it means to have out."""
        self.issued = 0
        """Credits that clients hold: over-committed, they may be more than the pool."""
        self._rtt_ns = rtt_ns
        self._client_window = client_window
        self._client_idle_ns = client_idle_ns
        self._clients: OrderedDict[int, _Client] = OrderedDict()
        """By flow, the least recently seen first."""
        self._drained: OrderedDict[int, _Client] = OrderedDict()
        """Clients without any credit. The last gets the next one: the latest with demand; without
        demand they come first in, first out."""
        self._pool_moved_at = 0

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Without a credit: no. With one: run or wait, unless the queue is far too slow."""
        client = self._see(flow_hash, now)
        if client.pending >= client.credit and not self._ask(client, flow_hash, now):
            return self.reject(request, _SHED_LEVEL, now=now, limit=self._slots)
        if self._delay_ns(now) >= 2 * self.target_ns:
            self._move_pool(now)
            self._grant(client, flow_hash, was_dropped=True)
            return self.reject(request, _QUEUE_FULL, now=now, limit=self._slots)
        client.pending += 1
        deadline_at = None if time_left_ns is None else Instant(now + time_left_ns)
        if not self._queue and self.fits(request.cost, self._slots):
            return self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
        return self.join(
            request,
            now=now,
            expires_at=_NEVER,
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )

    def _delay_ns(self, now: Instant) -> int:
        """How long the oldest waiter has waited."""
        return now - next(iter(self._queue.values())).arrived_at if self._queue else 0

    # --- credits ----------------------------------------------------------------------------

    def _see(self, flow_hash: int, now: Instant) -> _Client:
        """The client, who is given credit when it first connects."""
        client = self._clients.get(flow_hash)
        if client is None:
            client = self._clients[flow_hash] = _Client()
            self._grant(client, flow_hash)
        else:
            self._clients.move_to_end(flow_hash)
        client.seen_at = now
        return client

    def _ask(self, client: _Client, flow_hash: int, now: Instant) -> bool:
        """Tell the server of demand. One with nothing there asks outright and is answered."""
        client.demand += 1
        if client.pending:
            return False
        self._forget_idle(now)
        self._grant(client, flow_hash)
        if client.credit:
            return True
        self._drained.move_to_end(flow_hash)
        return False

    def _grant(self, client: _Client, flow_hash: int, *, was_dropped: bool = False) -> None:
        """Set the credit of a client, as every response does."""
        before = credit = client.credit
        unused = self.pool - self.issued
        client_count = len(self._clients)
        extra = max(unused // client_count, 1)
        wanted = client.pending + client.demand + extra
        if unused > 0:
            credit += unused
        elif unused < 0:
            credit -= 1
        if client_count <= self._slots:
            credit = max(credit, extra)
        if before > 0 and credit <= 0 and not was_dropped:
            credit = extra
        credit = min(max(credit, client.pending, 0), self._client_window, wanted)
        client.credit = credit
        self.issued += credit - before
        client.demand = 0
        if credit:
            self._drained.pop(flow_hash, None)
        elif flow_hash not in self._drained:
            self._drained[flow_hash] = client
            self._drained.move_to_end(flow_hash, last=False)

    def _move_pool(self, now: Instant) -> None:
        """Once per round trip: the control loop, and the first credit for those without any."""
        if now - self._pool_moved_at < self._rtt_ns:
            return
        self._pool_moved_at = now
        self._forget_idle(now)
        client_count = len(self._clients)
        pool = next_credit_pool(
            self.pool,
            delay_ns=self._delay_ns(now),
            target_ns=self.target_ns,
            client_count=client_count,
        )
        self.pool = min(max(pool, self._slots), client_count * self._client_window)
        while self._drained and self.issued < self.pool:
            self._drained.popitem()[1].credit = 1
            self.issued += 1

    def _forget_idle(self, now: Instant) -> None:
        clients = self._clients
        while clients:
            flow_hash, client = next(iter(clients.items()))
            if client.pending or now - client.seen_at < self._client_idle_ns:
                return
            del clients[flow_hash]
            self._drained.pop(flow_hash, None)
            self.issued -= client.credit

    # --- the queue --------------------------------------------------------------------------

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A response: the pool may move, its client is given credit, the oldest waiter runs."""
        self._move_pool(now)
        self._end(permit.flow_hash)
        return super().release(permit, outcome, now=now)

    def _end(self, flow_hash: int) -> None:
        client = self._clients[flow_hash]
        client.pending -= 1
        self._grant(client, flow_hash)

    def leaves(self, ticket: Ticket) -> bool:
        """Note that a waiter goes away; its client may have its credit back."""
        if not super().leaves(ticket):
            return False
        self._end(ticket.flow_hash)
        return True

    def serve(self, now: Instant) -> Sequence[Verdict]:
        """Start who fits, the oldest first."""
        verdicts: list[Verdict] = []
        queue = self._queue
        while queue:
            ticket = next(iter(queue.values()))
            if not self.fits(ticket.cost, self._slots):
                break
            del queue[ticket.serial]
            verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts

    def reading(self) -> Reading:
        """The pool of credits: what it means to have at the server, waiting or in flight."""
        return Reading(self.pool, self.in_flight, len(self._queue), 0.0, 0)
