"""The wire proxy without sockets and with a clock that stands still."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shedproxy.core import CellPolicy, LimitPolicy, Policy
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.client_side import ClientConnection
from shedproxy.dataplane.wire.server import WireServer
from shedproxy.dataplane.wire.target import Target
from shedproxy.snapshot import Document, ProxyDocument, Timeouts, UpstreamDocument
from shedproxy.testing import ManualClock

_QUIET = os.pipe()
"""A descriptor on which nothing ever comes."""


class StillSocket:
    family = 0

    def __init__(self) -> None:
        self.options: list[tuple] = []

    def fileno(self) -> int:
        return _QUIET[0]

    def setsockopt(self, *option) -> None:
        self.options.append(option)


class StillTransport:
    """Remembers what was done to it; `buffered` is what its peer has not taken.

    With `is_stuck` the peer takes nothing more, and the protocol is told when that is too much.
    """

    def __init__(self, peer: str = "192.0.2.7") -> None:
        self.protocol = None
        self.sent = bytearray()
        self.buffered = 0
        self.is_stuck = False
        self.is_blocked = False
        self.is_paused = False
        self.is_closed = False
        self.is_aborted = False
        self.has_eof = False
        self.high = 0
        self.socket = StillSocket()
        self.peer = peer

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.sent += data
        if self.is_stuck:
            self.buffered += len(data)
            if self.buffered > self.high and not self.is_blocked:
                self.is_blocked = True
                self.protocol.pause_writing()

    def unstick(self) -> None:
        """The peer takes everything."""
        self.is_stuck = False
        self.buffered = 0
        if self.is_blocked:
            self.is_blocked = False
            self.protocol.resume_writing()

    def take(self) -> bytes:
        """What was sent since the last call."""
        sent, self.sent = bytes(self.sent), bytearray()
        return sent

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def close(self) -> None:
        self._end()

    def abort(self) -> None:
        self.is_aborted = True
        self._end()

    def _end(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def lose(self, error: Exception | None = None) -> None:
        """The peer is gone."""
        self.is_closed = True
        self.protocol.connection_lost(error)

    def get_extra_info(self, name: str):
        return {"peername": (self.peer, 1), "socket": self.socket}.get(name)


class Still:
    """A server, its clients and its upstream connections, all driven by hand."""

    def __init__(self, document: Document) -> None:
        self.clock = ManualClock()
        self.driver = Driver(document, clock=self.clock)
        self.server = WireServer(self.driver, clock=self.clock)
        self.upstreams: list[StillTransport] = []
        """Connections opened towards upstreams, oldest first."""
        self.dials = 0
        self.failure: Exception | None = None
        """Raised instead of opening the next connections."""

    @property
    def cell(self):
        return self.driver.shedder.stats().cells[0]

    @property
    def group(self):
        return self.server.live.group_of("default")

    def client(self, peer: str = "192.0.2.7") -> StillTransport:
        transport = StillTransport(peer)
        transport.protocol = ClientConnection(self.server)
        transport.protocol.connection_made(transport)
        return transport

    async def ask(self, client: StillTransport, data: bytes) -> StillTransport:
        """Send a request and return the upstream connection that it went out on."""
        client.protocol.data_received(data)
        await self.settle()
        return next(up for up in reversed(self.upstreams) if up.protocol.exchange is not None)

    async def settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    async def advance(self, length_ns: int) -> None:
        """Let time pass in steps that a real loop would make."""
        step = self.server.wheel.tick_ns
        while length_ns > 0:
            self.clock.advance(min(step, length_ns))
            length_ns -= step
            self.server.turn()
        await self.settle()

    async def connect(self, factory) -> tuple:
        self.dials += 1
        if self.failure is not None:
            raise self.failure
        transport = StillTransport()
        transport.protocol = factory()
        transport.protocol.connection_made(transport)
        self.upstreams.append(transport)
        return transport, transport.protocol


@pytest.fixture
def still(monkeypatch) -> Iterator:
    """Makes a `Still`; keyword arguments change its ProxyDocument, Timeouts or UpstreamDocument."""
    made: list[Still] = []

    def make(
        *,
        limit: int = 10,
        timeouts: dict | None = None,
        upstream: dict | None = None,
        document: dict | None = None,
        **proxy,
    ) -> Still:
        described = Document(
            policy=Policy(cells=(CellPolicy(limit=LimitPolicy(algorithm="fixed", initial=limit)),)),
            proxy=ProxyDocument(
                upstreams=(
                    UpstreamDocument(**{"urls": ("http://10.0.0.1:80",), **(upstream or {})}),
                ),
                timeouts=replace(Timeouts(), **(timeouts or {})),
                **proxy,
            ),
            **(document or {}),
        )
        found = Still(described)
        made.append(found)
        return found

    async def connect(target, factory, *, now):
        return await made[-1].connect(factory)

    monkeypatch.setattr(Target, "connect", connect)
    return make
