"""Attacks on a load shedder, each against the real proxy on sockets.

| attack | what is tried | test |
| --- | --- | --- |
| A1 | priority claimed by header | test_claims.py |
| A2 | priority or tenant by trailer | test_claims.py |
| A3 | tenant key explosion | test_tables.py |
| A4 | one tenant in many spellings | test_claims.py |
| A5 | `Connection: x-tenant` | test_claims.py |
| A6 | Host or absolute form to dodge a path rule | test_paths.py |
| A7 | escaped, doubled, dotted paths to dodge a class | test_paths.py |
| A8 | underscore twins | test_claims.py |
| A9 | poisoning the baseline with quick answers | test_games.py |
| A10 | inflating latency to shrink the limit of others | test_games.py |
| A11 | slots held by slow bodies and readers | integration/hostile/test_slow_clients.py |
| A12 | slots leaked by resets at every phase | test_aborts.py |
| A13 | health starved by overload | test_refusals.py |
| A14 | the health path as a free lane | test_paths.py |
| A15 | control pages on the data port | test_paths.py |
| A16 | upstream chosen by the client | test_dials.py |
| A17 | metric series by odd requests | test_tables.py |
| A18 | log injection and log flood | test_logs.py |
| A19 | all refused clients back at once | test_refusals.py |
| A20 | amplification by the proxy's own retries | unit/dataplane/wire/test_retrying.py |
| A21 | bodies of refused requests read as requests | test_bodies.py |
| A22 | 100 Continue for what is refused | test_bodies.py |
| A23 | pipelining to queue inside one connection | integration/wire/test_wire_basics.py |
| A24 | requests dearer to refuse than to send | integration/hostile/test_costs.py |
| A25 | flooding the hash tables of headers and tenants | test_tables.py |
| A26 | deadlines of nonsense | test_claims.py |
| A27 | X-Forwarded-For where the tenant is the address | test_claims.py |
| A28 | answers of an upstream: Retry-After, our own fields | unit/dataplane/wire/test_headers.py |

Tests bear their attack as a marker, `attack("A1")`. Clients on 127.0.0.1 are strangers; those on
127.0.0.9 are a trusted proxy.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from shedproxy.core import CellPolicy, LimitPolicy, Policy, milliseconds, seconds
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.server import WireServer
from shedproxy.snapshot import (
    Classification,
    Document,
    ProxyDocument,
    Timeouts,
    UpstreamDocument,
)

STRANGER, FRIEND = "127.0.0.1", "127.0.0.9"


@dataclass
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes
    raw: bytes = b""

    @property
    def seen(self) -> Seen:
        """What the upstream got, which it answers with."""
        return Seen(self.body)


class Seen:
    """A request as it reached the upstream."""

    def __init__(self, head: bytes) -> None:
        start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.target = start.split(" ")[1]
        self.fields = [tuple(line.split(": ", 1)) for line in lines]

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name]

    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.fields}


class Mirror:
    """An upstream whose answer is the head it got. `/wait/S` answers after S seconds,
    `/status/CODE/TEXT` with that status line."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def start(self, host: str = "127.0.0.1") -> Mirror:
        self._server = await asyncio.start_server(self._serve, host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task] = set()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader, writer) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if length:
            self.bodies.append(await reader.readexactly(int(length)))
        elif b"\r\ntransfer-encoding: chunked" in head.lower():
            self.bodies.append(await reader.readuntil(b"0\r\n\r\n"))
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/wait/"):
            await asyncio.sleep(float(path[6:]))
        status = b"200 OK"
        if path.startswith(b"/status/"):
            status = path.removeprefix(b"/status/").replace(b"/", b" ")
        body = b"" if head.startswith(b"HEAD ") else head
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(head), body))
        await writer.drain()

    async def aclose(self) -> None:
        self._server.close()
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Decided:
    """What the core was asked about one request."""

    criticality: str
    route: str
    flow_hash: int
    time_left_ns: int | None
    is_control: bool


class Client:
    """One raw connection."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, raw: bytes) -> Answer:
        self.writer.write(raw)
        return await self.answer(is_head=raw.startswith(b"HEAD "))

    async def answer(self, *, is_head: bool = False) -> Answer:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        length = int(fields.get("content-length", 0))
        body = b"" if is_head else await asyncio.wait_for(self.reader.readexactly(length), 10)
        return Answer(int(start.split()[1]), fields, body, head + body)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass
class Front:
    """The wire proxy of one document, on its own port of loopback."""

    document: Document
    decided: list[Decided] = field(default_factory=list)

    async def start(self) -> Front:
        self.driver = Driver(self.document)
        self.driver.start()
        decide = self.driver.decide

        def noting(request, now, flow_hash=0, cohort=0, time_left_ns=None):
            self.decided.append(
                Decided(
                    request.criticality.label,
                    request.route,
                    flow_hash,
                    time_left_ns,
                    request.lane.name == "CONTROL",
                )
            )
            return decide(request, now, flow_hash, cohort, time_left_ns)

        self.driver.decide = noting
        self.server = WireServer(self.driver)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._clients: list[Client] = []
        await self.server.start([self.socket])
        return self

    async def connect(self, source: str = STRANGER) -> Client:
        streams = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        client = Client(*streams)
        self._clients.append(client)
        return client

    async def ask(self, raw: bytes, source: str = STRANGER) -> Answer:
        """One request on a connection of its own."""
        client = await self.connect(source)
        answer = await client.ask(raw)
        client.writer.close()
        return answer

    async def get(self, *lines: str | bytes, source: str = STRANGER, path: str = "/a") -> Answer:
        """A GET with these header lines."""
        encoded = [line.encode() if isinstance(line, str) else line for line in lines]
        start = f"GET {path} HTTP/1.1".encode()
        return await self.ask(b"\r\n".join([start, b"Host: h", *encoded, b"", b""]), source)

    @property
    def last(self) -> Decided:
        return self.decided[-1]

    @property
    def cell(self):
        return self.driver.shedder.stats().cells[0]

    async def aclose(self) -> None:
        self.server.close()
        for client in self._clients:
            client.writer.transport.abort()
        self.driver.close()
        self.socket.close()
        await asyncio.sleep(0)


class Ring:
    """Starts what a test asks for and ends it."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def mirror(self, host: str = "127.0.0.1") -> Mirror:
        mirror = await Mirror().start(host)
        self._stack.push_async_callback(mirror.aclose)
        return mirror

    async def front(
        self,
        url: str,
        *,
        limit: int = 100,
        classification: dict | None = None,
        cell: dict | None = None,
        upstream: dict | None = None,
        proxy: dict | None = None,
    ) -> Front:
        fixed = LimitPolicy(algorithm="fixed", initial=limit)
        known = {"trusted_peers": (FRIEND,), "tenant_header": "x-tenant"}
        document = Document(
            policy=Policy(cells=(CellPolicy(**{"limit": fixed, **(cell or {})}),)),
            classification=Classification(**{**known, **(classification or {})}),
            proxy=ProxyDocument(
                upstreams=(UpstreamDocument(urls=(url,), **(upstream or {})),),
                timeouts=Timeouts(connect_ns=milliseconds(500), response_ns=seconds(5)),
                **(proxy or {}),
            ),
        )
        front = await Front(document).start()
        self._stack.push_async_callback(front.aclose)
        return front

    async def aclose(self) -> None:
        await self._stack.aclose()
        await asyncio.sleep(0.01)


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
async def ring(anyio_backend) -> AsyncIterator[Ring]:
    ring = Ring()
    yield ring
    await ring.aclose()
