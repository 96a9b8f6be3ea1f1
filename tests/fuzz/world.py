"""The whole proxy without sockets: real protocols over transports of ours, on a loop of ours.

Time stands still unless it is told to pass. Transports keep the rules of uvloop's (what raises
after the end, what is ignored while closing, when a protocol is paused), because bugs live there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from bisect import bisect_left
from collections import deque
from functools import lru_cache, partial

from shedproxy.core import NS_PER_S
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.rejection import Rejections
from shedproxy.dataplane.wire import live as live_module
from shedproxy.dataplane.wire import server as server_module
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.server import WireServer
from shedproxy.dataplane.wire.target import Target
from shedproxy.dataplane.wire.timer_wheel import TimerWheel
from shedproxy.snapshot import Document
from shedproxy.testing import ManualClock

__all__ = ["SpinningError", "Transport", "World"]

TURNS_MAX = 400
"""Turns of the loop after one event; more is a loop that never comes to rest."""
READ_SIZE = 1500
"""Most bytes that one read takes from the network."""
KIND_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_TCP_ESTABLISHED, _TCP_CLOSE, _TCP_CLOSE_WAIT = 1, 7, 8

_QUIET = os.pipe()
_LOUD = os.pipe()
os.write(_LOUD[1], b"x")
_ENDED = os.pipe()
os.close(_ENDED[1])
_rejections = lru_cache(maxsize=16)(Rejections)
"""Canned answers depend on the document alone, and take longer to make than a conversation."""


class SpinningError(AssertionError):
    """The loop does not come to rest."""


class _NoSelector:
    def select(self, timeout: float | None) -> list:
        return []


class Loop(asyncio.BaseEventLoop):
    """asyncio's own loop without a selector; its clock is the world's."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self._selector = _NoSelector()
        self.failures: list[dict] = []

    def time(self) -> float:
        return self._clock() / NS_PER_S

    def _process_events(self, event_list: list) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def call_exception_handler(self, context: dict) -> None:
        self.failures.append(context)

    def rest(self) -> None:
        """Run until nothing is left to do now."""
        for _ in range(TURNS_MAX):
            self._run_once()
            if not self._ready:
                return
        raise SpinningError("the loop does not come to rest")

    @property
    def pending(self) -> list:
        """Timers that have not been cancelled."""
        return [handle for handle in self._scheduled if not handle.cancelled()]


class FakeSocket:
    family = socket.AF_INET

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def fileno(self) -> int:
        transport = self._transport
        if transport.inbox:
            return _LOUD[0]
        has_ended = transport.peer_has_ended or transport.peer_has_reset
        return _ENDED[0] if has_ended else _QUIET[0]

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if option == socket.SO_LINGER:
            self._transport.resets = True

    def getsockopt(self, level: int, option: int, size: int = 0) -> bytes:
        transport = self._transport
        if transport.peer_has_reset:
            return bytes([_TCP_CLOSE])
        return bytes([_TCP_CLOSE_WAIT if transport.peer_has_ended else _TCP_ESTABLISHED])


