"""A poison tenant before the real `shedproxy run`: small, with sockets, health and ejection.

The upstreams are servers of one process. A request for `/poison` crashes the one it reaches: its
connections are reset, and nobody listens for a second. The settings are the defaults with hands,
so that a request is sent twice at most. Who shares at most one upstream with the poison tenant must
lose nothing at all; whose hand is the poison tenant's, wholly, has nothing to be saved with.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loadtests.configured_proxy import ConfiguredProxy
from shedproxy.core import HandDealer
from shedproxy.snapshot import canonical_key, flow_hash, flow_key, member_hash

__all__ = ["LiveBlast", "as_json", "broken_live", "hands_of", "live_blast", "live_line"]

UPSTREAMS, TENANTS, HAND = 12, 200, 3
LENGTH_S = 12.0
_TENANT_RPS = 1.0
_POISON_RPS = 5.0
_CALM_S = 5.0
_RESTART_S = 1.0
_SERVICE_S = 0.02
_SECRET = "blast-radius"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"


class Crashing:
    """An upstream that a poison request takes down for a while, while it is entered."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._restart: asyncio.Task[None] | None = None
        self.port = 0
        self.crashes = 0

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._restart is not None:
            self._restart.cancel()
        self._fall()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _fall(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        for writer in self._writers:
            writer.transport.abort()

    def _crash(self) -> None:
        if self._server is not None:
            self.crashes += 1
            self._fall()
            self._restart = asyncio.create_task(self._come_back())

    async def _come_back(self) -> None:
        await asyncio.sleep(_RESTART_S)
        await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /poison"):
                    self._crash()
                    return
                await asyncio.sleep(_SERVICE_S)
                if writer.transport.is_closing():
                    return
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


@dataclass
class LiveBlast:
    """What innocents lost, by how many upstreams of their hand the poison tenant has, too."""

    tenants: list[int] = field(default_factory=lambda: [0] * (HAND + 1))
    requests: list[int] = field(default_factory=lambda: [0] * (HAND + 1))
    lost: list[int] = field(default_factory=lambda: [0] * (HAND + 1))
    lost_later: list[int] = field(default_factory=lambda: [0] * (HAND + 1))
    """After the first five seconds."""
    losing: set[int] = field(default_factory=set)
    """Tenants."""
    crashes: int = 0


def hands_of(urls: Sequence[str], tenants: int) -> list[set[int]]:
    """The places of each tenant's upstreams, as the proxy deals them."""
    dealer = HandDealer([(member_hash(url), "", "") for url in urls], hand_size=HAND)
    hashed = flow_hash(flow_key(_SECRET))
    names = (canonical_key("header", f"t{tenant}".encode()) for tenant in range(tenants))
    return [set(dealer.deal(hashed(name))) for name in names]


async def live_blast(seed: int) -> LiveBlast:
    """Tenant 0 is the poison. Takes `LENGTH_S` and a start."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Crashing()) for _ in range(UPSTREAMS)]
        urls = [f"http://127.0.0.1:{upstream.port}" for upstream in upstreams]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxy = ConfiguredProxy(folder, _settings(urls))
        await asyncio.to_thread(proxy.__enter__)
        stack.push_async_callback(asyncio.to_thread, proxy.__exit__)
        load = _Load(proxy.port, hands_of(urls, TENANTS), random.Random(seed))
        await load.run()
        load.found.crashes = sum(upstream.crashes for upstream in upstreams)
    return load.found


def _settings(urls: Sequence[str]) -> str:
    return (
        'version = 1\nserver.trusted_proxies = ["127.0.0.0/8"]\nheaders.tenant = "x-tenant"\n'
        f'cells.secret = "{_SECRET}"\ncell.default.upstream = {list(urls)}\n'
        f"cell.default.hands.size = {HAND}\n"
    )


class _Load:
    """Poisson requests of all tenants, open loop."""

    def __init__(self, port: int, hands: list[set[int]], rng: random.Random) -> None:
        self.found = LiveBlast()
        self._port = port
        self._rng = rng
        self._shared = [len(hand & hands[0]) for hand in hands]
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._began = 0.0
        for shared in self._shared[1:]:
            self.found.tenants[shared] += 1

    async def run(self) -> None:
        """Send everything at its time, and wait for the last answer."""
        self._began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(group, _POISON_RPS, is_poison=True))
            group.create_task(self._send(group, _TENANT_RPS * (TENANTS - 1), is_poison=False))
        for _, writer in self._idle:
            writer.close()

    async def _send(self, group: asyncio.TaskGroup, rate_rps: float, *, is_poison: bool) -> None:
        at = self._began
        while (at := at + self._rng.expovariate(rate_rps)) < self._began + LENGTH_S:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            tenant = 0 if is_poison else self._rng.randrange(1, TENANTS)
            group.create_task(self._ask(tenant, at - self._began))

    async def _ask(self, tenant: int, at_s: float) -> None:
        path = "/" if tenant else "/poison"
        status = b""
        with suppress(OSError, asyncio.IncompleteReadError):
            status = await self._exchange(f"GET {path} HTTP/1.1\r\nx-tenant: t{tenant}")
        if not tenant:
            return
        found, shared = self.found, self._shared[tenant]
        found.requests[shared] += 1
        if status != b"200":
            found.lost[shared] += 1
            found.lost_later[shared] += at_s > _CALM_S
            found.losing.add(tenant)

    async def _exchange(self, head: str) -> bytes:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{head}\r\nhost: test\r\n\r\n".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        if b"connection: close" in answer:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return answer[9:12]


def live_line(found: LiveBlast) -> str:
    """One line."""
    return (
        f"live, {UPSTREAMS} upstreams, {TENANTS - 1} innocent tenants, {found.crashes} crashes:"
        f" by upstreams shared with the poison, 0 to {HAND}: tenants {found.tenants}, requests"
        f" {found.requests}, lost {found.lost}, after 5 s {found.lost_later};"
        f" {len(found.losing)} tenants lose anything"
    )


def broken_live(found: LiveBlast) -> list[str]:
    """Promises that were not kept."""
    broken = []
    if sum(found.lost[:2]):
        broken.append(f"live: {sum(found.lost[:2])} requests lost that had another upstream")
    if found.crashes < LENGTH_S:
        broken.append(f"live: the poison crashed upstreams {found.crashes} times only")
    return broken


def as_json(found: LiveBlast) -> dict[str, Any]:
    """For `--json`."""
    return {
        "tenants": found.tenants,
        "requests": found.requests,
        "lost": found.lost,
        "lost_later": found.lost_later,
        "tenants_losing": len(found.losing),
        "crashes": found.crashes,
    }
