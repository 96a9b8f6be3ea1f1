"""Flow control and the end of an upstream connection, without its conversation."""

from __future__ import annotations

import pytest

from shedproxy.core import seconds

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_time_of_a_pause_is_counted_once(still) -> None:
    bench = still()
    upstream = await bench.ask(bench.client(), GET)
    end = upstream.protocol
    end.pause()
    end.pause()
    assert upstream.is_paused
    bench.clock.advance(seconds(2))
    end.resume()
    end.resume()
    assert not upstream.is_paused
    assert end.stalled_ns == seconds(2)


async def test_closing_tells_the_pool_and_nobody_else(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.close()
    upstream.protocol.close()
    await bench.settle()
    assert upstream.is_aborted
    assert client.take() == b""
    assert bench.server.upstream_connections == 0
    assert not upstream.protocol.is_open


async def test_silence_is_no_answer_to_anybody_in_all_the_time_there_was(still) -> None:
    bench = still()
    client, other = bench.client(), bench.client()
    upstream = await bench.ask(client, GET)
    exchange = client.protocol.exchange
    assert upstream.protocol.is_silent(exchange, bench.clock())
    another = await bench.ask(other, GET)
    another.protocol.data_received(OK)
    assert not upstream.protocol.is_silent(exchange, bench.clock())


async def test_a_client_that_sends_slowly_makes_no_silence(still) -> None:
    bench = still(permit_body_size=1)
    client = bench.client()
    begun = b"PUT /a HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\nabc"
    upstream = await bench.ask(client, begun)
    exchange = client.protocol.exchange
    assert not upstream.protocol.is_silent(exchange, bench.clock())
    client.protocol.data_received(b"defghi")
    assert upstream.protocol.is_silent(exchange, bench.clock())
