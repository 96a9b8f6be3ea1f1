"""One connection from a client: request heads, bodies, keep-alive and pipelining.

One request is in flight at a time; what a client sends ahead waits here, bounded by not reading on.
Bytes of a body that nobody wants are thrown away by their framing or not at all: they are never
read as a request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from shedproxy.core import NS_PER_S, Decision, Instant, Lane, Rejected
from shedproxy.dataplane.wire.body import BodyReader
from shedproxy.dataplane.wire.client_end import PROBE_NS
from shedproxy.dataplane.wire.client_place import FIRST_WORD_NS
from shedproxy.dataplane.wire.client_turns import ClientTurns
from shedproxy.dataplane.wire.exchange import Exchange
from shedproxy.dataplane.wire.framing import (
    BodyKind,
    HeadError,
    RequestFraming,
    begun_head_fault,
    find_head_end,
    overflow_fault,
)
from shedproxy.dataplane.wire.head_memory import RequestHeads
from shedproxy.dataplane.wire.refusing import refuse
from shedproxy.dataplane.wire.tokens import RequestTokens
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.live import Live
    from shedproxy.dataplane.wire.server import WireServer

__all__ = ["ClientConnection"]

_NONE: Final = int(BodyKind.NONE)
_SIZED: Final = int(BodyKind.SIZED)
_CONTROL: Final = Lane.CONTROL
DISCARD_SIZE_MAX = 64 * 1024
DISCARD_NS = NS_PER_S
"""A refused body of at most this size and time is read and thrown away; else the end is near."""
TURN_REQUESTS_MAX: Final = 16
"""Requests of one connection that are refused, one after the other, in one turn of the loop."""


class ClientConnection(ClientTurns):
    """HTTP/1.1 towards a client."""

    __slots__ = (
        "_discarded",
        "_is_advancing",
        "heads",
        "sends_ahead",
    )

    def __init__(self, server: WireServer) -> None:
        super().__init__(server)
        self._discarded = 0
        self.heads = RequestHeads()
        self._is_advancing = False
        self.sends_ahead = False
        """It has asked before it was answered, and may have done so again."""

    # --- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are transports by shape, not by class.
        self.transport = cast("asyncio.Transport", transport)
        server = self.server
        peername = transport.get_extra_info("peername")
        if type(peername) is tuple:
            self.peer = peername[0]
            self.peer_bytes = self.peer.encode()
        if not server.reception.admit(self):
            return
        # Told at the first byte that the client does not take; what then is held is the exchange's
        # to decide.
        self.transport.set_write_buffer_limits(high=1)
        # A connection that never says a word is as slow as one that never ends its head.
        self.deadline_at = server.clock() + server.live.timeouts.client_head_ns
        server.wheel.watch(self)

    def data_received(self, data: bytes) -> None:
        if self.is_ending:
            self.discard(len(data))
        elif self._body is not None:
            turns = self.server.turns
            if turns is None:
                self.feed_body(self._body, data)
            else:
                self.feed_in_turn(turns, self._body, data)
        elif self.exchange is None and not (self.is_write_blocked or self.is_held):
            turns = self.server.turns
            if turns is None:
                self.advance(self.joined(data) if self._buffer else data)
            else:
                self.advance_in_turn(turns, data)
        elif self.tunnel is not None:
            self.tunnel.on_client_data(data)
        else:
            self.keep(data)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            return self.tunnel.on_client_eof()
        exchange = self.exchange
        if self.is_ending or self._body is not None or self.server.is_tls:
            return False
        if exchange is None:
            # Whole requests that were sent ahead still get their answers.
            self.is_half_closed = bool(self._buffer) and (self.is_held or not self._seen)
            return self.is_half_closed
        if exchange.is_streaming:
            # It may be silent for hours, and who only listens has no reason to say good-bye. It
            # must not take what it has for all of it.
            self.cut(reset=True)
            return False
        # Closed altogether, or only its sending side? A client that is there must put up with a
        # 100 (RFC 9110 15.2); one that is gone answers it with a reset.
        self.is_half_closed = True
        exchange.probe()
        self.wake_at(self.server.clock() + PROBE_NS)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.server.wheel.forget(self)
        self.server.reception.on_disconnected(self)
        self._body = None
        self.forget_stall()
        self.end_of_cell()
        if self.tunnel is not None:
            self.tunnel.on_client_closed()
        elif self.exchange is not None:
            self.exchange.on_client_gone()

    def pause_writing(self) -> None:
        self.is_write_blocked = True
        if self.tunnel is not None:
            self.tunnel.pause_upstream()
            return
        self.start_write_watch()
        exchange = self.exchange
        if exchange is not None:
            self.watch_stall(self.server.clock())
            exchange.on_client_blocked()

    def resume_writing(self) -> None:
        self.is_write_blocked = False
        self.end_of_cell()
        if self.tunnel is not None:
            self.tunnel.resume_upstream()
        elif self.exchange is not None:
            self.exchange.on_client_ready()
        elif not (self.is_busy or self.is_ending):
            self._go_idle(self.server.clock())

    # --- requests ---------------------------------------------------------------------------

    def advance(self, data: bytes | bytearray) -> None:
        """Serve what is in `data` until a request has to wait for something."""
        self._is_advancing = True
        left = TURN_REQUESTS_MAX
        party = self.party
        try:
            while not self.is_closed:
                if not self._begin_next(self.server.live, data):
                    return
                if self.is_busy or self.is_ending or self.is_write_blocked or not self._buffer:
                    return
                data = self._buffer
                left -= 1
                # What follows is of another cell than thought: that one's turn may be over.
                if not left or self.party is not party:
                    self.pause_reading()
                    self.server.loop.call_soon(self.go_on)
                    return
        except Exception:
            self.cut()
            raise
        finally:
            self._is_advancing = False

    def _begin_next(self, live: Live, data: bytes | bytearray) -> bool:
        """Begin the first request in `data`; False: there is none, or not all of its head."""
        if type(data) is bytes and not self._seen:
            found = self.heads.recall(data, live)
            if found is not None:
                self._buffer = b""
                self._begin(live, found[0], found[1], data, self.heads.end)
                return True
        end = find_head_end(data, self._seen)
        size_max = live.head_size_max
        if end < 0 and len(data) <= size_max:
            self._await_head(data)
            return False
        if end < 0 or end > size_max:
            fault = overflow_fault(data, target_size_max=live.target_size_max)
            self._refuse_head(fault, data)
            return False
        self._seen = 0
        self._buffer = b""
        whole = data if type(data) is bytes else bytes(data)
        head = whole if end == len(whole) else whole[:end]
        try:
            tokens, framing = self.heads.read(head, live)
        except HeadError as error:
            self._refuse_head(error.fault, head)
            return False
        self._begin(live, tokens, framing, whole, end)
        return True

    def _await_head(self, data: bytes | bytearray) -> None:
        if self.is_half_closed:
            self.end()
            return
        if not self._seen:
            self.deadline_at = self.server.clock() + self.head_patience_ns
            self.server.wheel.watch(self)
        fault = begun_head_fault(data, self._seen)
        if fault is not None:
            self._refuse_head(fault, data)
            return
        self._buffer = data
        self._seen = len(data)

    def _begin(
        self, live: Live, tokens: RequestTokens, framing: RequestFraming, data: bytes, end: int
    ) -> None:
        """A request, with what came behind the `end` of its head."""
        self.served += 1
        if not framing.keep_alive:
            self.sends_ahead = False  # it says that this is its last
        now = self.server.clock()
        self.deadline_at = 0
        if self.is_reading_paused or self.is_half_closed:
            self.wake_at(now + PROBE_NS)
        length = max(0, framing.length)
        is_whole = framing.body == _NONE or (
            # All of it came along: nothing is to be waited for, counted or held back.
            framing.body == _SIZED and len(data) - end >= length and not framing.expect_continue
        )
        read = live.classify(tokens, framing, self.peer)
        info, flow_hash, cohort, left_ns, _ = read
        turns = self.server.turns
        if turns is not None:
            self.party = turns.control if info.lane is _CONTROL else turns.party(info.cell)
        group, key = live.group_of(info.cell), live.moving_key()
        size_max = live.body_size_max
        decision: Decision | None = None
        if is_whole:
            self._buffer = data[end + length :] if len(data) > end + length else b""
            is_full = group.is_out or group.clients >= group.clients_max
            if not is_full and not key and not (size_max and length > size_max):
                decision = live.driver.decide(info, now, flow_hash, cohort, left_ns)
                if type(decision) is Rejected:
                    group.clients += 1
                    keep_alive = refuse(self, live, decision, tokens, framing, now)
                    self.leave_cell(group)
                    self.finish_exchange(keep_alive=keep_alive, now=now)
                    return
        self.exchange = exchange = Exchange(self, live, tokens, framing, now)
        if is_whole:
            if length:
                exchange.take_body(data[end : end + length])
            exchange.begin(read, group, decision, key)
            return
        body = BodyReader(framing.body, framing.length, Fault.BAD_REQUEST)
        self._body = body
        self._body_at = now
        self._rate = None
        self.wake_at(now + live.timeouts.client_body_ns)
        exchange.begin(read, group, None, key)
        if len(data) > end and self._is_reading(body) and not self.is_ending:
            self.feed_body(body, data[end:])
        if self._is_reading(body) and exchange.is_collecting:
            self.resume_reading()  # what was sent ahead may have stopped it

    def _is_reading(self, body: BodyReader) -> bool:
        """Whether it is still what is read: what was called since may have ended it."""
        return self._body is body

    def _refuse_head(self, fault: Fault, head: bytes | bytearray) -> None:
        """Answer a head that is no request of ours; nothing after it can be trusted."""
        self.answer_fault(fault, head)
        self.linger()

    def feed_body(self, body: BodyReader, data: bytes) -> None:
        exchange = self.exchange
        try:
            piece = body.feed(data)
        except HeadError as error:
            if exchange is None:
                self.linger()
            else:
                exchange.on_bad_body(error.fault)
            return
        if body.is_complete:
            self._body = None
            self._buffer = body.leftover
        if exchange is None:
            self._discarded += len(data)
            if body.is_complete:
                self._go_idle(self.server.clock())
            elif self._discarded > DISCARD_SIZE_MAX:
                self.linger()
            return
        self._body_at = self.server.clock()
        exchange.on_body(piece, complete=body.is_complete)

    # --- between requests -------------------------------------------------------------------

    def can_keep(self) -> bool:
        """Whether the connection can be kept when the present exchange ended now.

        Not when more of an unwanted body is to come than is worth reading, and not when the client
        waits for a 100 that it will not get: then nobody knows whether the body follows.
        """
        body = self._body
        if body is None:
            return True
        exchange = self.exchange
        expecting = None if exchange is None else exchange.expecting
        if expecting is not None and not expecting.has_continued:
            return False
        return body.remaining <= DISCARD_SIZE_MAX

    def finish_exchange(self, *, keep_alive: bool, now: Instant) -> None:
        """The answer is written. The next request, or the end of the connection."""
        self.exchange = None
        self.forget_stall()
        if self.is_closed or self.is_ending:
            return
        if not keep_alive:
            is_sending = self._body is not None or self._buffer or self.is_reading_paused
            if is_sending or self.sends_ahead or self.has_unread():
                self.linger()
            else:
                self.end()
        elif self._body is not None:
            self._discarded = 0
            self.deadline_at = now + DISCARD_NS
            self.server.wheel.watch(self)
            self.resume_reading()
        else:
            self._go_idle(now)

    def _go_idle(self, now: Instant) -> None:
        server = self.server
        if self.is_half_closed and not self._buffer:
            self.end()
            return
        if self.is_write_blocked:
            return  # the deadline is that of the answer, and who takes it is heard again
        if self.served:  # else TLS has only just begun, and its first word is awaited as before
            idle_ns = server.live.idle_ns
            if server.is_draining:  # it was told to stay before, and may be asking again already
                idle_ns = min(idle_ns, FIRST_WORD_NS)
            self.deadline_at = now + idle_ns
            server.wheel.watch(self)
            self.sends_ahead = self.sends_ahead or bool(self._buffer)
        if self._buffer and not self._is_advancing:
            # Not at once: a client that sends ahead must not keep the loop from the others.
            server.loop.call_soon(self.go_on)
        elif self.is_reading_paused:
            self.resume_reading()

    def take_ahead(self) -> bytes:
        """What was sent after the request, for a tunnel to pass on."""
        ahead, self._buffer = bytes(self._buffer), b""
        return ahead

    # --- time -------------------------------------------------------------------------------

    def on_deadline(self, now: Instant) -> None:
        """The deadline has passed: see what it was for."""
        self.deadline_at = 0
        if self.is_ending:
            self.on_end_deadline(now)
        elif self.tunnel is not None:
            self.tunnel.on_deadline(now)
        elif self.is_write_blocked and self.has_stalled(now):
            if self.exchange is None:
                self.cut()
            else:
                self.give_up_reader(self.exchange)
        elif self.is_held:
            self.wake_at(now + PROBE_NS)
        elif self.exchange is not None:
            self.check_body(self.exchange, now)
        elif self._body is not None:
            self.linger()
        elif self._seen and self.server.is_draining:
            self.turn_away()
        elif self._seen:
            self._refuse_head(Fault.HEAD_TIMEOUT, self._buffer)
        elif not self.is_write_blocked:
            self.end()
