"""Slow clients take memory, bounded, and never a slot that others wait for."""

from __future__ import annotations

import asyncio
import select
import socket
from statistics import median

import pytest
from harness.process import memory_bytes
from harness.proxy import Shedproxy

from benchmarks.slow_client_load import Honest, Seen, readers, senders, slow_readers
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

SENDERS, READERS = 64, 32
ATTACKERS = 24


def is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def is_open(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.fault("C4", "C5")
async def test_slow_senders_and_stalled_readers_leave_the_honest_their_slots(serve, figure) -> None:
    """64 bodies byte by byte, then 32 readers that stall on 16 MiB, at limit 16. From 3 s after the
    stall begins honest success is >= 99 %, their p99 <= 3 x idle; a stalled reader costs <= 64 KiB.
    """
    proxy = serve()
    pid = proxy.worker_pid
    honest = Honest(proxy.port, rate=100)
    try:
        await honest.run(0.5)
        idle = await windows(honest)
        async with senders(proxy.port, SENDERS):
            beside_senders = await windows(honest)
            before = memory_bytes(pid)
            with readers(proxy.port, READERS):
                await honest.run(3)
                beside_readers = await windows(honest)
                growth = memory_bytes(pid) - before
    finally:
        honest.close()
    idle_ms = median(seen.p99_ms for seen in idle)
    for seen in (beside_senders, beside_readers):
        assert success(seen) >= 0.99, [one.failures for one in seen]
        # Slow clients are there in each window, what else the machine does comes and goes.
        assert min(one.p99_ms for one in seen) <= 3 * idle_ms, (idle_ms, seen)
    assert growth / READERS <= 64 * 1024, growth
    p99_ms = min(seen.p99_ms for seen in beside_readers)
    figure(
        f"{SENDERS} trickled bodies and {READERS} stalled readers at limit 16:"
        f" {success(beside_readers):.1%} of the others served, p99 {p99_ms:.0f} ms"
        f" (idle {idle_ms:.0f} ms), {growth / READERS / 1024:.0f} KiB a reader"
    )
    await eventually_async(proxy.is_idle, what="every slot being back")


async def windows(honest: Honest) -> list[Seen]:
    return [await honest.run(0.8) for _ in range(3)]


def success(seen: list[Seen]) -> float:
    """Share of requests with an answer."""
    answered = sum(len(one.times_s) for one in seen)
    return answered / (answered + sum(len(one.failures) for one in seen))


def evicted(proxy: Shedproxy, cause: str) -> float:
    """How many lost their connection for this."""
    text = proxy.control("GET", "/metrics")[1].decode()
    name = f'shedproxy_connections_evicted_total{{shedproxy_cause="{cause}"}}'
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


async def beside(honest: Honest) -> Seen:
    """What they see from 3 s after now on."""
    await honest.run(3)
    return await honest.run(1)


@pytest.mark.fault("C4", "C5")
async def test_who_is_just_above_the_least_rate_gives_way_to_who_waits(serve, figure) -> None:
    """24 bodies of which 66 kB come at once and then 400 B/s, then 24 answers of 16 MiB that are
    read at 400 B/s, at limit 16. From 3 s on honest success is >= 99 %, and those who send 50 kB/s
    or read 100 kB/s have lost nothing.
    """
    proxy = serve()
    honest = Honest(proxy.port, rate=200)
    slow = {"piece": 100, "period_s": 0.25}
    try:
        async with (
            senders(proxy.port, 2, at_once=66_000, piece=5_000, period_s=0.1) as uploads,
            slow_readers(proxy.port, 2, piece=10_000, period_s=0.1, is_narrow=False) as downloads,
        ):
            await honest.run(0.5)
            async with senders(proxy.port, ATTACKERS, at_once=66_000, **slow) as attackers:
                beside_senders = await beside(honest)
                told = [sock.recv(12) for sock in attackers if is_readable(sock)]
            async with slow_readers(proxy.port, ATTACKERS, **slow):
                beside_readers = await beside(honest)
            kept = [is_open(sock) for sock in uploads + downloads]
    finally:
        honest.close()
    for seen in (beside_senders, beside_readers):
        assert seen.success >= 0.99, seen.failures
    assert kept == [True] * 4
    assert b"HTTP/1.1 408" in told
    assert evicted(proxy, "upload")
    assert evicted(proxy, "reader")
    figure(
        f"{ATTACKERS} senders, then {ATTACKERS} readers at 400 B/s at limit 16:"
        f" {beside_senders.success:.1%} and {beside_readers.success:.1%} of the others served"
    )
    await eventually_async(proxy.is_idle, what="every slot being back")


async def test_a_stalled_reader_costs_one_read(serve) -> None:
    """16 of them, each with a slot of its own and nobody waiting: held in full, <= 64 KiB each."""
    proxy = serve()
    pid = proxy.worker_pid
    honest = Honest(proxy.port, rate=100)
    await honest.run(0.5)
    honest.close()
    before = memory_bytes(pid)
    with readers(proxy.port, 16):
        await eventually_async(lambda: proxy.cell()["in_flight"] == 16, what="16 slots taken")
        await asyncio.sleep(0.5)  # so that what the kernel takes is taken
        growth = memory_bytes(pid) - before
        assert proxy.cell()["in_flight"] == 16, "nobody waits: they may take their time"
        assert growth / 16 <= 64 * 1024, growth
    await eventually_async(proxy.is_idle, what="every slot being back")
