"""Residents are opened at their time, held, and counted when they break."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from harness.streams import StreamService

from shedproxy.loadgen.residents import ResidentPool


def held(
    path: str, kind: str, then: Callable[[ResidentPool], Awaitable[None]], **more: int
) -> None:
    async def run(url: str) -> None:
        pool = ResidentPool(url, path, kind)
        try:
            await pool.grow(6, 1_000.0)
            async with asyncio.timeout(30):
                await then(pool)
        finally:
            await pool.close()
        assert pool.open_count == 0

    with StreamService(**more) as service:
        asyncio.run(run(service.url))


async def until(check: Callable[[], bool]) -> None:
    while not check():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["sse", "websocket"])
def test_they_stay_and_their_first_byte_is_timed(kind: str) -> None:
    async def then(pool: ResidentPool) -> None:
        await until(lambda: len(pool.first_byte_ns) == 6)
        assert (pool.open_count, pool.failed_count) == (6, 0)
        assert all(0 < ns < 2e9 for ns in pool.first_byte_ns)
        await pool.shrink(2)
        assert (pool.open_count, pool.failed_count) == (2, 0)

    held("/events", kind, then)


def test_those_that_are_refused_or_end_have_failed() -> None:
    async def refused(pool: ResidentPool) -> None:
        await until(lambda: len(pool.first_byte_ns) == 4 and pool.failed_count == 2)
        assert pool.open_count == 4

    async def ended(pool: ResidentPool) -> None:
        await until(lambda: pool.failed_count == 6)
        assert pool.open_count == 0

    held("/events", "sse", refused, streams_max=4)
    held("/short", "sse", ended)


def test_a_poll_that_is_answered_asks_again() -> None:
    async def then(pool: ResidentPool) -> None:
        await until(lambda: len(pool.first_byte_ns) >= 15)
        assert pool.failed_count == 0

    held("/poll", "longpoll", then)


def test_nobody_there_is_a_failure_and_a_kind_that_is_none_is_said() -> None:
    async def run() -> None:
        pool = ResidentPool("http://127.0.0.1:1", "/", "sse")
        await pool.grow(1, 10.0)
        await until(lambda: pool.failed_count == 1)
        await pool.close()

    asyncio.run(run())
    for url, kind in (("https://127.0.0.1", "sse"), ("http://127.0.0.1", "radio")):
        with pytest.raises(ValueError, match="none of"):
            ResidentPool(url, "/", kind)
