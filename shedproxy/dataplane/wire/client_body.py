"""The request body that a client still has to send: its time, its rate, and holding it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.core import Instant
from shedproxy.dataplane.wire.body import BodyReader
from shedproxy.dataplane.wire.client_end import PROBE_NS, ClientEnd
from shedproxy.dataplane.wire.rate import RateWatch
from shedproxy.observability.fault import Fault

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.exchange import Exchange
    from shedproxy.dataplane.wire.server import WireServer

__all__ = ["ClientBody"]


class ClientBody(ClientEnd):
    """A client's present request, as far as the client is the one to be waited for."""

    __slots__ = ("_body", "_body_at", "_rate", "exchange")

    def __init__(self, server: WireServer) -> None:
        super().__init__(server)
        self.exchange: Exchange | None = None
        self._body: BodyReader | None = None
        """The request body still to come, wanted (`exchange` is set) or thrown away."""
        self._body_at = 0
        self._rate: RateWatch | None = None

    @property
    def is_busy(self) -> bool:
        """A request is under way, or the rest of a refused one is being thrown away."""
        return self.exchange is not None or self._body is not None

    @property
    def is_body_awaited(self) -> bool:
        """Whether it is the client's turn to send more of its body."""
        exchange = self.exchange
        is_unasked = exchange is not None and exchange.is_unasked
        return self._body is not None and not (self.is_reading_paused or is_unasked)

    @property
    def is_too_far_ahead(self) -> bool:
        """Whether more was sent ahead than is read."""
        raise NotImplementedError

    def watch_rate(self, received: int, now: Instant) -> None:
        """From now on the body must keep the minimum rate."""
        self._rate = RateWatch(received, now)
        self.wake_at(self._rate.ends_at)

    def restart_body(self, now: Instant) -> None:
        """The client was told to begin: its time begins."""
        self._body_at = now
        self.wake_at(now + self.server.live.timeouts.client_body_ns)

    def hold_body(self) -> None:
        """The upstream, or the queue, does not take more of the body now."""
        if self._rate is not None:
            self._rate.was_paused = True
        self.go_deaf()

    def take_body(self) -> None:
        """More of the body may come."""
        if self.is_reading_paused and self._body is not None:
            now = self.server.clock()
            self._body_at = now
            self.wake_at(now + self.server.live.timeouts.client_body_ns)
            if self._rate is not None:
                self.wake_at(self._rate.ends_at)
        self.resume_reading()

    def check_body(self, exchange: Exchange, now: Instant) -> None:
        """A deadline has passed: is the client slow, or gone?"""
        expecting = exchange.expecting
        if expecting is not None and expecting.continue_at and not exchange.status:
            if now < expecting.continue_at:
                self.wake_at(expecting.continue_at)
            elif exchange.upstream is not None and self._body is not None:
                exchange.ask_for_body(expecting)
        if self.is_body_awaited:
            timeouts = self.server.live.timeouts
            idle_at = self._body_at + timeouts.client_body_ns
            if now >= idle_at:
                exchange.fail(Fault.BODY_TIMEOUT)
                return
            self.wake_at(idle_at)
            rate = self._rate
            if rate is not None:
                if rate.is_too_slow(exchange.received, now, rate_min=timeouts.body_rate_min):
                    exchange.fail(Fault.SLOW_CLIENT)
                    return
                self.wake_at(rate.ends_at)
        if self.is_half_closed or self.is_reading_paused:
            is_endless = exchange.is_streaming
            is_deaf = is_endless and self._body is None and self.is_reading_paused
            # What was sent ahead of a stream is never served, and hides that the client leaves.
            if (is_deaf and self.is_too_far_ahead) or self.is_gone(or_half=is_endless):
                self.cut(reset=True)
                return
            if is_deaf:
                self.resume_reading()  # that was for a moment, which the stream has begun in
            self.wake_at(now + PROBE_NS)
