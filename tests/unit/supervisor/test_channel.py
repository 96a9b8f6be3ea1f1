from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from shedproxy.supervisor.channel import LINE_SIZE_MAX, Channel
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def channel():
    ours, theirs = socket.socketpair()
    opened = await Channel.open(ours)
    theirs.setblocking(False)
    try:
        yield opened, theirs
    finally:
        await opened.close()
        theirs.close()


async def read_lines(theirs: socket.socket, count: int) -> list[dict]:
    loop = asyncio.get_running_loop()
    data = b""
    while data.count(b"\n") < count:
        data += await loop.sock_recv(theirs, 65536)
    return [json.loads(line) for line in data.splitlines()]


async def said(opened: Channel) -> list:
    return [message async for message in opened.messages()]


async def test_messages_go_both_ways_one_per_line():
    async with channel() as (opened, theirs):
        opened.post("mode", mode="off")
        opened.post("stop")
        assert await read_lines(theirs, 2) == [{"op": "mode", "mode": "off"}, {"op": "stop"}]
        theirs.sendall(b'{"op":"ready"}\n{"op":"applied","revision":2}\n')
        theirs.shutdown(socket.SHUT_WR)
        assert await said(opened) == [{"op": "ready"}, {"op": "applied", "revision": 2}]


async def test_a_worker_that_does_not_read_holds_one_message_of_each_kind():
    async with channel() as (opened, theirs):
        text = "x" * 500_000
        for revision in range(200):
            opened.post("document", document=text, revision=revision)
            await asyncio.sleep(0)
        messages = asyncio.create_task(read_until(theirs, 199))
        got = await asyncio.wait_for(messages, 20)
        assert got[-1] == 199
        assert len(got) < 10


async def read_until(theirs: socket.socket, last: int) -> list[int]:
    loop = asyncio.get_running_loop()
    data = b""
    while True:
        data += await loop.sock_recv(theirs, 1 << 20)
        got = [json.loads(line)["revision"] for line in data.splitlines(keepends=True)[:-1]]
        if data.endswith(b"\n"):
            got.append(json.loads(data.splitlines()[-1])["revision"])
        if got and got[-1] == last:
            return got


@pytest.mark.parametrize("broken", [b"junk\n", b"[1]\n", b'{"no":"op"}\n', b'{"op":"cut'])
async def test_a_broken_line_ends_the_channel(broken):
    async with channel() as (opened, theirs):
        theirs.sendall(b'{"op":"ready"}\n' + broken)
        theirs.shutdown(socket.SHUT_WR)
        assert await said(opened) == [{"op": "ready"}]


async def test_an_endless_line_ends_the_channel():
    async with channel() as (opened, theirs):
        loop = asyncio.get_running_loop()
        sender = asyncio.create_task(loop.sock_sendall(theirs, b"x" * (LINE_SIZE_MAX * 3)))
        assert await asyncio.wait_for(said(opened), 20) == []
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await sender


async def test_posting_to_a_dead_worker_is_harmless():
    async with channel() as (opened, theirs):
        theirs.close()
        for _ in range(10):
            opened.post("stop")
            await asyncio.sleep(0)
        await eventually_async(lambda: True)
