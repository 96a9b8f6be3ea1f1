"""Thousands of connections that only wait, and what becomes of those that want to be served."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from harness.process import memory_bytes

from benchmarks.slow_client_load import Honest

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

MIB = 1024**2
COUNT = 5000
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def crowd(port: int, count: int, data: bytes, source: str = "127.0.0.2"):
    """Bare connections that have sent `data`."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 5, (source, 0))
            stack.enter_context(sock)
            sock.setblocking(False)
            sock.send(data)
            sockets.append(sock)
        yield sockets


def is_closed(sock: socket.socket) -> bool:
    try:
        return not sock.recv(65536, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def trickle(sockets: list[socket.socket], data: bytes, period_s: float) -> None:
    """Each of them sends `data` once in a period."""
    batch = len(sockets) // 50
    while True:
        for start in range(0, len(sockets), batch):
            for sock in sockets[start : start + batch]:
                sock.send(data)
            await asyncio.sleep(period_s / 50)


@pytest.mark.fault("C3")
async def test_thousands_of_slow_heads_cost_good_traffic_nothing(serve, figure) -> None:
    """5 000 slow connections beside 200 requests/s: 0 failures, worker < 200 MB."""
    proxy = serve()
    honest = Honest(proxy.port, rate=200)
    with crowd(proxy.port, COUNT, b"GET / HTTP/1.1\r\nHost: e\r\n") as slow:
        task = asyncio.create_task(trickle(slow, b"X-a: b\r\n", 2.0))
        try:
            seen = await honest.run(3)
            memory = memory_bytes(proxy.worker_pid)
        finally:
            task.cancel()
            honest.close()
        assert not any(map(is_closed, slow)), "there was room for all, and their time is not up"
    assert not seen.failures
    assert memory < 200 * MIB, memory
    figure(
        f"{COUNT} slow heads: 0 of {len(seen.times_s)} others failed, worker {memory // MIB} MiB"
    )


def _is_unanswered(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True


@pytest.mark.fault("C10")
async def test_at_the_bound_a_crowd_of_one_address_gives_way(serve, figure) -> None:
    """C10: newcomers of other addresses are all served, on connections that are all kept."""
    proxy = serve("[server]\nconnections_max = 200\n")
    honest = Honest(proxy.port, rate=100)
    with crowd(proxy.port, 400, GET[:20]) as slow:
        seen = await honest.run(2)
        closed = sum(map(is_closed, slow))
        gone = sum(map(_has_answer, slow))
    honest.close()
    assert not seen.failures
    assert 200 <= closed + gone < 260, (closed, gone)
    figure(f"400 slow heads at a bound of 200: 0 of {len(seen.times_s)} others failed")


def _has_answer(sock: socket.socket) -> bool:
    try:
        return sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 408"
    except (BlockingIOError, ConnectionError):
        return False


async def test_the_refused_of_one_address_are_no_trouble_to_others(serve) -> None:
    """A bound per address: over it 429 and the end; others find their places."""
    proxy = serve("[server]\nconnections_per_address_max = 50\n")
    honest = Honest(proxy.port, rate=100)
    with crowd(proxy.port, 300, b"") as sockets:
        seen = await honest.run(1)
        refused = [sock for sock in sockets if not _is_unanswered(sock)]
        assert len(refused) == 250
        answers = [sock.recv(4096) for sock in refused]
    honest.close()
    assert not seen.failures
    assert all(a.startswith(b"HTTP/1.1 429 ") for a in answers if a)
    assert any(b"address_limit" in answer for answer in answers)


@pytest.mark.fault("H9")
async def test_descriptors_are_kept_for_those_who_are_served(serve, figure) -> None:
    """H9: with 200 descriptors and 1 000 who want in, those who are served get their upstream
    connections, nothing spins, and the place of who goes is free again.
    """
    proxy = serve(descriptors=200)
    pid = proxy.worker_pid
    honest = Honest(proxy.port, rate=50)
    try:
        await honest.run(0.5)
        with crowd(proxy.port, 1000, GET[:20]):
            seen = await honest.run(2)
            assert len(os.listdir(f"/proc/{pid}/fd")) < 200
        assert not seen.failures
        after = await honest.run(1)
        assert not after.failures
        figure("200 descriptors, 1 000 who want in: 0 requests of the served failed")
    finally:
        honest.close()