class Transport:
    """One connection: the proxy's end is the asyncio transport, the rest is its peer."""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.protocol: asyncio.Protocol
        self.sent = bytearray()
        """What the proxy has written, in order, whether or not the peer has taken it."""
        self.heard = bytearray()
        """What the peer has said and the proxy has read."""
        self.heard_before = 0
        """How much of it had been read when the proxy wrote last."""
        self.spoke_first = False
        """Whether the proxy wrote before it had read a byte: it refuses the connection."""
        self.pieces: list[tuple[int, int]] = []
        """At what number of the world `sent` had grown to what length."""
        self.heard_pieces: list[tuple[int, int]] = []
        """The same of `heard`: when what came was read."""
        self.pending = 0
        """How much of it the peer has not taken."""
        self.inbox: deque[bytes] = deque()
        self.has_made = self.has_lost = False
        self.is_reading = True
        self.is_closing = self.was_aborted = self.resets = False
        self.has_eof = False
        self.is_stuck = self.is_paused = False
        self.peer_has_ended = self.peer_has_reset = self.end_was_heard = False
        self.high = 65536

    def __repr__(self) -> str:
        return self.name

    # --- the proxy's end --------------------------------------------------------------------

    def get_extra_info(self, name: str) -> object:
        return {"peername": (self.address, 1), "socket": FakeSocket(self)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.pending

    def is_closing_now(self) -> bool:
        return self.is_closing

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self._must_be_open()
        if self.has_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._is_lost:
            return
        if self.peer_has_reset:
            self._lose(BrokenPipeError())
            return
        self.sent += data
        self.heard_before = len(self.heard)
        self.spoke_first = self.spoke_first or not self.heard
        self.pieces.append((self.world.next_number(), len(self.sent)))
        if self.is_stuck:
            self.pending += len(data)
            if self.pending > self.high and not self.is_paused:
                self.is_paused = True
                self._call(self.protocol.pause_writing)

    def write_eof(self) -> None:
        self._must_be_open()
        self.has_eof = True

    def pause_reading(self) -> None:
        if not self.is_closing:
            self.is_reading = False

    def resume_reading(self) -> None:
        if self.is_reading or self.is_closing:
            return
        self._must_be_open()
        self.is_reading = True
        self.world.loop.call_soon(self.pump)

    def close(self) -> None:
        if self.is_closing:
            return
        self.is_closing, self.is_reading = True, False
        if not self.pending:
            self._schedule_loss(None)

    def abort(self) -> None:
        self.was_aborted = self.was_aborted or not self._is_lost
        self._lose(None)

    # --- inside -----------------------------------------------------------------------------

    _is_lost = False

    def _must_be_open(self) -> None:
        if self.has_lost:
            raise RuntimeError(f"unable to perform operation on {self}; the handler is closed")

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self.is_closing, self.is_reading = True, False
        self._schedule_loss(error)

    def _schedule_loss(self, error: Exception | None) -> None:
        self._is_lost = True
        self.world.loop.call_soon(self._tell_loss, error)

    def _tell_loss(self, error: Exception | None) -> None:
        self.pending = 0
        try:
            self.protocol.connection_lost(error)
        finally:
            self.has_lost = True

    def _call(self, callback, *arguments) -> object:
        """As the loop does: what a callback raises goes to the exception handler."""
        try:
            return callback(*arguments)
        except Exception as error:
            self.world.loop.call_exception_handler({"message": "callback", "exception": error})
            self._lose(error)
            return None

    # --- the peer ---------------------------------------------------------------------------

    def sent_at(self, length: int) -> int:
        """The number of the world at which the peer had been given so many bytes."""
        return _number_at(self.pieces, length)

    def heard_at(self, length: int) -> int:
        """The number at which the proxy had read so many; one after all others if it never has."""
        return _number_at(self.heard_pieces, length)

    @property
    def is_here(self) -> bool:
        """Whether the peer can still say something."""
        return not (self.has_lost or self._is_lost or self.peer_has_ended or self.peer_has_reset)

    def say(self, data: bytes) -> None:
        """The peer sends; it is read as soon as the proxy reads."""
        if not self.is_here:
            return
        self.inbox.extend(data[at : at + READ_SIZE] for at in range(0, len(data), READ_SIZE))
        self.pump()

    def end(self) -> None:
        """The peer closes its sending side."""
        if self.is_here:
            self.peer_has_ended = True
            self.pump()

    def reset(self) -> None:
        """The peer is gone; what it has said and nobody read is gone too."""
        if self.has_lost or self.peer_has_reset:
            return
        self.peer_has_reset = True
        self.inbox.clear()
        self.pump()

    def stick(self) -> None:
        """The peer takes nothing more."""
        self.is_stuck = True

    def unstick(self) -> None:
        """It takes everything again."""
        self.is_stuck = False
        if self.has_lost or self.peer_has_reset:
            return
        self.pending = 0
        if self.is_paused:
            self.is_paused = False
            self._call(self.protocol.resume_writing)
        if self.is_closing and not self._is_lost:
            self._schedule_loss(None)

    def pump(self) -> None:
        """Let the proxy read what is there."""
        if not self.has_made:
            return
        while self.inbox and self.is_reading:
            data = self.inbox.popleft()
            self.heard += data
            self.heard_pieces.append((self.world.next_number(), len(self.heard)))
            self._call(self.protocol.data_received, data)
        if not self.is_reading or self.inbox:
            return
        if self.peer_has_reset:
            self._lose(ConnectionResetError())
        elif self.peer_has_ended:
            self.is_reading = False
            self.end_was_heard = True
            if not self._call(self.protocol.eof_received):
                self.close()


def _number_at(pieces: list[tuple[int, int]], length: int) -> int:
    index = bisect_left(pieces, length, key=lambda piece: piece[1])
    return pieces[index][0] if index < len(pieces) else sys.maxsize


# `is_closing` is a method of transports and a flag of ours: the protocol sees the method.
class ProxyEnd:
    """What a protocol is given: the transport as asyncio documents it, and nothing of the peer."""

    __slots__ = (
        "abort", "can_write_eof", "close", "get_extra_info", "get_write_buffer_size",
        "is_closing", "pause_reading", "resume_reading", "set_write_buffer_limits",
        "write", "write_eof",
    )  # fmt: skip

    def __init__(self, transport: Transport) -> None:
        for name in self.__slots__:
            source = "is_closing_now" if name == "is_closing" else name
            setattr(self, name, getattr(transport, source))


class CheckedDriver(Driver):
    """The real one; a permit that is given back twice is an error."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.returned: dict[int, object] = {}

    def _take(self, permit) -> None:
        assert id(permit) not in self.returned, "a permit is given back twice"
        self.returned[id(permit)] = permit

    def release(self, permit, outcome, *, stalled_ns=0) -> None:
        self._take(permit)
        super().release(permit, outcome, stalled_ns=stalled_ns)

    def leave_zombie(self, permit, *arguments) -> None:
        self._take(permit)
        super().leave_zombie(permit, *arguments)


class World:
    """A server, its clients and its upstreams. Use as a context: it is the running loop inside."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.clock = ManualClock()
        self.clients: list[Transport] = []
        self.upstreams: list[Transport] = []
        self.dial = "ok"
        """What becomes of the next connects: ok, refused, silent, late."""
        self.is_kind = False
        """Whether new upstream connections get a good answer at once, to whatever is asked."""
        self._times: list[int] = []

    def __enter__(self) -> World:
        self.loop = Loop(self.clock)
        self._outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        world = self

        async def connect(target, factory, *, now):
            return await world._connect(target, factory)

        self._connect_before, Target.connect = Target.connect, connect
        self._rejections_before = live_module.Rejections
        live_module.Rejections = _rejections
        server_module.TimerWheel = partial(TimerWheel, slots=128)
        try:
            self.driver = CheckedDriver(self._document, clock=self.clock)
            self.server = WireServer(self.driver, clock=self.clock)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        Target.connect = self._connect_before
        live_module.Rejections = self._rejections_before
        server_module.TimerWheel = TimerWheel
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        for _ in range(5):
            self.loop._run_once()
        asyncio._set_running_loop(self._outer)
        self.loop.close()

    def next_number(self) -> int:
        """Numbers give everything that happens an order."""
        self._times.append(self.clock())
        return len(self._times)

    def clock_at(self, number: int) -> int:
        """What the clock said when that number was given."""
        return self._times[number - 1]

    # --- connections ------------------------------------------------------------------------

    def client(self) -> Transport:
        """A connection from an address of its own."""
        number = len(self.clients)
        transport = Transport(self, f"c{number}", f"192.0.2.{number + 1}")
        self.clients.append(transport)
        transport.protocol = ClientConnection(self.server)
        self._make(transport)
        return transport

    def _make(self, transport: Transport) -> None:
        transport.has_made = True
        transport._call(transport.protocol.connection_made, ProxyEnd(transport))

    async def _connect(self, target: Target, factory) -> tuple:
        if self.dial == "late":
            await asyncio.sleep(0.2)
        elif self.dial == "refused":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        elif self.dial == "silent":
            await self.loop.create_future()
        transport = Transport(self, f"u{len(self.upstreams)}", target.host)
        self.upstreams.append(transport)
        transport.protocol = factory()
        self._make(transport)
        if self.is_kind:
            self.loop.call_soon(transport.say, KIND_ANSWER)
        return transport, transport.protocol

    # --- time -------------------------------------------------------------------------------

    def rest(self) -> None:
        self.loop.rest()

    def advance(self, length_ns: int, step_ns: int = NS_PER_S) -> None:
        """Let time pass in steps; everything due is told."""
        while length_ns > 0:
            self.clock.advance(min(step_ns, length_ns))
            length_ns -= step_ns
            self.server.turn()
            self.driver.tick()
            self.rest()
