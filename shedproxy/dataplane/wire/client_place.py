"""Whether a client keeps its slot, and its connection, while others want them.

It loses the slot when it moves too slowly or not at all (`stalls`), and the connection when it only
keeps the worker waiting and there is no room for others (`crowd`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.clock import wall_seconds
from shedproxy.core import NS_PER_MS, Instant, Nanos, RejectReason
from shedproxy.dataplane.wire.client_body import ClientBody
from shedproxy.dataplane.wire.http_date import http_date
from shedproxy.dataplane.wire.tcp_state import unacknowledged
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Eviction, ProcessCounter

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.exchange import Exchange
    from shedproxy.dataplane.wire.server import WireServer
    from shedproxy.dataplane.wire.tunnel import Tunnel
    from shedproxy.dataplane.wire.turns import Party
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["FIRST_WORD_NS", "ClientPlace"]

FIRST_WORD_NS = Nanos(500 * NS_PER_MS)
"""How long a drain waits for handshakes, for the first request of a new connection, for the next of
one that was told to stay, and for the rest of a head that has begun."""
_LAST_WORD_NS = Nanos(250 * NS_PER_MS)
"""And how long for who is told that no more is waited for."""


class ClientPlace(ClientBody):
    """Is the `Holder` of `stalls` and the `Member` of `crowd`."""

    __slots__ = (
        "_buffer",
        "_cell_left",
        "_is_watched",
        "_seen",
        "is_held",
        "party",
        "served",
        "tunnel",
    )

    def __init__(self, server: WireServer) -> None:
        super().__init__(server)
        self.tunnel: Tunnel | None = None
        self.served = 0
        """Requests begun on this connection."""
        self._buffer: bytes | bytearray = b""
        """A head begun, or what was sent ahead."""
        self._seen = 0
        """Bytes of a begun head that hold no end of it."""
        self.party: Party | None = None
        """With whom it takes turns, see `turns`; None: nothing is known of it."""
        self.is_held = False
        """What it has sent waits for that turn."""
        self._is_watched = False
        self._cell_left: UpstreamGroup | None = None
        """The cell whose answer it has not taken yet, and that nothing else is left of."""

    # --- the cell ---------------------------------------------------------------------------

    def leave_cell(self, group: UpstreamGroup) -> None:
        """A request of the cell is over. Who still has to take its answer takes a place in it."""
        if self.is_write_blocked and not self.is_closed:
            self._cell_left = group
        else:
            group.clients -= 1

    def end_of_cell(self) -> None:
        """The answer is taken, or nobody will."""
        group, self._cell_left = self._cell_left, None
        if group is not None:
            group.clients -= 1

    # --- the slot ---------------------------------------------------------------------------

    def watch_stall(self, now: Instant) -> None:
        """From now on the exchange has to move while others wait for its slot."""
        self._is_watched = True
        self.server.stalls.watch(self, now)

    def forget_stall(self) -> None:
        """The exchange is over."""
        if self._is_watched:
            self._is_watched = False
            self.server.stalls.forget(self)

    @property
    def held_cell(self) -> str | None:
        exchange = self.exchange
        permit = None if exchange is None else exchange.permit
        if exchange is None or permit is None or permit.is_resident or not permit.cost:
            return None
        return exchange.info.cell

    @property
    def is_awaited(self) -> bool:
        if self.is_body_awaited:
            return True
        exchange = self.exchange
        upstream = None if exchange is None else exchange.upstream
        # What the upstream still has may fit: then the slot does not wait for the client.
        return self.is_write_blocked and upstream is not None and upstream.is_paused

    @property
    def moved(self) -> int:
        received = 0 if self.exchange is None else self.exchange.received
        held = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # The kernel takes a lot at a time, so that what it has says little of a slow reader.
            held += unacknowledged(sock)
        return received + self.written - held

    def end_stalled(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        count = self.server.driver.meter.count
        if self.is_write_blocked:
            count(ProcessCounter.EVICTED_READER)
            self.give_up_reader(exchange)
        else:
            count(ProcessCounter.EVICTED_UPLOAD)
            exchange.fail(Fault.SLOW_CLIENT)

    def give_up_reader(self, exchange: Exchange) -> None:
        """It does not take its answer, and must see that it has not had all of it."""
        exchange.on_client_stalled()
        self.cut(reset=True)

    # --- the connection ---------------------------------------------------------------------

    @property
    def waits_since(self) -> Instant | None:
        """Since when it has kept us waiting, holding no slot; None: it does not."""
        if self.is_ending or self.is_write_blocked or self.tunnel is not None:
            return None
        exchange = self.exchange
        if exchange is not None:
            return exchange.started_at if exchange.is_collecting else None
        is_ahead = self._buffer and not (self._seen or self.is_held)
        if self._body is not None or is_ahead:
            return None
        timeouts = self.server.live.timeouts
        is_idle = self.served and not self._seen
        return Instant(
            self.deadline_at - (timeouts.client_idle_ns if is_idle else timeouts.client_head_ns)
        )

    def has_spoken(self) -> bool:
        # Who is not read from has more to say than there is room for, and keeps us waiting.
        return not self.is_reading_paused and self.has_unread()

    def evict(self) -> Eviction:
        """End it to make room for others: with a 408 when something of a request had come, and a
        503 when it waits for the turn of its cell.
        """
        exchange = self.exchange
        if exchange is not None:
            exchange.fail(Fault.SLOW_CLIENT)
            kind = Eviction.BODY
        elif self.is_held:
            reception = self.server.reception
            numbers = (len(reception.crowd), reception.connections_max)
            is_head = self._forget_head(self._buffer)
            reception.tell(self, RejectReason.CONNECTION_LIMIT, numbers, head=is_head)
            kind = Eviction.IDLE if self.served else Eviction.HEAD
        elif self._seen:
            self.answer_fault(Fault.HEAD_TIMEOUT, self._buffer)
            kind = Eviction.HEAD
        else:
            kind = Eviction.IDLE if self.served else Eviction.HEAD
        self.end()
        return kind

    # --- the head ---------------------------------------------------------------------------

    @property
    def head_patience_ns(self) -> Nanos:
        """How long a head may take from its first byte on."""
        bound_ns = self.server.live.timeouts.client_head_ns
        return min(bound_ns, FIRST_WORD_NS) if self.server.is_draining else bound_ns

    def say_goodbye(self, *, idle_for_ns: int) -> None:
        """Draining: close when nothing is under way, nor was for so long, nor waits unread."""
        timeouts = self.server.live.timeouts
        if self._seen and self.server.is_draining:
            self.wake_at(self.deadline_at - timeouts.client_head_ns + self.head_patience_ns)
        if self.is_busy or self._buffer:
            return
        idle_ns = self.server.clock() + timeouts.client_idle_ns - self.deadline_at
        if idle_ns >= idle_for_ns and not self.has_unread():
            self.end()

    def turn_away(self) -> None:
        """Draining: a head that has begun, if any, is refused, and its end not waited for."""
        if not self._seen:
            return
        is_head = self._forget_head(self._buffer)
        self.server.reception.tell(self, RejectReason.DRAINING, (), head=is_head)
        self.linger(_LAST_WORD_NS)

    def _forget_head(self, head: bytes | bytearray) -> bool:
        """Nothing of it is to be read any more; whether it asked for a head only."""
        self._buffer = b""
        self._seen = 0
        return head.lstrip(b"\r\n").startswith(b"HEAD ")

    def answer_fault(self, fault: Fault, head: bytes | bytearray) -> None:
        """Answer a head that is no request of ours, or not all of one."""
        is_head = self._forget_head(head)
        self.server.on_bad_head(self, fault)
        date = http_date(wall_seconds())
        rejections = self.server.live.rejections
        self.write(rejections.fault_wire(fault, head=is_head, keep_alive=False, date=date))
