"""One connection to an upstream: sends a request, reads the answer, knows whether it may be reused.

A connection carries one exchange at a time. It goes back to the pool only after a provably complete
exchange: the whole request was sent, the whole answer read, and not a byte came after it (bytes
after an answer would become the answer of the next client).
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING, Any, Final

from shedproxy.core import Instant
from shedproxy.dataplane.wire.body import BodyReader
from shedproxy.dataplane.wire.framing import (
    BodyKind,
    HeadError,
    ResponseFraming,
    find_head_end,
    is_hopeless,
)
from shedproxy.dataplane.wire.head_memory import ResponseHeads
from shedproxy.dataplane.wire.pool import Upstream
from shedproxy.dataplane.wire.target import Target
from shedproxy.dataplane.wire.tokens import ResponseTokens
from shedproxy.dataplane.wire.upstream_end import UpstreamEnd
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.abandoned import AbandonedWork
    from shedproxy.dataplane.wire.exchange import Exchange
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["UpstreamConnection"]

RESPONSE_HEAD_SIZE_MAX: Final = 64 * 1024
_NONE: Final = int(BodyKind.NONE)
_SIZED: Final = int(BodyKind.SIZED)
WINDOW_SIZE: Final = 32 * 1024
"""A host's kernel acknowledges a request of at most this size whether anybody reads it or not."""
INTERIM_ANSWERS_MAX = 16
"""More 1xx answers than this to one request are an attack or a loop."""


