"""Open streams cost the requests beside them nothing."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path
from statistics import median

import pytest
from harness.process import Service
from harness.proxy import Shedproxy

from shedproxy.core import Criticality, milliseconds, seconds
from shedproxy.loadgen.player import Player
from shedproxy.testing import eventually_async
from shedproxy.workload import constant_arrivals, summarise

pytestmark = pytest.mark.integration

STREAMS = SOCKETS = 250
AT_ONCE = 4
"""Opened at once: a rush of all of them would itself move the limit, which is another matter."""
SERVICE_MS = 100
RATE_RPS = 60
"""Six in flight: inside the limit, so that the service time is what is measured."""
BATCH = seconds(1.5)
ROUNDS = 3
ROUNDS_MAX = 10

SSE = b"GET /sse HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n"
WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Residents:
    """Idle streams and WebSockets, all of them answered, while it is entered."""

    def __init__(self, proxy: Shedproxy) -> None:
        self._proxy = proxy
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> None:
        requests = [SSE] * STREAMS + [WEBSOCKET] * SOCKETS
        for first in range(0, len(requests), AT_ONCE):
            some = requests[first : first + AT_ONCE]
            await asyncio.gather(*(self._open(request) for request in some))
        await eventually_async(
            lambda: self._proxy.cell()["residents"] == len(requests), what="all residents"
        )

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await eventually_async(lambda: self._proxy.cell()["residents"] == 0, what="nobody")

    async def _open(self, request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._proxy.port)
        self._writers.append(writer)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        wanted = b"HTTP/1.1 101 " if request is WEBSOCKET else b"HTTP/1.1 200 "
        assert head.startswith(wanted), head


async def batch(proxy: Shedproxy) -> tuple[float, int]:
    """p99 in ms of unary requests, and the limit after them.

    It is infinite when not all were served: what was due while a process stood still comes at once.
    """
    player = Player(f"{proxy.url}/wait?ms={SERVICE_MS}", deadline_ns=seconds(5))
    arrivals = constant_arrivals(rate_rps=RATE_RPS, duration_ns=BATCH)
    await player.play((offset, Criticality.CRITICAL) for offset in arrivals)
    result = summarise(player.rows, duration_ns=BATCH, deadline_ns=seconds(5))
    assert result.p99_ns is not None
    p99_ms = result.p99_ns / milliseconds(1) if result.served == result.offered else inf
    return p99_ms, proxy.cell()["limit"]


@pytest.mark.anyio
async def test_500_idle_streams_change_neither_latency_nor_limit(tmp_path: Path) -> None:
    """Batches with and without residents in turn: p99 and limit within 10 %.

    Residents are there in every batch of theirs; what else the machine does comes and goes, and can
    only delay. So p99 is judged by the best of these batches, against the median of the others,
    and there are more rounds where that was too much of a scatter to tell.
    """
    alone: list[tuple[float, int]] = []
    beside: list[tuple[float, int]] = []
    with Service(home=tmp_path) as service, Shedproxy(service.url, home=tmp_path) as proxy:
        await batch(proxy)
        while len(beside) < ROUNDS or (len(beside) < ROUNDS_MAX and not is_alike(alone, beside)):
            alone.append(await batch(proxy))
            async with Residents(proxy):
                beside.append(await batch(proxy))
                assert proxy.cell()["residents"] == STREAMS + SOCKETS
    assert is_alike(alone, beside), (alone, beside)


def is_alike(alone: list[tuple[float, int]], beside: list[tuple[float, int]]) -> bool:
    limits = [[limit for _, limit in batches] for batches in (alone, beside)]
    calm = [p99 for p99, _ in alone if p99 < inf]
    return (
        bool(calm)
        and min(p99 for p99, _ in beside) <= 1.1 * median(calm)
        and min(limits[1]) <= 1.1 * max(limits[0])
        and max(limits[1]) >= 0.9 * min(limits[0])
    )
