"""What must not run twice never does: an upstream that counts, under ten thousand resets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter

import pytest
from harness.wire_load import Load

from shedproxy.core import RetryPolicy
from shedproxy.observability.metric import RetryCause

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

RESETS = 10_000
METHODS = (b"POST", b"PATCH", b"GET", b"PUT")
ATTEMPTS = 3


class Counting:
    """Answers a few requests on each connection and resets it, at a moment of its choice."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.runs: Counter[bytes] = Counter()
        """By method and id: how often the whole request was there."""
        self.resets: Counter[str] = Counter()

    async def __call__(self, talk) -> None:
        moment = self.random.choice(
            ("accept", "wait", "head", "body", "run", "begun", "answer", "late")
        )
        for _ in range(self.random.randrange(3)):
            if not await self._serve(talk, ""):
                return
        await self._serve(talk, moment)
        self.resets[moment] += 1
        talk.reset()

    async def _serve(self, talk, moment: str) -> bool:
        if moment == "accept":
            return False
        if moment == "wait":
            await asyncio.sleep(self.random.random() / 1000)
            return False
        try:
            head = await talk.head()
        except (asyncio.IncompleteReadError, OSError):
            return False
        if moment == "head":
            return False
        if b"content-length" in head:
            body = await talk.exactly(2 if moment == "body" else 4)
            if moment == "body":
                return False
            assert body == b"once"
        self.runs[b" ".join(head.split(None, 2)[:2])] += 1
        if moment == "run":
            return False
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        if moment == "begun":
            return False
        talk.send(b"done")
        if moment == "late":
            await talk.drain()
            await asyncio.sleep(self.random.random() / 500)
        return True


def request_maker():
    serial, methods = itertools.count(), itertools.cycle(METHODS)

    def make() -> bytes:
        method = next(methods)
        length = b"" if method == b"GET" else b"content-length: 4\r\n"
        body = b"" if method == b"GET" else b"once"
        return b"%b /%d HTTP/1.1\r\nHost: e\r\n%b\r\n%b" % (method, next(serial), length, body)

    return make


@pytest.mark.fault("U4", "U17")
async def test_ten_thousand_resets_make_nothing_run_twice_that_must_not(bench, figure) -> None:
    counting = Counting()
    upstreams = [await bench.upstream(counting) for _ in range(3)]
    proxy = await bench.proxy(
        *(upstream.url for upstream in upstreams),
        upstream={
            "fail_after": 1_000_000,
            "retries": RetryPolicy(attempts_max=ATTEMPTS, floor_rps=100_000),
        },
    )
    with contextlib.suppress(ConnectionError):
        async with Load(proxy, clients=32, request=request_maker()) as load:
            while counting.resets.total() < RESETS:
                await asyncio.sleep(0.05)
    once = {key: runs for key, runs in counting.runs.items() if key[:2] in {b"PO", b"PA"}}
    often = {key: runs for key, runs in counting.runs.items() if key not in once}
    retries = [proxy.driver.meter.retries(0, cause) for cause in RetryCause]
    figure(
        f"{counting.resets.total()} resets, {len(load.replies)} requests: {len(once)} POSTs and "
        f"PATCHes ran, {max(once.values())} times at most; {len(often)} GETs and PUTs, "
        f"{max(often.values())} times at most of {ATTEMPTS}; {sum(retries)} retries"
    )
    assert max(once.values()) == 1
    assert 1 < max(often.values()) <= ATTEMPTS
    assert min(counting.resets.values()) > RESETS / 20, "every moment had its part"
    assert all(retries[1:])
    assert load.statuses()[200] > len(load.replies) / 3