class UpstreamConnection(UpstreamEnd):
    """The protocol towards an upstream. Whose turn it is: `exchange`, or None while idle."""

    __slots__ = ("_body", "_buffer", "_heads", "_interims", "_seen")

    def __init__(self, group: UpstreamGroup, entry: Upstream[Any], target: Target) -> None:
        super().__init__(group, entry, target)
        self._body: BodyReader | None = None
        self._buffer = b""
        self._seen = 0
        self._interims = 0
        self._heads = ResponseHeads(group.answer_fields)

    # --- asyncio.BufferedProtocol -----------------------------------------------------------

    def get_buffer(self, sizehint: int) -> mmap:
        return self.group.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self.group.read_buffer[:nbytes])

    def data_received(self, data: bytes) -> None:
        """Take what came; the buffer it was read into is every connection's."""
        exchange = self.exchange
        if exchange is None:
            if self.tunnel is not None:
                self.tunnel.on_upstream_data(data)
            else:
                self.close()
            return
        self.has_answered = True
        body = self._body
        try:
            if body is None:
                self._read_head(exchange, self._buffer + data if self._buffer else data)
            else:
                self._read_body(exchange, body, data)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs one answer, and no slot
            self._on_broken(exchange, error)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            return self.tunnel.on_upstream_eof()
        exchange, body = self.exchange, self._body
        if exchange is not None and body is not None and body.kind == BodyKind.UNTIL_CLOSE:
            self._detach(reusable=False)
            try:
                exchange.on_answer_complete(b"")
            except Exception as error:  # noqa: BLE001 - as above
                self._on_broken(exchange, error)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.group.wheel.forget(self)
        was_closed = self._is_closed
        if not was_closed:
            self._is_closed = True
            self.group.on_closed(self)
        if self.tunnel is not None:
            self.tunnel.on_upstream_closed()
            return
        if isinstance(exc, TimeoutError) and not was_closed:
            # Nothing was even acknowledged: what else is open to that host is as dead.
            self.has_vanished = True
            self.group.on_vanished(self)
        if self.exchange is not None:
            self._fail(Fault.UPSTREAM_CLOSED)

    def pause_writing(self) -> None:
        self.is_write_blocked = True
        if self.tunnel is not None:
            self.tunnel.pause_client()
        elif self.exchange is not None:
            self.exchange.on_upload_blocked()

    def resume_writing(self) -> None:
        self.is_write_blocked = False
        if self.tunnel is not None:
            self.tunnel.resume_client()
        elif self.exchange is not None:
            self.exchange.on_upload_ready()

    # --- the exchange's commands ------------------------------------------------------------

    def begin(self, exchange: Exchange, data: bytes, *, complete: bool, deadline_at: int) -> None:
        """Send a request: its head and what there is of its body, in one write."""
        self.exchange = exchange
        self.has_answered = False
        self._answers_before = self.entry.answers
        self.is_request_sent = complete
        self.stalled_ns = 0
        self._body = None
        self._interims = 0
        self._sent_at = self.group.clock() if self.group.watch.is_on else Instant(0)
        self.deadline_at = deadline_at
        self.group.wheel.watch(self)
        self._outgoing = len(data)
        if self._outgoing > WINDOW_SIZE:
            self.watch_silence(is_on=False)
        self.transport.write(data)

    def send(self, data: bytes, *, complete: bool, deadline_at: int) -> None:
        """Send more of the request's body."""
        self.is_request_sent = complete
        if complete and self._sent_at:
            self._sent_at = self.group.clock()
        if self._body is None:
            self.deadline_at = deadline_at
            self.group.wheel.watch(self)
        elif self._idle_ns:
            # It may have answered early, and write on when it has read this.
            self.deadline_at = self.group.clock() + self._idle_ns
        if not data:
            return
        self._outgoing += len(data)
        if self._outgoing > WINDOW_SIZE:
            self.watch_silence(is_on=False)
        if self._unsent or (self._body is None and self.is_open and self.is_readable()):
            self.hold_back(data)
        else:
            self.transport.write(data)

    @property
    def rest(self) -> int:
        """Bytes of the answer's body still to come; -1: nobody knows."""
        return -1 if self._body is None else self._body.remaining

    def close(self) -> None:
        """End the connection at once; the exchange on it, if any, is not told."""
        self.exchange = None
        self.tunnel = None
        self._unsent = []
        self.group.wheel.forget(self)
        if not self._is_closed:
            self._is_closed = True
            self.transport.abort()
            self.group.on_closed(self)

    def end_tunnel(self) -> None:
        """The tunnel is over: what was written still goes out."""
        self.tunnel = None
        if not self._is_closed:
            self._is_closed = True
            if self.transport.get_write_buffer_size():
                self.deadline_at = self.group.clock() + self.group.timeouts.client_write_ns
                self.group.wheel.watch(self)
            self.transport.close()
            self.group.on_closed(self)

    def on_deadline(self, now: Instant) -> None:
        """The answer, or its next byte, did not come; or nobody took the end of a tunnel."""
        if self._is_closed:
            self.transport.abort()
            return
        if self.exchange is None:
            if self.tunnel is None:
                self.close()
            return
        exchange = self.exchange
        if self._paused_at:
            return
        if exchange.outlast(now, self):
            return
        if self.is_silent(exchange, now):
            self.group.on_dead(self)
        self._fail(Fault.UPSTREAM_TIMEOUT)

    # --- the answer -------------------------------------------------------------------------

    def _read_head(self, exchange: Exchange | AbandonedWork, data: bytes) -> None:
        if not self._seen:
            found = self._heads.recall(data, exchange.method)
            if found is not None and found[0].status >= 200:
                self._begin_body(exchange, found[0], found[1], data[self._heads.size :])
                return
        end = find_head_end(data, self._seen)
        while end >= 0:
            if end > RESPONSE_HEAD_SIZE_MAX:
                break
            self._seen = 0
            self._buffer = b""
            head, data = data[:end], data[end:]
            try:
                tokens, framing = self._heads.read(head, exchange.method)
            except HeadError:
                self._fail(Fault.UPSTREAM_BAD_RESPONSE)
                return
            if tokens.status >= 200:
                self._begin_body(exchange, tokens, framing, data)
                return
            if tokens.status == 101:
                self._switch(exchange, tokens, framing, data)
                return
            self._interims += 1
            if self._interims > INTERIM_ANSWERS_MAX:
                break
            exchange.on_interim(tokens, framing)
            if self.exchange is not exchange:
                return
            end = find_head_end(data, 0)
        else:
            if (
                len(data) <= RESPONSE_HEAD_SIZE_MAX
                and data.startswith(b"HTTP/1."[: len(data)])
                and not is_hopeless(data, self._seen)
            ):
                self._buffer = data
                self._seen = len(data)
                return
        self._fail(Fault.UPSTREAM_BAD_RESPONSE)

    def _begin_body(
        self,
        exchange: Exchange | AbandonedWork,
        tokens: ResponseTokens,
        framing: ResponseFraming,
        data: bytes,
    ) -> None:
        group = self.group
        entry = self.entry
        entry.answers += 1
        if self._sent_at:
            group.watch.on_head(entry, tokens, group.clock() - self._sent_at)
        if tokens.status >= 500 or entry.failures or entry.out_until is not None:
            group.on_answer(self, is_error=tokens.status >= 500)
        size = len(data)
        if size == framing.length if framing.body == _SIZED else framing.body == _NONE and not size:
            # All of it came at once, and nothing else: the usual case.
            self._detach(reusable=framing.keep_alive and self.is_request_sent)
            exchange.on_head(tokens, framing, data, complete=True)
            return
        body = BodyReader(framing.body, framing.length, Fault.UPSTREAM_BAD_RESPONSE)
        self._body = body
        permit = exchange.permit
        if framing.is_event_stream or (permit is not None and permit.is_resident):
            self._idle_ns = self.deadline_at = 0
        else:
            self._idle_ns = group.timeouts.upstream_idle_ns
            self.deadline_at = group.clock() + self._idle_ns
            group.wheel.watch(self)
        try:
            piece = body.feed(data) if data else b""
        except HeadError:
            self._fail(Fault.UPSTREAM_BAD_RESPONSE)
            return
        if not body.is_complete:
            exchange.on_head(tokens, framing, piece, complete=False)
            return
        exchange.trailers = body.trailers
        # The head is told first, because it may only be written whole with its body; the
        # connection is given back before the permit, so that a waiter finds it free.
        is_reusable = framing.keep_alive and self.is_request_sent and not body.leftover
        self._detach(reusable=is_reusable)
        exchange.on_head(tokens, framing, piece, complete=True)

    def _read_body(self, exchange: Exchange | AbandonedWork, body: BodyReader, data: bytes) -> None:
        now = self.group.clock()
        if self._idle_ns:
            self.deadline_at = now + self._idle_ns
        try:
            piece = body.feed(data)
        except HeadError:
            self._fail(Fault.UPSTREAM_BAD_RESPONSE)
            return
        if not body.is_complete:
            if piece:
                exchange.on_answer(piece, now)
            return
        exchange.trailers = body.trailers
        is_reusable = self.is_request_sent and not body.leftover and exchange.is_upstream_kept
        self._detach(reusable=is_reusable)
        exchange.on_answer_complete(piece)

    def _switch(
        self,
        exchange: Exchange | AbandonedWork,
        tokens: ResponseTokens,
        framing: ResponseFraming,
        data: bytes,
    ) -> None:
        if not exchange.may_switch(framing.upgrade):
            self._fail(Fault.UPSTREAM_BAD_RESPONSE)
            return
        self.exchange = None
        self.deadline_at = 0
        self.watch_silence(is_on=False)
        exchange.on_switch(tokens, framing, data)

    def _on_broken(self, exchange: Exchange | AbandonedWork, error: Exception) -> None:
        if self.exchange is not exchange:
            exchange.upstream = None  # given back already: not its to close any more
        exchange.on_broken(error)

    def _fail(self, fault: Fault) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._count_failure(fault)
        self.close()
        if exchange is not None:
            exchange.on_upstream_failed(fault, self)

    def _count_failure(self, fault: Fault) -> None:
        if self._is_half_closed:
            return  # it was told that nobody waits, and stopped
        group, has_answered = self.group, self.has_answered
        now = group.clock()
        if has_answered:
            # A quick half of an answer must not make it look idle.
            self.entry.spoil(now)
        elif fault is Fault.UPSTREAM_CLOSED and self.was_idle:
            return  # it closed an idle connection
        if self._sent_at:
            has_head = self._body is not None
            group.watch.on_failure(self.entry, fault, now, self._sent_at, has_head=has_head)

    def _detach(self, *, reusable: bool) -> None:
        """The exchange is over on this side: back to the pool, or closed."""
        exchange, self.exchange = self.exchange, None
        self._body = None
        self._unsent = []
        if self._paused_at:
            self.resume()
        if exchange is not None and self.stalled_ns:
            exchange.stalled_ns += self.stalled_ns
        # Bytes that the upstream has not taken would reach it with the next request, and nothing
        # tells whether it will read them as the rest of this one.
        is_reusable = reusable and self.is_open and not self._is_half_closed
        if is_reusable and not self.transport.get_write_buffer_size():
            self.watch_silence(is_on=True)
            self.group.give_back(self)
        else:
            self.close()
