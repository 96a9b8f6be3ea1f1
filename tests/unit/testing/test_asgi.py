"""The probe drives an app message by message and shows what it sent."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.testing import AsgiProbe, eventually_async

pytestmark = pytest.mark.anyio


async def echo(scope, receive, send):
    message = await receive()
    headers = [(b"X-Method", scope["method"].encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": True})
    await send({"type": "http.response.body", "body": b"!"})


async def test_a_request_is_answered():
    request = AsgiProbe(echo).request("POST", "/a?b=c")
    assert (request.scope["path"], request.scope["query_string"]) == ("/a", b"b=c")
    request.send_body(b"hi")
    assert (await request.read())["status"] == 201
    assert await request.end() is None
    assert (request.status, request.body) == (201, b"hi!")
    assert request.headers == {"x-method": "POST"}
    assert request.receive_count == 1


async def test_scope_entries_can_be_changed_and_taken_away():
    request = AsgiProbe(echo).request(state=None, root_path="/r")
    assert "state" not in request.scope
    assert request.scope["root_path"] == "/r"
    request.cancel()
    assert isinstance(await request.end(), asyncio.CancelledError)


async def test_what_the_app_raises_is_returned():
    async def broken(scope, receive, send):
        raise LookupError

    request = AsgiProbe(broken).request()
    assert isinstance(await request.end(), LookupError)
    with pytest.raises(AssertionError, match="no further message"):
        await request.read()


async def test_a_client_that_leaves():
    got = []

    async def app(scope, receive, send):
        got.append(await receive())

    request = AsgiProbe(app).request()
    request.disconnect()
    await request.end()
    socket = AsgiProbe(app).websocket(can_deny=False)
    socket.disconnect()
    await socket.end()
    assert [message["type"] for message in got] == ["http.disconnect", "websocket.disconnect"]
    assert socket.scope["extensions"] == {}


async def test_a_slow_reader_and_a_broken_connection():
    request = AsgiProbe(echo).request()
    request.hold_sends.clear()
    request.send_body()
    await request.read()
    assert not request.is_done
    request.send_error = OSError("gone")
    request.hold_sends.set()
    assert isinstance(await request.end(), OSError)


async def test_the_lifespan():
    seen = []

    async def app(scope, receive, send):
        seen.append((await receive())["type"])

    lifespan = AsgiProbe(app).lifespan()
    lifespan.feed({"type": "lifespan.startup"})
    await eventually_async(lambda: seen == ["lifespan.startup"])
