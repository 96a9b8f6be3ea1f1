"""Where clients arrive: listeners, bounds in all and per address, and making room for newcomers.

At the bound a newcomer takes the place of somebody who only keeps the worker waiting (`crowd` says
who); while everybody is busy it is refused. Refused connections are told so, a bounded number of
them at a time; more are closed without a word.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from shedproxy.core import NS_PER_S, Nanos, RejectReason, RequestInfo
from shedproxy.dataplane.wire.backlog import take_waiting
from shedproxy.dataplane.wire.client_place import ClientPlace
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.crowd import Crowd
from shedproxy.dataplane.wire.handshakes import Handshakes, Newcomer
from shedproxy.observability.meter import ProcessCounter

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.server import WireServer

__all__ = ["CONNECTIONS_KEPT", "REFUSED_CONNECTIONS_MAX", "Reception"]

CONNECTIONS_KEPT = 64
"""Connections that are served however short memory is, so that memory that does not come back ends
no service."""

REFUSED_CONNECTIONS_MAX = 256
"""Connections over a bound that are told so at the same time, or a quarter of the room."""
_BACKLOG = 4096
_MANY = 1 << 60
_NOBODY = RequestInfo(route="connection")


class Reception:
    """The client connections of a worker.

    Args:
        server: who serves them.
        room: connections that the process has descriptors for; 0: no known bound.
    """

    def __init__(self, server: WireServer, *, room: int) -> None:
        self._server = server
        self._loop = server.loop
        self._meter = server.driver.meter
        self._room = room
        self._refused_max = REFUSED_CONNECTIONS_MAX
        if room:
            self._refused_max = min(REFUSED_CONNECTIONS_MAX, max(1, room // 4))
        self._short_max: int | None = None
        """The bound while memory is short."""
        self.clients: dict[ClientConnection, None] = {}
        """Those that are served."""
        self.crowd: Crowd[ClientConnection | Newcomer] = Crowd()
        """The same, and who is shaking hands."""
        self._refused: dict[ClientConnection, None] = {}
        self._listeners: list[asyncio.Server] = []
        self._sockets: tuple[socket.socket, ...] = ()
        self._handshakes: Handshakes | None = None
        self._accepting: set[asyncio.Task[object]] = set()
        self._emptied: asyncio.Future[None] | None = None

    @property
    def connections_max(self) -> int:
        """The bound in force."""
        return min(self.places(self._server.live.proxy.connections_max), self._short_max or _MANY)

    def places(self, connections_max: int) -> int:
        """Connections that there is room for, however much memory there is just now."""
        return min(connections_max, self._room or _MANY)

    def save_memory(self, *, is_short: bool) -> None:
        """Memory is short, or no more: those who keep us waiting go, an eighth at each call.

        A few always stay, so that memory that does not come back ends no service.
        """
        if not is_short:
            self._short_max = None
            return
        present = min(len(self.crowd), self._short_max or len(self.crowd))
        self._short_max = short_max = max(CONNECTIONS_KEPT, present * 7 // 8)
        while len(self.crowd) > short_max:
            victim = self.crowd.longest_waiting()
            if victim is None:
                return
            self.evict(victim)

    # --- listeners --------------------------------------------------------------------------

    async def open(self, sockets: Sequence[socket.socket], context: ssl.SSLContext | None) -> None:
        """Accept on bound sockets.

        Raises:
            OSError: one of them is no listener.
        """
        self._sockets = tuple(sockets)
        if context is not None:
            for sock in sockets:
                sock.listen(_BACKLOG)
            self._handshakes = Handshakes(self._server, self, context, sockets)
            self._handshakes.open()
            return
        for sock in sockets:
            self._listeners.append(
                await self._loop.create_server(self._make_client, sock=sock, backlog=_BACKLOG)
            )

    def on_applied(self) -> None:
        """Another document is served."""
        if self._handshakes is not None:
            self._handshakes.set_rate(self._server.live.proxy.handshake_rate_max)

    def _make_client(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", ClientConnection(self._server))

    async def close_listeners(self, patience_ns: Nanos) -> None:
        """Accept no more, but first take who waits there: closing would reset them."""
        waiting = take_waiting(self._sockets)
        for listener in self._listeners:
            listener.close()
        handshakes = self._handshakes
        if handshakes is not None:
            handshakes.stop()
            for sock in waiting:
                handshakes.take(sock)
            for sock in self._sockets:
                sock.close()
            return
        for sock in waiting:
            task = self._loop.create_task(
                self._loop.connect_accepted_socket(self._make_client, sock)
            )
            self._accepting.add(task)
            task.add_done_callback(self._on_accepted)
        if self._accepting:
            await asyncio.wait(self._accepting, timeout=patience_ns / NS_PER_S)

    def _on_accepted(self, task: asyncio.Task[object]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # it left: nobody is there to be told

    # --- coming -----------------------------------------------------------------------------

    def admit(self, client: ClientConnection) -> bool:
        """A client has come; False when there is no place for it and it has been told so."""
        self._meter.count(ProcessCounter.CONNECTIONS_ACCEPTED)
        if self._handshakes is not None:
            self._handshakes.on_through(client)
        live = self._server.live
        client.address = live.address_of(client.peer)
        if self._server.is_draining:
            self._refuse(client, RejectReason.DRAINING, ())
        elif self.is_over_share(client.address):
            count = self.crowd.count(client.address)
            most = live.proxy.connections_per_address_max
            self._refuse(client, RejectReason.ADDRESS_LIMIT, (count, most))
        elif not self.make_room():
            numbers = (len(self.crowd), self.connections_max)
            self._refuse(client, RejectReason.CONNECTION_LIMIT, numbers)
        else:
            self.clients[client] = None
            self.crowd.add(client)
            return True
        return False

    def is_over_share(self, address: bytes) -> bool:
        """Whether an address has all the connections that one may have."""
        most = self._server.live.proxy.connections_per_address_max
        return bool(most and address) and self.crowd.count(address) >= most

    def can_make_room(self) -> bool:
        """Whether `make_room` would find room."""
        return len(self.crowd) < self.connections_max or self.crowd.longest_waiting() is not None

    def make_room(self) -> bool:
        """See that there is room for one more: at the bound somebody may have to go for it."""
        if len(self.crowd) < self.connections_max:
            return True
        victim = self.crowd.longest_waiting()
        if victim is None:
            return False
        self.evict(victim)
        return True

    def evict(self, member: ClientConnection | Newcomer) -> None:
        """End it to make room. It has none from now on, although its end may take a moment."""
        self._meter.count(ProcessCounter.of_eviction(member.evict()))
        self.forget(member)

    def count_dropped(self) -> None:
        """A connection over a bound was closed without a word."""
        self._meter.count(ProcessCounter.CONNECTIONS_DROPPED)

    def _refuse(
        self, client: ClientConnection, reason: RejectReason, numbers: tuple[int, ...]
    ) -> None:
        if len(self._refused) >= self._refused_max:
            self.count_dropped()
            client.cut()
            return
        self._refused[client] = None
        self.tell(client, reason, numbers)
        client.linger()

    def tell(
        self,
        client: ClientPlace,
        reason: RejectReason,
        numbers: tuple[int, ...],
        *,
        head: bool = False,
    ) -> None:
        """Refuse what is no request, or not yet one, and say why."""
        driver = self._server.driver
        rejected = driver.reject(_NOBODY, reason, numbers)
        refusal_id = driver.ring.text_of(rejected.record_id)
        rejections = self._server.live.rejections
        client.write(rejections.wire(rejected, refusal_id, head=head, keep_alive=False))

    # --- going ------------------------------------------------------------------------------

    def on_disconnected(self, client: ClientConnection) -> None:
        """A client's connection is closed."""
        self._refused.pop(client, None)
        self.forget(client)

    def forget(self, member: ClientConnection | Newcomer) -> None:
        """It takes no place any more."""
        self.crowd.remove(member)
        if type(member) is ClientConnection:
            self.clients.pop(member, None)
        is_empty = not (self.crowd or self._refused)
        if self._emptied is not None and is_empty and not self._emptied.done():
            self._emptied.set_result(None)

    def hurry_handshakes(self, patience_ns: Nanos) -> None:
        """Draining: so long for who shakes hands, and since its coming for who is silent."""
        if self._handshakes is not None:
            self._handshakes.hurry(patience_ns)

    async def until_empty(self, length_ns: Nanos) -> None:
        """Wait until nobody is connected, at most so long.

        Nor anybody who is taking a refusal: to end before would reset it.
        """
        if self.crowd or self._refused:
            self._emptied = self._loop.create_future()
            await asyncio.wait((self._emptied,), timeout=length_ns / NS_PER_S)

    def close(self) -> None:
        """Stop: listeners, and everybody who is connected."""
        for listener in self._listeners:
            listener.close()
        if self._handshakes is not None:
            self._handshakes.close()
        for task in self._accepting:
            task.cancel()
        for client in (*self.clients, *self._refused):
            client.cut()
