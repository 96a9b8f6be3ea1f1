"""Several workers before one service: they count against one limit, whoever has the connections."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.beside import entered
from harness.process import APPS
from harness.proxy import Shedproxy
from harness.slots import Load, Station, assert_kept, busy

from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LIMIT = 4
SILENT_S = 2.3
"""Two seconds until a worker is known to stand still, and what the others look apart."""
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


async def used(home: Path, workers: int) -> tuple[float, Counter[int]]:
    async with Station() as station:
        async with entered(proxy_before(station, home, workers)) as proxy:
            load = Load()
            await connect_to(load, proxy, 0, CLIENTS)
            slots, seconds = await busy(station, load, 2.0)
            await load.end()
    return slots, seconds


async def test_one_worker_of_four_may_use_the_whole_limit(tmp_path: Path):
    """A machine that is busy with others leaves slots empty: three tries at most."""
    shares = []
    while len(shares) < 3 and max(shares, default=0.0) < 0.97:
        homes = [tmp_path / f"{kind}-{len(shares)}" for kind in ("one", "four")]
        for home in homes:
            home.mkdir()
        alone, _ = await used(homes[0], 1)
        lent, seconds = await used(homes[1], 4)
        print(f"slots used alone {alone:.2f}, by one of four {lent:.2f}; {dict(seconds)}")
        assert max(seconds) <= LIMIT
        shares.append(lent / alone)
    assert shares[-1] >= 0.97, shares


async def test_all_workers_together_keep_the_limit_and_a_killed_one_leaks_no_slot(tmp_path: Path):
    async with Station() as station:
        async with entered(proxy_before(station, tmp_path, 4)) as proxy:
            load = Load()
            for index in range(4):
                await connect_to(load, proxy, index, CLIENTS // 2)
            await load.rate(0.5)
            slots, seconds = await busy(station, load, 2.0)
            print(f"slots used {slots:.2f}; {dict(seconds)}")
            assert_kept(seconds, LIMIT, 4)
            victim = (await pids(proxy))[0]
            os.kill(victim, signal.SIGKILL)
            await eventually_async(lambda: not_among(proxy, victim))
            after, _ = await busy(station, load, 1.6)
            print(f"after the kill {after:.2f}")
            assert after >= 0.9 * slots
            await load.end()
            await eventually_async(lambda: in_flight_is(proxy, 0))


async def frozen_with_slots(proxy: Shedproxy, station: Station, load: Load) -> int:
    """Stop the worker that has most in flight, while it has at least half of the slots."""
    for _ in range(200):
        for worker in (await asyncio.to_thread(proxy.status))["workers"]:
            if worker["cells"]["default"]["in_flight"] >= LIMIT // 2:
                os.kill(worker["pid"], signal.SIGSTOP)
                return worker["pid"]
    raise AssertionError("no worker ever had half of the slots")


@pytest.mark.fault("H18")
async def test_the_slots_of_a_worker_that_stands_still_are_used_by_others(
    tmp_path: Path, figure: Callable[[str], None]
):
    async with Station() as station:
        async with entered(proxy_before(station, tmp_path, 2)) as proxy:
            load = Load()
            for index in range(2):
                await connect_to(load, proxy, index, CLIENTS // 2)
            before, _ = await busy(station, load, 1.0)
            frozen = await frozen_with_slots(proxy, station, load)
            await asyncio.sleep(SILENT_S)
            after, seconds = await busy(station, load, 1.0)
            os.kill(frozen, signal.SIGCONT)
            await load.rate(0.5)
            assert max(seconds) <= LIMIT + 2
            assert after >= 0.85 * before
            figure(f"stopped with slots: {after / before:.0%} of them in use {SILENT_S} s later")
            await load.end()
            await eventually_async(lambda: in_flight_is(proxy, 0))


class WithoutPage(Shedproxy):
    """Three of its four workers cannot read the page, each for another reason."""

    def __init__(self, station: Station, home: Path) -> None:
        super().__init__(
            home=home,
            config=(
                "[server]\nworkers = 4\nlisten = '127.0.0.1:0'\n"
                "[control]\nlisten = '127.0.0.1:0'\n"
                f"[cell.default]\nupstream = '{station.url}'\nlimit = {2 * LIMIT}\n"
            ),
        )
        self._command = [sys.executable, "-P", str(APPS / "lost_page_supervisor.py")]
        self._command.append(str(self.config_file))


@pytest.mark.fault("H19")
async def test_workers_without_the_page_have_a_part_of_the_limit_and_say_so(
    tmp_path: Path, figure: Callable[[str], None]
):
    async with Station() as station:
        async with entered(WithoutPage(station, tmp_path)) as proxy:
            workers = (await asyncio.to_thread(proxy.status))["workers"]
            lost = [worker["page_lost"].partition(": ")[2] for worker in workers]
            assert lost[0] == ""
            assert "Bad file descriptor" in lost[1]
            assert lost[2] == "a shared page of another size than its header says"
            assert lost[3] == "a shared page of another version of shedproxy"
            assert {event["worker"] for event in proxy.events("page lost")} == {1, 2, 3}
            _, metrics = await asyncio.to_thread(proxy.control, "GET", "/metrics")
            assert b"\nshedproxy_worker_page_lost 3" in metrics
            load = Load()
            for index in range(4):
                await connect_to(load, proxy, index, CLIENTS // 2)
            slots, seconds = await busy(station, load, 1.6)
            assert max(seconds) <= 2 * LIMIT + 1
            assert slots >= 0.85 * 2 * LIMIT
            figure(f"3 of 4 workers without: {slots / 2 / LIMIT:.0%} of the slots in use")
            await load.end()


async def not_among(proxy: Shedproxy, pid: int) -> bool:
    return pid not in await pids(proxy)


async def in_flight_is(proxy: Shedproxy, count: int) -> bool:
    cell = await asyncio.to_thread(proxy.cell)
    return cell["in_flight"] == count
