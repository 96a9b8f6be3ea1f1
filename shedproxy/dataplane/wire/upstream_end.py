"""The near end of an upstream connection: whose it is, its flow control, its signs of life.

`UpstreamConnection` adds the conversation.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any, cast

from shedproxy.core import Instant
from shedproxy.dataplane.wire.pool import Slot, Upstream
from shedproxy.dataplane.wire.target import Target, bound_silence
from shedproxy.dataplane.wire.timer_wheel import Timed

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.abandoned import AbandonedWork
    from shedproxy.dataplane.wire.exchange import Exchange
    from shedproxy.dataplane.wire.tunnel import Tunnel
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["UpstreamEnd"]


class UpstreamEnd(Timed):
    """Whose turn it is: `exchange`, or None while idle.

    An `asyncio.BufferedProtocol` by shape, as `ClientEnd` is a `Protocol`.
    """

    __slots__ = (
        "_answers_before",
        "_idle_ns",
        "_is_closed",
        "_is_half_closed",
        "_is_last_held",
        "_is_silence_watched",
        "_outgoing",
        "_paused_at",
        "_poll",
        "_sent_at",
        "_unsent",
        "authority",
        "entry",
        "exchange",
        "generation",
        "group",
        "has_answered",
        "has_vanished",
        "is_established",
        "is_request_sent",
        "is_write_blocked",
        "slot",
        "stalled_ns",
        "transport",
        "tunnel",
        "was_idle",
    )

    def __init__(self, group: UpstreamGroup, entry: Upstream[Any], target: Target) -> None:
        super().__init__()
        self.group = group
        self.entry = entry
        """The pool's record of the upstream."""
        self.authority = target.authority
        """The upstream's own name, for a request without a Host."""
        self.generation = target.generation
        """Of the addresses it was opened to one of."""
        self.slot: Slot[Any] | None = None
        """What must be given back to the pool; None while idle."""
        self.is_established = False
        self.exchange: Exchange | AbandonedWork | None = None
        self.tunnel: Tunnel | None = None
        self.transport: asyncio.Transport
        self.was_idle = False
        """It lay idle before: the upstream may have closed it as the request was sent."""
        self.has_answered = False
        """A byte of the present exchange's answer has come."""
        self.has_vanished = False
        """Its host acknowledged nothing, which was counted as a failure."""
        self._answers_before = 0
        """What the upstream had answered when the present request was sent."""
        self.is_request_sent = False
        self.stalled_ns = 0
        """Time the present exchange's client made the upstream wait for a reader."""
        self._sent_at = Instant(0)
        """When the present request was, if its host is watched; 0: it is not, or has answered."""
        self._paused_at = 0
        self._idle_ns = 0
        """Most time between two reads of the present answer; 0: a stream may be silent."""
        self.is_write_blocked = False
        self._poll: select.poll | None = None
        """Asks the kernel about this connection; made when somebody first wants to know."""
        self._is_closed = self._is_half_closed = False
        self._unsent: list[bytes] = []
        """Of the present request's body: held back until what has come is read."""
        self._is_last_held = False
        """Nothing of the body comes after that."""
        self._outgoing = 0
        """Bytes of the present request."""
        self._is_silence_watched = True
        """The kernel gives up soon on a host that acknowledges nothing, or does not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are transports by shape, not by class.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.group.buffer_size)

    @property
    def is_open(self) -> bool:
        """Whether a request may be written to it."""
        return not (self._is_closed or self.transport.is_closing())

    def is_readable(self) -> bool:
        """Whether something came (most likely its end) that the loop has not read yet."""
        poll = self._poll
        if poll is None:
            self._poll = poll = select.poll()
            poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def may_be_silent(self) -> bool:
        """Whether the answer that has begun is a stream, with no bound between two reads."""
        return not self._idle_ns

    def watch_silence(self, *, is_on: bool) -> None:
        """Have the kernel give up soon, or let the host read as late as our deadlines allow."""
        if self._is_silence_watched is not is_on:
            self._is_silence_watched = is_on
            bound_silence(self.transport, is_bound=is_on)

    def is_silent(self, exchange: Exchange | AbandonedWork, now: Instant) -> bool:
        """Whether the upstream had its whole time and answered nobody meanwhile.

        The shorter times that clients give prove nothing, nor does a client that sends slowly.
        """
        if self.has_answered or self.entry.answers != self._answers_before:
            return False
        if not (self.is_request_sent or self.is_write_blocked):
            return False
        permit = exchange.permit
        return permit is not None and (permit.expires_at is None or now < permit.expires_at)

    @property
    def can_be_watched(self) -> bool:
        """Whether the end of the present work can be seen after its client has left."""
        return self.is_request_sent and (
            self.group.is_never_cancelled or self.transport.can_write_eof()
        )

    def end_sending(self) -> None:
        """Tell the upstream that nobody waits, and listen on for the end of its work."""
        self._is_half_closed = True
        self.transport.write_eof()

    def hold_back(self, data: bytes) -> None:
        """Send this part of a body after the next look at the sockets.

        The upstream may have answered early, and closed. A write to it would fail then, and the
        loop would close the connection with the answer unread in it.
        """
        self._is_last_held, self.is_request_sent = self.is_request_sent, False
        self._unsent.append(data)
        exchange = self.exchange
        if len(self._unsent) == 1 and exchange is not None:
            call_soon = self.group.loop.call_soon
            # What is called soon may come before that look; what is called from there comes after.
            call_soon(call_soon, self._send_held, exchange)
            exchange.on_upload_blocked()

    def _send_held(self, exchange: Exchange | AbandonedWork) -> None:
        if self.exchange is not exchange or not self._unsent:
            return
        data, self._unsent = b"".join(self._unsent), []
        self.is_request_sent = self._is_last_held
        self.transport.write(data)
        if not self.is_write_blocked:
            exchange.on_upload_ready()

    @property
    def is_paused(self) -> bool:
        """Whether nothing more of the answer is read, so that whoever writes it stands still."""
        return self._paused_at != 0

    def pause(self) -> None:
        """Stop reading: the client does not keep up."""
        if not self._paused_at and not self._is_closed:
            self._paused_at = self.group.clock()
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused_at and not self._is_closed:
            now = self.group.clock()
            self.stalled_ns += now - self._paused_at
            self._paused_at = 0
            if self._idle_ns:
                self.deadline_at = now + self._idle_ns
                self.group.wheel.watch(self)
            self.transport.resume_reading()
