"""The raw HTTP/1.1 proxy of one process: listeners, connections, time, reload and drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import NS_PER_S, Nanos, RejectReason, RequestInfo
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.live import Live
from shedproxy.dataplane.wire.timer_wheel import TimerWheel
from shedproxy.dataplane.wire.tls import server_context
from shedproxy.dataplane.wire.upstreams import UpstreamGroup
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.observability.access_log import AccessLog, AccessRecord
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Gauge, ProcessCounter, ProcessGauge
from shedproxy.observability.ring import RefusalRing
from shedproxy.snapshot import Document

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_end import ClientEnd

__all__ = ["WireServer"]

REFUSED_CONNECTIONS_MAX = 256
"""Connections over the bound that are told so at the same time; more are closed without a word."""
_BACKLOG = 4096
_SECOND_NS = NS_PER_S
_NOBODY = RequestInfo(route="connection")


class WireServer:
    """Serves one document at a time on given sockets, on the running loop.

    Args:
        driver: decides; its document is served first.
        connections_max: what the process can hold (file descriptors); the document's bound counts
            when it is lower.

    Raises:
        DocumentInvalidError: the document cannot be served.
    """

    def __init__(
        self, driver: Driver, *, clock: Clock = monotonic_now, connections_max: int = 0
    ) -> None:
        self.driver = driver
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.wheel = TimerWheel(now=clock())
        self.log = AccessLog(meter=driver.meter)
        self.requests = 0
        self.tunnels = 0
        self.is_announcing = False
        """Answers carry Connection: close."""
        self.is_draining = False
        self.is_tls = driver.document.proxy.tls is not None
        self.clients: dict[ClientEnd, None] = {}
        self._refused: dict[ClientEnd, None] = {}
        self._room = connections_max
        self._groups: dict[str, UpstreamGroup] = {}
        self._listeners: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second_at = 0
        self._drained: asyncio.Future[int] | None = None
        self.live = self._compile(driver.document)
        self._connections_max = self._bound()

    # --- documents --------------------------------------------------------------------------

    def apply(self, document: Document) -> None:
        """Serve another document from the next request on; nothing under way is disturbed.

        Raises:
            DocumentInvalidError: it cannot be served; nothing has changed.
        """
        self.live = self._compile(document)
        self._connections_max = self._bound()
        self.driver.apply(document)

    def _compile(self, document: Document) -> Live:
        proxy = document.proxy
        groups: dict[str, UpstreamGroup] = {}
        if not proxy.upstreams:
            raise DocumentInvalidError([Problem(message="no upstream is configured")])
        try:
            # What can fail comes first, so that a bad document changes nothing.
            fresh = {
                upstream.cell: UpstreamGroup(self, upstream, proxy) for upstream in proxy.upstreams
            }
            for upstream in proxy.upstreams:
                groups[upstream.cell] = self._groups.get(upstream.cell, fresh[upstream.cell])
            live = Live(self, document, groups)
        except (ValueError, OSError) as error:
            raise DocumentInvalidError([Problem(message=str(error))]) from error
        for upstream in proxy.upstreams:
            groups[upstream.cell].apply(upstream, proxy)
        for cell, group in self._groups.items():
            if cell not in groups:
                group.retire()
        self._groups = groups
        self.log.configure(proxy.access_log, proxy.access_log_share)
        return live

    def _bound(self) -> int:
        wanted = self.live.proxy.connections_max
        return min(wanted, self._room) if self._room else wanted

    # --- life -------------------------------------------------------------------------------

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on sockets that are bound already.

        Raises:
            OSError: a TLS file cannot be read, or a socket is no listener.
        """
        tls = self.live.proxy.tls
        context = None if tls is None else server_context(tls)
        for sock in sockets:
            self._listeners.append(
                await self.loop.create_server(
                    lambda: ClientConnection(self),
                    sock=sock,
                    ssl=context,
                    backlog=_BACKLOG,
                    ssl_handshake_timeout=(
                        None
                        if context is None
                        else max(0.1, self.live.timeouts.client_head_ns / NS_PER_S)
                    ),
                )
            )
        self._on_tick()

    def announce(self) -> None:
        """Ask clients to go elsewhere; they are still served."""
        self.is_announcing = True

    async def drain(self, grace_ns: Nanos) -> int:
        """Accept nothing new, let what is under way end, cut off what has not after `grace_ns`.

        Returns:
            How many connections had to be cut off.
        """
        self.is_announcing = True
        self.is_draining = True
        for listener in self._listeners:
            listener.close()
        for client in tuple(self.clients):
            assert isinstance(client, ClientConnection)
            client.say_goodbye()
        if self.clients:
            self._drained = self.loop.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained, grace_ns / NS_PER_S)
        left = tuple(self.clients)
        for client in left:
            assert isinstance(client, ClientConnection)
            if client.exchange is not None:
                client.exchange.fail(Fault.UPSTREAM_TIMEOUT)
        if left:
            # One turn of the loop, so that the last answers leave.
            await asyncio.sleep(0)
        for client in left:
            client.cut()
        return len(left)

    def close(self) -> None:
        """Stop: listeners, clients, upstream connections, the timer."""
        for listener in self._listeners:
            listener.close()
        for client in (*self.clients, *self._refused):
            client.cut()
        for group in self._groups.values():
            group.retire()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- connections ------------------------------------------------------------------------

    def on_connected(self, client: ClientConnection) -> bool:
        """A client has come; False when there is no room and it has been told so."""
        self.driver.meter.count(ProcessCounter.CONNECTIONS_ACCEPTED)
        if len(self.clients) < self._connections_max and not self.is_draining:
            self.clients[client] = None
            return True
        if len(self._refused) >= REFUSED_CONNECTIONS_MAX:
            client.cut()
            return False
        self._refused[client] = None
        numbers = (len(self.clients), self._connections_max)
        reason = RejectReason.DRAINING if self.is_draining else RejectReason.CONNECTION_LIMIT
        rejected = self.driver.reject(_NOBODY, reason, () if self.is_draining else numbers)
        refusal_id = RefusalRing.format_id(self.driver.refusal_id(rejected))
        client.write(self.live.rejections.wire(rejected, refusal_id, head=False, keep_alive=False))
        client.linger()
        return False

    def on_disconnected(self, client: ClientEnd) -> None:
        """A client's connection is closed."""
        if self.clients.pop(client, self) is not None:
            self._refused.pop(client, None)
        if self._drained is not None and not self.clients and not self._drained.done():
            self._drained.set_result(0)

    def on_bad_head(self, client: ClientConnection, fault: Fault) -> None:
        """Something came that is no request of ours."""
        self.driver.meter.on_fault(-1, fault)
        now = self.clock()
        if self.log.wants_refused(now):
            self.log.append(
                AccessRecord(
                    wall_seconds(), client.peer, "", b"", fault.status, "", "", "", 0, 0, 0,
                    fault.label,
                )
            )  # fmt: skip

    @property
    def upstream_connections(self) -> int:
        """Open or being opened, of all cells."""
        return sum(group.connections for group in self._groups.values())

    def upstream_health(self) -> dict[str, dict[str, bool]]:
        """By cell and URL: in service or not."""
        return {cell: group.health_by_url() for cell, group in self._groups.items()}

    def log_lines(self) -> list[str]:
        """Lines for the access log since the last call."""
        return self.log.flush()

    # --- time -------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        self.turn()
        self._timer = self.loop.call_later(self.wheel.tick_ns / NS_PER_S, self._on_tick)

    def turn(self) -> None:
        """Let time pass: tell everybody whose deadline has passed."""
        now = self.clock()
        for item in self.wheel.advance(now):
            item.on_deadline(now)
        if now >= self._second_at:
            self._second_at = now + _SECOND_NS
            self._on_second()

    def _on_second(self) -> None:
        meter = self.driver.meter
        for cell, group in self._groups.items():
            group.tick()
            healthy, total = group.health()
            index = self.driver.cell_index(cell)
            meter.set_gauge(index, Gauge.UPSTREAMS_HEALTHY, healthy)
            meter.set_gauge(index, Gauge.UPSTREAMS, total)
        meter.set_process(ProcessGauge.CONNECTIONS, len(self.clients))
        meter.set_process(ProcessGauge.TUNNELS, self.tunnels)
        meter.set_process(ProcessGauge.UPSTREAM_CONNECTIONS, self.upstream_connections)
