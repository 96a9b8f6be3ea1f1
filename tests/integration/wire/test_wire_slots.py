"""Slots: what the upstream holds is what the limit says, whatever clients do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from harness.tries import in_time, three_tries

from shedproxy.core import QueuePolicy, seconds
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LIMIT = 16
SERVICE_S = 0.05
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n"


class Work:
    """Counts what is worked on, by an upstream that stops with its client or one that cannot."""

    def __init__(self, *, stops: bool) -> None:
        self._stops = stops
        self.now = 0
        self.most = 0
        self.done = 0
        self.ends: dict[bytes, float] = {}
        """When the end of a request's connection was seen, by its target."""

    async def serve(self, talk) -> None:
        while True:
            head = await talk.head()
            target = head.split(b" ", 2)[1]
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                ended = asyncio.ensure_future(talk.reader.read(1))
                working = asyncio.ensure_future(asyncio.sleep(SERVICE_S))
                wanted = {ended, working} if self._stops else {working}
                await asyncio.wait(wanted, return_when=asyncio.FIRST_COMPLETED)
                working.cancel()
                if ended.done():
                    self.ends[target] = asyncio.get_running_loop().time()
                    if self._stops:
                        return
                else:
                    ended.cancel()
                    with suppress(asyncio.CancelledError):
                        await ended
            finally:
                self.now -= 1
            self.done += 1
            talk.send(OK if target.startswith(b"/small") else LARGE + b"x" * 500_000)
            if self._stops:
                await talk.drain()


async def play(count: int, rate_rps: float, call: Callable) -> list[object]:
    """Open loop: the n-th call begins at n / rate, whatever became of the ones before."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    calls = []
    for number in range(count):
        await asyncio.sleep(max(0, began_at + number / rate_rps - loop.time()))
        calls.append(loop.create_task(call(number)))
    return await asyncio.gather(*calls)


async def test_the_limit_is_never_exceeded_at_three_times_the_capacity(bench) -> None:
    work = Work(stops=False)
    upstream = await bench.upstream(work.serve, backlog=1024)
    proxy = await bench.proxy(upstream.url, limit=LIMIT)

    async def call(number: int) -> int:
        client = await proxy.connect()
        answer = await client.ask(b"GET /small/%d HTTP/1.1\r\nHost: e\r\n\r\n" % number)
        client.close()
        return answer.status

    rate_rps = 3 * LIMIT / SERVICE_S
    statuses = await play(1500, rate_rps, call)
    assert set(statuses) == {200, 503}
    assert work.most == LIMIT


@pytest.mark.parametrize("cancels", ["auto", "false"])
async def test_work_that_cannot_be_stopped_never_exceeds_it_either(bench, cancels: str) -> None:
    """Every other client leaves in the middle of the work."""
    work = Work(stops=False)
    upstream = await bench.upstream(work.serve, backlog=1024)
    proxy = await bench.proxy(upstream.url, limit=LIMIT, upstream={"cancels": cancels})
    rng = random.Random(5)

    async def call(number: int) -> int:
        client = await proxy.connect()
        client.send(b"GET /small/%d HTTP/1.1\r\nHost: e\r\n\r\n" % number)
        if number % 2:
            await asyncio.sleep(rng.uniform(0, SERVICE_S))
            client.reset()
            return 0
        answer = await client.answer()
        client.close()
        return answer.status

    statuses = await play(1500, 3 * LIMIT / SERVICE_S, call)
    assert {0, 200, 503} == set(statuses)
    await proxy.idle()
    assert LIMIT <= work.most <= LIMIT + 1


@three_tries
async def test_calls_that_are_aborted_give_their_slots_back_and_end_the_work(bench) -> None:
    """A12, C2: 20 x the limit, in every phase; the upstream hears of it within 200 ms."""
    work = Work(stops=True)
    upstream = await bench.upstream(work.serve, backlog=1024)
    patient = {"queue": QueuePolicy(wait_max_ns=seconds(30))}
    proxy = await bench.proxy(upstream.url, limit=LIMIT, cell=patient)
    rng = random.Random(6)
    resets: dict[bytes, float] = {}

    async def call(number: int) -> None:
        target = b"/%s/%d" % (rng.choice((b"small", b"large")), number)
        client = await proxy.connect()
        client.send(b"GET %s HTTP/1.1\r\nHost: e\r\n" % target)
        if rng.random() < 0.9:
            client.send(b"\r\n")
        await asyncio.sleep(rng.uniform(0, 2 * SERVICE_S))
        resets[target] = asyncio.get_running_loop().time()
        client.reset()

    await play(20 * LIMIT, 0.8 * LIMIT / SERVICE_S, call)
    await proxy.idle()
    late_s = sorted(at - resets[target] for target, at in work.ends.items())
    assert len(late_s) > 2 * LIMIT, "too few were cut while the upstream worked"
    in_time(late_s[int(0.99 * len(late_s))], 0.2)
    assert not work.now
    # Nobody is served past the limit afterwards, and nobody less.
    clients = [await proxy.connect() for _ in range(LIMIT + 1)]
    for number, client in enumerate(clients):
        client.send(b"GET /small/%d HTTP/1.1\r\nHost: e\r\n\r\n" % number)
    await eventually_async(lambda: work.now == LIMIT)
    assert proxy.cell.queue_length == 1
    assert [(await client.answer()).status for client in clients] == [200] * (LIMIT + 1)
