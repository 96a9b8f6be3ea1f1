"""Several workers before one service: they count against one limit, whoever has the connections."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from harness.beside import entered
from harness.proxy import Shedproxy
from harness.slots import Load, Station

from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LIMIT = 4
CLIENTS = 16


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
