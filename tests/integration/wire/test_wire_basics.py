"""The happy path, byte by byte."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET /a?b HTTP/1.1\r\nHost: example\r\n\r\n"


async def test_a_request_goes_through_and_both_connections_are_kept(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(3):
        answer = await client.ask(GET)
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.field("connection") is None
    assert upstream.connections == 1
    assert upstream.heads[0].startswith(b"GET /a?b HTTP/1.1\r\nhost: example\r\n")
    assert b"x-forwarded-for: 127.0.0.1\r\n" in upstream.heads[0]
    await proxy.idle()
