"""TLS handshakes at a pace, so that a flood of them cannot starve the connections that are open.

A handshake costs the worker more than a request, all of it at once when the client's hello is in.
So a newcomer is looked at from outside first: TLS begins when its whole hello lies in the kernel,
one newcomer a turn of the loop, and not more per second than the setting allows. Who is trusted
goes first, others take turns by address. Beyond `WAITING_MAX` of them nothing is accepted, and the
rest waits in the kernel's backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from shedproxy.core import NS_PER_S, Instant
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.pace import Pace
from shedproxy.dataplane.wire.tcp_state import has_left
from shedproxy.dataplane.wire.timer_wheel import Timed
from shedproxy.observability.meter import Eviction

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.reception import Reception
    from shedproxy.dataplane.wire.server import WireServer

__all__ = ["WAITING_MAX", "Handshakes", "Newcomer"]

WAITING_MAX = 1024
"""Newcomers with whom no handshake has begun."""
ACCEPTS_PER_TURN = 16
SILENT_NS = NS_PER_S
"""Who has sent no hello for so long makes room for others when that many wait."""
PAUSE_S = 0.05
"""When nothing can be accepted: until the next look."""
_RECORD_HEAD_SIZE = 5
_RECORD_SIZE_MAX = _RECORD_HEAD_SIZE + 16 * 1024
_NO_TIMEOUT_S = 24 * 3600.0
"""The wheel keeps the time of a handshake, because it looks at the sockets first."""


class Newcomer(Timed):
    """A connection before its handshake is over."""

    __slots__ = (
        "_handshakes",
        "address",
        "has_begun",
        "is_gone",
        "since",
        "sock",
        "task",
    )

    def __init__(
        self, handshakes: Handshakes, sock: socket.socket, address: bytes, now: Instant
    ) -> None:
        super().__init__()
        self._handshakes = handshakes
        self.sock = sock
        self.address = address
        self.since = now
        self.task: asyncio.Task[object] | None = None
        """The handshake, once it is to begin."""
        self.has_begun = False
        """The socket is the loop's."""
        self.is_gone = False

    @property
    def waits_since(self) -> Instant:
        return self.since

    def has_spoken(self) -> bool:
        return False  # what it says is of a handshake, and handshakes have their own order

    def evict(self) -> Eviction:
        """Close it to make room; what it kept us waiting for."""
        self._handshakes.drop(self)
        return Eviction.HANDSHAKE

    def on_deadline(self, now: Instant) -> None:
        """Its hello has not come, or its turn, or the rest of its handshake."""
        self._handshakes.drop(self)

    def missing(self) -> int:
        """Bytes that its hello must have before TLS begins; 0: begin, TLS will see what it is."""
        try:
            begun = self.sock.recv(_RECORD_SIZE_MAX, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return _RECORD_HEAD_SIZE
        except OSError:
            return 0
        if not begun or begun[0] != 0x16:
            return 0
        if len(begun) < _RECORD_HEAD_SIZE:
            return _RECORD_HEAD_SIZE
        size = min(_RECORD_SIZE_MAX, _RECORD_HEAD_SIZE + int.from_bytes(begun[3:5], "big"))
        return 0 if len(begun) >= size else size


class Handshakes:
    """The TLS side of a worker's listeners.

    Args:
        server: whose clock, loop and wheel are used.
        reception: knows who is connected, and makes room.
        context: what is presented.
        listeners: bound sockets; they are made not to block.
    """

    def __init__(
        self,
        server: WireServer,
        reception: Reception,
        context: ssl.SSLContext,
        listeners: Sequence[socket.socket],
    ) -> None:
        self._server = server
        self._loop = server.loop
        self._reception = reception
        self._context = context
        self._listeners = tuple(listeners)
        self._silent: dict[Newcomer, None] = {}
        """Whose hello is not in, oldest first."""
        self._ready: dict[bytes, dict[Newcomer, None]] = {}
        """Whose hello is in, by address."""
        self._ready_count = 0
        self._shaking: dict[ClientConnection, Newcomer] = {}
        self._pace = Pace(server.live.proxy.handshake_rate_max)
        self._timer: asyncio.Handle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._is_open = False

    def set_rate(self, rate: int) -> None:
        """Handshakes begun per second from now on; 0: as they come."""
        self._pace.set_rate(rate)

    # --- accepting --------------------------------------------------------------------------

    def open(self) -> None:
        """Accept from now on."""
        self._is_open = True
        for listener in self._listeners:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._on_listener, listener)

    def stop(self) -> None:
        """Accept no more; who has been accepted goes on."""
        if self._is_open:
            self._is_open = False
            self._stop_listening()
        if self._pause is not None:
            self._pause.cancel()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)

    def _on_listener(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if not (self._has_place() and self._reception.can_make_room()):
                break
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # no descriptor left
                break
            self.take(sock)
        else:
            return
        # The kernel would tell of the same connection again and again.
        self._drop_who_left()
        self._stop_listening()
        self._pause = self._loop.call_later(PAUSE_S, self.open)

    def _has_place(self) -> bool:
        if len(self._silent) + self._ready_count < WAITING_MAX:
            return True
        oldest = next(iter(self._silent), None)
        return oldest is not None and self._server.clock() - oldest.since >= SILENT_NS

    def take(self, sock: socket.socket) -> None:
        """Somebody has come."""
        try:
            peer = sock.getpeername()
        except OSError:  # and has left again
            sock.close()
            return
        sock.setblocking(False)
        address = self._server.live.address_of(peer[0] if type(peer) is tuple else "")
        if self._reception.is_over_share(address):
            # To be told why it would have to shake hands first.
            self._reception.count_dropped()
            sock.close()
            return
        # Not before somebody is there to make it for: another worker may have been quicker.
        if len(self._silent) + self._ready_count >= WAITING_MAX and self._silent:
            self._reception.evict(next(iter(self._silent)))
        self._reception.make_room()
        newcomer = Newcomer(self, sock, address, self._server.clock())
        self._give_time(newcomer)
        self._reception.crowd.add(newcomer)
        self._silent[newcomer] = None
        self._look_at(newcomer, is_heard=False)

    def _give_time(self, newcomer: Newcomer) -> None:
        """As long as a head may take, for each phase: hello, turn, handshake."""
        newcomer.deadline_at = self._server.clock() + self._server.live.timeouts.client_head_ns
        self._server.wheel.watch(newcomer)

    # --- the hello --------------------------------------------------------------------------

    def _look_at(self, newcomer: Newcomer, *, is_heard: bool) -> None:
        missing = newcomer.missing()
        if missing and is_heard and has_left(newcomer.sock, or_half=True):
            self.drop(newcomer)  # the rest will not come, and the kernel would say so in every turn
        elif missing:
            with contextlib.suppress(OSError):
                newcomer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, missing)
            if not is_heard:
                self._loop.add_reader(
                    newcomer.sock, partial(self._look_at, newcomer, is_heard=True)
                )
        else:
            self._line_up(newcomer, is_heard=is_heard)

    def _line_up(self, newcomer: Newcomer, *, is_heard: bool) -> None:
        """Its hello is in: it waits for its turn."""
        del self._silent[newcomer]
        if is_heard:
            self._loop.remove_reader(newcomer.sock)
            newcomer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._give_time(newcomer)
        self._ready.setdefault(newcomer.address, {})[newcomer] = None
        self._ready_count += 1
        if self._timer is None:
            self._timer = self._loop.call_soon(self._serve)

    def _serve(self) -> None:
        """Begin one handshake, and come back in the next turn, or when the pace allows."""
        self._timer = None
        if not self._ready_count:
            return
        newcomer = self._next()
        if newcomer is None:
            return
        delay_ns = self._pace.take(self._server.clock())
        if delay_ns:
            self._timer = self._loop.call_later(delay_ns / NS_PER_S, self._serve)
            return
        self._take_out(newcomer)
        self._shake(newcomer)
        if self._ready_count:
            self._timer = self._loop.call_soon(self._serve)

    def _next(self) -> Newcomer | None:
        """Of who is trusted, or else of the address whose turn it is, the one that came first.

        Who has left is passed over, so that no time is lost with them.
        """
        while self._ready:
            address = b"" if b"" in self._ready else next(iter(self._ready))
            newcomer = next(iter(self._ready[address]))
            if not has_left(newcomer.sock, or_half=True):
                return newcomer
            self.drop(newcomer)
        return None

    def _take_out(self, newcomer: Newcomer) -> None:
        """Out of the line; its address comes after the others again."""
        line = self._ready.pop(newcomer.address)
        del line[newcomer]
        if line:
            self._ready[newcomer.address] = line
        self._ready_count -= 1

    def _drop_who_left(self) -> None:
        for line in tuple(self._ready.values()):
            for newcomer in tuple(line):
                if has_left(newcomer.sock, or_half=True):
                    self.drop(newcomer)

    # --- the handshake ----------------------------------------------------------------------

    def _shake(self, newcomer: Newcomer) -> None:
        self._give_time(newcomer)
        client = ClientConnection(self._server)
        self._shaking[client] = newcomer
        newcomer.task = self._loop.create_task(self._greet(newcomer, client))
        newcomer.task.add_done_callback(partial(self._on_shaken, client))

    async def _greet(self, newcomer: Newcomer, client: ClientConnection) -> None:
        newcomer.has_begun = True
        await self._loop.connect_accepted_socket(
            lambda: cast("asyncio.Protocol", client),
            newcomer.sock,
            ssl=self._context,
            ssl_handshake_timeout=_NO_TIMEOUT_S,
            ssl_shutdown_timeout=_NO_TIMEOUT_S,  # who ends it goes by what the client takes
        )

    def on_through(self, client: ClientConnection) -> None:
        """The handshake is over: from here on it is a client."""
        newcomer = self._shaking.pop(client, None)
        if newcomer is not None:
            self._server.wheel.forget(newcomer)
            self._reception.crowd.remove(newcomer)

    def _on_shaken(self, client: ClientConnection, task: asyncio.Task[object]) -> None:
        if not task.cancelled():
            task.exception()  # it left, or cannot speak TLS: nobody is there to be told
        newcomer = self._shaking.pop(client, None)
        if newcomer is not None:
            if not newcomer.has_begun:  # dropped before the task's first turn
                newcomer.sock.close()
            self._server.wheel.forget(newcomer)
            self._reception.forget(newcomer)

    # --- the end ----------------------------------------------------------------------------

    def drop(self, newcomer: Newcomer) -> None:
        """Close a newcomer, wherever it has got to."""
        if newcomer.is_gone:
            return
        newcomer.is_gone = True
        if newcomer.task is not None:
            newcomer.task.cancel()
            return
        self._server.wheel.forget(newcomer)
        if newcomer in self._silent:
            del self._silent[newcomer]
            self._loop.remove_reader(newcomer.sock)
        else:
            self._take_out(newcomer)
        newcomer.sock.close()
        self._reception.forget(newcomer)

    def hurry(self, patience_ns: int) -> None:
        """Draining: so long for who shakes hands, and since its coming for who is silent."""
        now = self._server.clock()
        for newcomer in self._all():
            began_at = newcomer.since if newcomer in self._silent else now
            newcomer.deadline_at = min(newcomer.deadline_at, began_at + patience_ns)
            self._server.wheel.watch(newcomer)

    def close(self) -> None:
        """Stop accepting and let go of everybody whose handshake is not over."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for newcomer in self._all():
            self.drop(newcomer)

    def _all(self) -> list[Newcomer]:
        lines = self._ready.values()
        return [*self._silent, *self._shaking.values(), *(one for line in lines for one in line)]
