"""Watching for the client to leave, without losing what it sent."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.dataplane.asgi.client_watch import ClientWatch
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


class Server:
    def __init__(self):
        self.messages = asyncio.Queue()
        self.reads = 0

    async def receive(self):
        self.reads += 1
        message = await self.messages.get()
        if isinstance(message, Exception):
            raise message
        return message


def part(data, more=False):
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


@pytest.fixture
async def server():
    return Server()


async def until(watch, verdict, is_allowed=True):
    return await watch.until(verdict, is_allowed=is_allowed)


async def test_the_client_leaves(server):
    verdict = asyncio.get_running_loop().create_future()
    server.messages.put_nowait(GONE)
    assert await until(ClientWatch(server.receive), verdict) is True


async def test_the_verdict_comes(server):
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    watch = ClientWatch(server.receive)
    loop.call_soon(verdict.set_result, None)
    assert await until(watch, verdict) is False
    server.messages.put_nowait(part(b"late"))
    assert (await watch.receive())["body"] == b"late"
    server.messages.put_nowait(GONE)
    assert await watch.receive() == GONE
    assert server.reads == 2


async def test_a_verdict_that_is_there_reads_nothing(server):
    verdict = asyncio.get_running_loop().create_future()
    verdict.set_result(None)
    assert await until(ClientWatch(server.receive), verdict) is False
    assert server.reads == 0


async def test_without_leave_it_waits_for_the_verdict_alone(server):
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    server.messages.put_nowait(GONE)
    loop.call_later(0.001, verdict.set_result, None)
    assert await until(ClientWatch(server.receive), verdict, is_allowed=False) is False
    assert server.reads == 0


async def test_one_part_is_kept_and_replayed(server):
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    watch = ClientWatch(server.receive)
    for message in (part(b"1", more=True), part(b"2")):
        server.messages.put_nowait(message)
    waiting = loop.create_task(until(watch, verdict))
    await eventually_async(lambda: server.messages.qsize() == 1)
    verdict.set_result(None)
    assert await waiting is False
    assert [(await watch.receive())["body"] for _ in range(2)] == [b"1", b"2"]


async def test_messages_never_pile_up(server):
    """A server that gives complete bodies for ever is not followed for ever."""
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    for _ in range(10):
        server.messages.put_nowait(part(b"x"))
    waiting = loop.create_task(until(ClientWatch(server.receive), verdict))
    await eventually_async(lambda: server.reads == 2)
    verdict.set_result(None)
    assert await waiting is False
    assert server.reads == 2


async def test_a_failed_read_is_the_callers(server):
    server.messages.put_nowait(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await until(ClientWatch(server.receive), asyncio.get_running_loop().create_future())


async def test_close_ends_the_read_under_way(server):
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    watch = ClientWatch(server.receive)
    loop.call_soon(verdict.set_result, None)
    await until(watch, verdict)
    watch.close()
    watch.close()
    server.messages.put_nowait(GONE)
    await asyncio.sleep(0)
    assert server.messages.qsize() == 1


async def test_an_app_that_cancels_its_read_may_read_again(server):
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    watch = ClientWatch(server.receive)
    loop.call_soon(verdict.set_result, None)
    await until(watch, verdict)
    read = loop.create_task(watch.receive())
    await asyncio.sleep(0)
    read.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read
    server.messages.put_nowait(GONE)
    assert await watch.receive() == GONE


async def test_who_gives_up_receiving_loses_nothing(server):
    """Under a timeout, say: what came at that very moment is for the next call."""
    loop = asyncio.get_running_loop()
    verdict = loop.create_future()
    watch = ClientWatch(server.receive)
    loop.call_soon(verdict.set_result, None)
    assert await until(watch, verdict) is False
    first = loop.create_task(watch.receive())
    await asyncio.sleep(0)
    server.messages.put_nowait(part(b"one"))
    await asyncio.sleep(0)  # it was read, and the app has not run yet
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(5):
        assert (await watch.receive())["body"] == b"one"
    server.messages.put_nowait(part(b"two"))
    assert (await watch.receive())["body"] == b"two"
