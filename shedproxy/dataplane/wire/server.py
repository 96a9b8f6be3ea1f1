"""The raw HTTP/1.1 proxy of one process: listeners, connections, time, reload and drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.core import NS_PER_MS, NS_PER_S, Instant, Nanos, RejectReason, RequestInfo
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.backlog import take_waiting
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.live import Live
from shedproxy.dataplane.wire.stalls import Stalls
from shedproxy.dataplane.wire.timer_wheel import Timed, TimerWheel
from shedproxy.dataplane.wire.tls import server_context
from shedproxy.dataplane.wire.upstreams import UpstreamGroup
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.observability.access_log import AccessLog, AccessRecord, format_event
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Gauge, ProcessCounter, ProcessGauge
from shedproxy.observability.ring import RefusalRing
from shedproxy.snapshot import Document, ProxyDocument

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.client_end import ClientEnd

__all__ = ["CONNECTIONS_KEPT", "WireServer"]

REFUSED_CONNECTIONS_MAX = 256
"""Connections over the bound that are told so at the same time; more are closed without a word."""
CONNECTIONS_KEPT = 64
"""Connections that are served however short memory is."""
_BACKLOG = 4096
_READ_SIZE = 32 * 1024
"""Most bytes of an answer that one read takes, and so what a reader that stalls makes us hold.
Larger reads make large answers no cheaper."""
_SECOND_NS = NS_PER_S
_FIRST_WORD_NS = Nanos(500 * NS_PER_MS)
"""How long a drain waits for handshakes, and for the first request of a new connection."""
_AT_ONCE = Nanos(0)
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
        self.stalls = Stalls(driver.waiting)
        self.log = AccessLog(meter=driver.meter)
        self.requests = 0
        self.tunnels = 0
        self.is_announcing = False
        """Answers carry Connection: close."""
        self.is_draining = False
        self.is_tls = driver.document.proxy.tls is not None
        self.read_buffer = memoryview(bytearray(_READ_SIZE))
        """Where all upstream connections read into, one after the other."""
        self.clients: dict[ClientEnd, None] = {}
        self._refused: dict[ClientEnd, None] = {}
        self._room = connections_max
        self._groups: dict[str, UpstreamGroup] = {}
        self._events: list[str] = []
        self._listeners: list[asyncio.Server] = []
        self._sockets: tuple[socket.socket, ...] = ()
        self._context: ssl.SSLContext | None = None
        self._accepting: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._second_at = 0
        self._drained: asyncio.Future[int] | None = None
        self._is_short = False
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
            self._renew_certificate(proxy)
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

    def _renew_certificate(self, proxy: ProxyDocument) -> None:
        """Present what the files hold now, from the next handshake on.

        Raises:
            OSError: they cannot be used; the ones before stay.
        """
        if self._context is not None and proxy.tls is not None:
            server_context(proxy.tls)
            self._context.load_cert_chain(proxy.tls.cert, proxy.tls.key or None)

    def save_memory(self, *, is_short: bool) -> None:
        """Memory is short, or no more: nobody beyond those who are here, nothing held for them.

        A few are always let in, so that memory that does not come back ends no service.
        """
        was_short, self._is_short = self._is_short, is_short
        if is_short:
            present = max(len(self.clients), CONNECTIONS_KEPT)
            self._connections_max = min(self._connections_max, present)
        elif was_short:
            self._connections_max = self._bound()

    @property
    def held_max(self) -> int:
        """Bytes of an answer that may wait for a client, so that the upstream is done with it."""
        return 0 if self._is_short else self.live.proxy.buffer_size

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
        self._context = None if tls is None else server_context(tls)
        self._sockets = tuple(sockets)
        for sock in sockets:
            self._listeners.append(
                await self.loop.create_server(
                    self._make_client,
                    sock=sock,
                    ssl=self._context,
                    backlog=_BACKLOG,
                    ssl_handshake_timeout=self._handshake_timeout(),
                )
            )
        self._on_tick()

    def _make_client(self) -> ClientConnection:
        return ClientConnection(self)

    def _handshake_timeout(self) -> float | None:
        if self._context is None:
            return None
        return max(0.1, self.live.timeouts.client_head_ns / NS_PER_S)

    def announce(self) -> None:
        """Ask clients to go elsewhere; they are still served."""
        self.is_announcing = True

    async def drain(self, grace_ns: Nanos) -> int:
        """Accept nothing new, let what is under way end, cut off what has not after `grace_ns`.

        Returns:
            How many connections had to be cut off.
        """
        self.is_announcing = True
        # Who is new may have a request on the way, or be shaking hands.
        patience_ns = min(grace_ns, _FIRST_WORD_NS)
        await self._take_backlog(patience_ns)
        # Who was answered a moment ago may be asking again already: the next answer says good-bye.
        self._say_goodbye(
            tuple(client for client in self.clients if client.written), idle_for_ns=patience_ns
        )
        if self._context is None:
            await self._until_drained(patience_ns)
        else:
            await asyncio.sleep(patience_ns / NS_PER_S)
        self.is_draining = True
        self._say_goodbye(tuple(self.clients))
        await self._until_drained(Nanos(grace_ns - patience_ns))
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

    @staticmethod
    def _say_goodbye(clients: Sequence[ClientEnd], *, idle_for_ns: Nanos = _AT_ONCE) -> None:
        for client in clients:
            assert isinstance(client, ClientConnection)
            client.say_goodbye(idle_for_ns=idle_for_ns)

    async def _take_backlog(self, patience_ns: Nanos) -> None:
        """Close the listeners, but first take who waits there: closing would reset them."""
        factory, tls, timeout = self._make_client, self._context, self._handshake_timeout()
        waiting = take_waiting(self._sockets)
        for listener in self._listeners:
            listener.close()
        for sock in waiting:
            accepting = self.loop.connect_accepted_socket(
                factory, sock, ssl=tls, ssl_handshake_timeout=timeout
            )
            task = self.loop.create_task(accepting)
            self._accepting.add(task)
            task.add_done_callback(self._on_accepted)
        if self._accepting:
            await asyncio.wait(self._accepting, timeout=patience_ns / NS_PER_S)

    def _on_accepted(self, task: asyncio.Task[object]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # it left, or cannot speak TLS: nobody is there to be told

    async def _until_drained(self, length: Nanos) -> None:
        if self.clients:
            self._drained = self.loop.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained, length / NS_PER_S)

    def close(self) -> None:
        """Stop: listeners, clients, upstream connections, the timer."""
        for listener in self._listeners:
            listener.close()
        for task in self._accepting:
            task.cancel()
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
        events, self._events = self._events, []
        return [*events, *self.log.flush()]

    def report(self, event: str, **facts: object) -> None:
        """Say, in the log, what an operator should know. The caller sees to it that it is rare."""
        self._events.append(format_event(wall_seconds(), "warning", event, facts))

    # --- time -------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        try:
            self.turn()
        finally:
            self._timer = self.loop.call_later(self.wheel.tick_ns / NS_PER_S, self._on_tick)

    def turn(self) -> None:
        """Let time pass: tell everybody whose deadline has passed."""
        now = self.clock()
        for item in self.wheel.advance(now):
            # One that was due may have moved, or taken away, the deadline of another.
            if 0 < item.deadline_at <= now:
                self._tell(item, now)
            elif item.deadline_at:
                self.wheel.watch(item)
        self.stalls.turn(now, rate_min=self.live.timeouts.body_rate_min)
        if now >= self._second_at:
            self._second_at = now + _SECOND_NS
            self._on_second()

    def _tell(self, item: Timed, now: Instant) -> None:
        try:
            item.on_deadline(now)
        except Exception as error:  # noqa: BLE001 - the others must still be told
            self.loop.call_exception_handler(
                {"message": f"{item!r} failed on its deadline", "exception": error}
            )

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
