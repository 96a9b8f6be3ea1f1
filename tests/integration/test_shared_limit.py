"""Several workers before one service: they count against one limit, whoever has the connections."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from harness.beside import entered
from harness.proxy import Shedproxy

from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LIMIT = 4
SERVICE_S = 0.02
CLIENTS = 16
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Station:
    """Answers after 20 ms, and knows how long it was asked for how much at once."""

    def __init__(self) -> None:
        self.url = ""
        self.now = 0
        self.seconds: Counter[int] = Counter()
        self._since = time.monotonic()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Station:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d" % self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0.05)

    def _move(self, step: int) -> None:
        now = time.monotonic()
        self.seconds[self.now] += now - self._since
        self.now, self._since = self.now + step, now

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self._move(1)
                try:
                    await asyncio.sleep(SERVICE_S)
                finally:
                    self._move(-1)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Load:
    """Clients that ask again at once when they were served, a moment later when refused."""

    def __init__(self) -> None:
        self.served = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, port: int, count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._tasks.append(asyncio.create_task(self._live(port, reader, writer)))

    async def _live(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            try:
                await self._ask(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                # Its worker was killed: another has the next connection.
                pass
            finally:
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split()[0]
            await reader.readexactly(int(length))
            if head.startswith(b"HTTP/1.1 200 "):
                self.served += 1
            else:
                await asyncio.sleep(SERVICE_S)

    async def rate(self, seconds: float) -> float:
        before, since = self.served, time.monotonic()
        await asyncio.sleep(seconds)
        return (self.served - before) / (time.monotonic() - since)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def proxy_before(station: Station, home: Path, workers: int) -> Shedproxy:
    arguments = ["--workers", str(workers), "--limit", str(LIMIT)]
    return Shedproxy(station.url, home=home, arguments=arguments)


async def pids(proxy: Shedproxy) -> list[int]:
    return [worker["pid"] for worker in (await asyncio.to_thread(proxy.status))["workers"]]


async def connect_to(load: Load, proxy: Shedproxy, index: int, count: int) -> None:
    """All connections to one worker: the others are held still meanwhile."""
    others = await pids(proxy)
    others.pop(index)
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        await load.connect(proxy.port, count)
        await asyncio.sleep(0.1)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


async def goodput(home: Path, workers: int) -> tuple[float, Counter[int]]:
    async with Station() as station:
        async with entered(proxy_before(station, home, workers)) as proxy:
            load = Load()
            await connect_to(load, proxy, 0, CLIENTS)
            station.seconds.clear()
            rate = await load.rate(2.5)
            seconds = station.seconds.copy()
            await load.end()
    return rate, seconds


async def test_one_worker_of_four_may_use_the_whole_limit(tmp_path: Path):
    (tmp_path / "one").mkdir()
    (tmp_path / "four").mkdir()
    alone, _ = await goodput(tmp_path / "one", 1)
    lent, seconds = await goodput(tmp_path / "four", 4)
    print(f"goodput alone {alone:.1f}/s, one of four {lent:.1f}/s; {dict(seconds)}")
    assert lent >= 0.97 * alone
    assert max(seconds) <= LIMIT


async def test_all_workers_together_keep_the_limit_and_a_killed_one_leaks_no_slot(tmp_path: Path):
    async with Station() as station:
        async with entered(proxy_before(station, tmp_path, 4)) as proxy:
            load = Load()
            for index in range(4):
                await connect_to(load, proxy, index, CLIENTS // 2)
            await load.rate(0.5)
            station.seconds.clear()
            rate = await load.rate(2.5)
            seconds = station.seconds.copy()
            above = sum(part for held, part in seconds.items() if held > LIMIT)
            print(f"goodput {rate:.1f}/s; {dict(seconds)}")
            assert max(seconds) <= LIMIT + 4
            assert above <= 0.01 * sum(seconds.values())
            victim = (await pids(proxy))[0]
            os.kill(victim, signal.SIGKILL)
            await eventually_async(lambda: not_among(proxy, victim))
            after = await load.rate(1.5)
            print(f"after the kill {after:.1f}/s")
            assert after >= 0.9 * rate
            await load.end()
            await eventually_async(lambda: in_flight_is(proxy, 0))


async def not_among(proxy: Shedproxy, pid: int) -> bool:
    return pid not in await pids(proxy)


async def in_flight_is(proxy: Shedproxy, count: int) -> bool:
    cell = await asyncio.to_thread(proxy.cell)
    return cell["in_flight"] == count
