"""A wire proxy on loopback with scripted upstreams, all in this process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from harness.leaks import sockets
from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import CellPolicy, LimitPolicy, Mode, Policy, milliseconds, seconds
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.server import WireServer
from shedproxy.snapshot import Document, ProxyDocument, Timeouts, UpstreamDocument
from shedproxy.testing import eventually_async

Handler = Callable[["Conversation"], Awaitable[None]]

QUICK = Timeouts(
    connect_ns=milliseconds(500),
    response_ns=seconds(5),
    client_head_ns=seconds(5),
    client_body_ns=seconds(5),
    client_idle_ns=seconds(5),
    client_write_ns=seconds(5),
)


def answering_after(go: asyncio.Event, answer: bytes) -> Handler:
    """The same answer to every bodiless request, from `go` on."""

    async def handle(talk: Conversation) -> None:
        while True:
            await talk.head()
            await go.wait()
            talk.send(answer)

    return handle


class Conversation:
    """One connection as a scripted upstream sees it."""

    def __init__(self, upstream: Upstream, reader, writer) -> None:
        self.upstream = upstream
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next request head; raises IncompleteReadError at the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.upstream.heads.append(head)
        return head

    async def exactly(self, size: int) -> bytes:
        return await self.reader.readexactly(size)

    async def until(self, mark: bytes) -> bytes:
        return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        return await self.reader.read()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drain(self) -> None:
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )
        self.writer.transport.abort()

    async def closed(self) -> bytes:
        """What comes until the proxy closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


class Upstream:
    """A server on an ephemeral port that does what its handler says."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self._tasks: set[asyncio.Task] = set()

    async def start(self, port: int = 0, **options) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, **options)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader, writer) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            await self.handler(Conversation(self, reader, writer))
        except (asyncio.IncompleteReadError, OSError, RuntimeError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def aclose(self) -> None:
        self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Client:
    """A raw client connection."""

    def __init__(self, reader, writer) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head: bool = False) -> Answer:
        """The next whole answer, framed by Content-Length, chunks or the end."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        answer = Answer(raw)
        if head or answer.status in {204, 304} or answer.status < 200:
            return answer
        if answer.field("transfer-encoding") == "chunked":
            while True:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                answer.body += (await self.reader.readexactly(size + 2))[:-2]
                if not size:
                    return answer
        length = answer.field("content-length")
        if length is None:
            answer.body = await asyncio.wait_for(self.reader.read(), 10)
        else:
            answer.body = await asyncio.wait_for(self.reader.readexactly(int(length)), 10)
        return answer

    async def ask(self, data: bytes) -> Answer:
        self.send(data)
        return await self.answer(head=data.startswith(b"HEAD"))

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""

    async def is_reset(self) -> bool:
        """Read to the end; True when the end was a reset."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), 10):
                pass
        except ConnectionError:
            return True
        return False

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


class Answer:
    def __init__(self, head: bytes) -> None:
        self.head = head
        self.body = b""
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = [tuple(line.split(": ", 1)) for line in lines[1:] if line]

    def field(self, name: str) -> str | None:
        for found, value in self.fields:
            if found.lower() == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"{self.head!r} {self.body[:200]!r}"


class Proxy:
    """A WireServer with its Driver."""

    def __init__(self, document: Document, clock: Clock = monotonic_now) -> None:
        self.document = document
        self.clock = clock
        self.clients: list[Client] = []

    async def start(self) -> Proxy:
        self.driver = Driver(self.document, clock=self.clock)
        self.driver.start()
        self.server = WireServer(self.driver, clock=self.clock)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        await self.server.start([self.socket])
        return self

    async def connect(self, **options) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.clients.append(client)
        return client

    async def adopt(self, sock: socket.socket, **options) -> Client:
        """A client on a socket that is connected already."""
        client = Client(*await asyncio.open_connection(sock=sock, **options))
        self.clients.append(client)
        return client

    @property
    def cell(self):
        return self.driver.shedder.stats().cells[0]

    async def idle(self) -> None:
        """Wait until nothing is in flight, waiting or resident any more."""
        await eventually_async(lambda: not self.kept, what="nothing in flight")

    async def aclose(self) -> None:
        """Let the clients leave, see that nothing is left of them, and stop."""
        for client in self.clients:
            client.writer.transport.abort()
            with suppress(OSError):
                await client.writer.wait_closed()
        try:
            await eventually_async(
                lambda: not (self.server.clients or self.kept), what="slots and connections back"
            )
        finally:
            self.server.close()
            self.driver.close()
            self.socket.close()
            await asyncio.sleep(0)

    @property
    def kept(self) -> int:
        """Slots, places and streams that somebody has now."""
        return sum(
            cell.in_flight + cell.queue_length + cell.residents + cell.control_in_flight
            for cell in self.driver.shedder.stats().cells
        )


class Bench:
    """Starts what a test asks for and ends it. Nothing may be left of it afterwards.

    Slots, places, connections and streams are counted while the proxy still runs, descriptors and
    tasks of this process once everything is closed.
    """

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._sockets = sockets(os.getpid())
        self._tasks = asyncio.all_tasks()

    async def upstream(self, handler: Handler, port: int = 0, **options) -> Upstream:
        upstream = await Upstream(handler).start(port, **options)
        self._stack.push_async_callback(upstream.aclose)
        return upstream

    async def proxy(
        self,
        *urls: str,
        timeouts: dict | None = None,
        proxy: dict | None = None,
        upstream: dict | None = None,
        limit: int = 100,
        cell: dict | None = None,
        policy: dict | None = None,
        document: dict | None = None,
        clock: Clock = monotonic_now,
    ) -> Proxy:
        made = Document(
            policy=Policy(
                **{
                    "mode": Mode.ENFORCE,
                    "cells": (
                        CellPolicy(
                            **{
                                "limit": LimitPolicy(algorithm="fixed", initial=limit),
                                **(cell or {}),
                            }
                        ),
                    ),
                    **(policy or {}),
                }
            ),
            proxy=ProxyDocument(
                **{
                    "upstreams": (UpstreamDocument(urls=urls, **(upstream or {})),),
                    "timeouts": replace(QUICK, **(timeouts or {})),
                    **(proxy or {}),
                }
            ),
            **(document or {}),
        )
        started = await Proxy(made, clock).start()
        self._stack.push_async_callback(started.aclose)
        return started

    async def aclose(self) -> None:
        await self._stack.aclose()
        await eventually_async(self._is_gone, what="sockets closed and tasks gone")

    def _is_gone(self) -> bool:
        tasks = {
            task
            for task in asyncio.all_tasks() - self._tasks
            if not task.get_coro().__qualname__.startswith("TestRunner.")  # anyio's, around us
        }
        left = sockets(os.getpid()) - self._sockets
        assert not tasks and not left, (left, [task.get_coro() for task in tasks])
        return True


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
async def bench(anyio_backend) -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.aclose()


@pytest.fixture
def answering() -> Callable[[bytes], Handler]:
    """A handler that gives the same answer to every bodiless request."""

    def make(answer: bytes) -> Handler:
        async def handle(talk: Conversation) -> None:
            while True:
                await talk.head()
                talk.send(answer)

        return handle

    return make
