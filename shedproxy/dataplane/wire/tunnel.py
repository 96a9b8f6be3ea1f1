"""After a 101: bytes both ways, nothing else. Back-pressure in both directions, one idle bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shedproxy.core import Instant

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_side import ClientConnection
    from shedproxy.dataplane.wire.exchange import Exchange
    from shedproxy.dataplane.wire.upstream_side import UpstreamConnection

__all__ = ["Tunnel"]


class Tunnel:
    """Joins a client connection and an upstream connection until both have ended."""

    __slots__ = ("_active_at", "_client", "_ended", "_exchange", "_is_closed", "_upstream")

    def __init__(
        self, exchange: Exchange, client: ClientConnection, upstream: UpstreamConnection
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._is_closed = False
        self._ended: ClientConnection | UpstreamConnection | None = None
        """The side that has said all it had to say. Read again, it would seem to say so twice."""
        self._active_at: Instant = client.server.clock()

    def open(self, data: bytes) -> None:
        """Begin; `data` came from the upstream after its 101."""
        client = self._client
        client.tunnel = self
        self._upstream.tunnel = self
        client.server.tunnels += 1
        if data:
            self._exchange.body_size += len(data)
            client.write(data)
        ahead = client.take_ahead()
        client.resume_reading()
        if ahead:
            # It may be more than the upstream takes now, which pauses the client again.
            self._upstream.transport.write(ahead)
        if client.is_half_closed:
            self.on_client_eof()
        if client.is_write_blocked:
            self.pause_upstream()
        client.deadline_at = 0
        client.wake_at(self._active_at + client.server.live.timeouts.tunnel_idle_ns)

    # --- bytes ------------------------------------------------------------------------------

    def on_client_data(self, data: bytes) -> None:
        """From the client."""
        self._active_at = self._client.server.clock()
        self._upstream.transport.write(data)

    def on_upstream_data(self, data: bytes) -> None:
        """From the upstream."""
        self._active_at = self._client.server.clock()
        self._exchange.body_size += len(data)
        self._client.write(data)

    def pause_upstream(self) -> None:
        """The client does not keep up."""
        self._upstream.transport.pause_reading()

    def resume_upstream(self) -> None:
        """The client has caught up."""
        if not self._is_closed and self._ended is not self._upstream:
            self._upstream.transport.resume_reading()

    def pause_client(self) -> None:
        """The upstream does not keep up."""
        self._client.pause_reading()

    def resume_client(self) -> None:
        """The upstream has caught up."""
        if self._ended is not self._client:
            self._client.resume_reading()

    # --- the end ----------------------------------------------------------------------------

    def on_client_eof(self) -> bool:
        """The client has said all; the upstream may go on. False: close the client's side."""
        return self._on_eof(self._client, self._upstream.transport)

    def on_upstream_eof(self) -> bool:
        """The upstream has said all; the client may go on. False: close the upstream's side."""
        return self._on_eof(self._upstream, self._client.transport)

    def _on_eof(
        self, ended: ClientConnection | UpstreamConnection, other: asyncio.Transport
    ) -> bool:
        if self._ended is not None or not other.can_write_eof():
            # Both have said all, or the other side (TLS) cannot be told apart from its end.
            self._close()
            return False
        self._ended = ended
        other.write_eof()
        # A side that speaks TLS cannot be kept open, and asking for it is a line on stderr.
        return ended.transport.can_write_eof()

    def on_client_closed(self) -> None:
        """The client's connection is gone."""
        self._close()

    def on_upstream_closed(self) -> None:
        """The upstream's connection is gone: what it said last still goes out."""
        self._close()

    def on_deadline(self, now: Instant) -> None:
        """Close when nothing has passed for as long as is allowed."""
        idle_at = self._active_at + self._client.server.live.timeouts.tunnel_idle_ns
        if now < idle_at:
            self._client.wake_at(idle_at)
        else:
            self._client.cut()
            self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        client, upstream = self._client, self._upstream
        client.server.tunnels -= 1
        client.tunnel = None
        upstream.end_tunnel()
        self._exchange.on_tunnel_closed()
