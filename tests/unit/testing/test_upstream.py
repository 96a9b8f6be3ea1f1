"""The scripted upstream plays its script on every request."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.testing import ScriptedUpstream, eventually_async

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@pytest.mark.anyio
async def test_bytes_pauses_and_keep_alive():
    async with ScriptedUpstream([ANSWER[:20], 0.001, ANSWER[20:]]) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        for path in (b"/1", b"/2"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\n\r\n")
            assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert upstream.heads == [b"GET /1 HTTP/1.1\r\n\r\n", b"GET /2 HTTP/1.1\r\n\r\n"]
        assert upstream.connection_count == 1
        assert upstream.url.endswith(str(upstream.port))
        writer.close()
        await writer.wait_closed()
        await eventually_async(lambda: upstream.closed_count == 1)


@pytest.mark.anyio
async def test_a_function_as_script_and_close():
    async def script(reader, writer):
        writer.write((await reader.readexactly(3)).upper())

    async with ScriptedUpstream(script, close=True) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(b"PUT / HTTP/1.1\r\n\r\nabc")
        assert await reader.read() == b"ABC"
        writer.close()
        await writer.wait_closed()


@pytest.mark.anyio
async def test_the_end_cuts_what_is_open():
    async with ScriptedUpstream([60.0]) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await eventually_async(lambda: upstream.heads)
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(RuntimeError, match="not running"):
        upstream.port
