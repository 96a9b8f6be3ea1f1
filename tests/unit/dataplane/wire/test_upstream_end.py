"""Flow control and the end of an upstream connection, without its conversation."""

from __future__ import annotations

import socket

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire.upstream_side import WINDOW_SIZE

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SILENCE = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
LIFTED, IN_FORCE = (*SILENCE, 0), (*SILENCE, 10_000)


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


def post(size: int) -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % size


async def kept(bench):
    """A client, and a connection that is connected over TCP and has served a request."""
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.socket.family = socket.AF_INET
    upstream.protocol.data_received(OK)
    return client, upstream


async def test_a_host_may_read_a_large_body_late_and_only_that(still) -> None:
    """U18: a kernel that gives up on silence takes a host that does not read for a silent one."""
    bench = still(permit_body_size=2 * WINDOW_SIZE)
    client, upstream = await kept(bench)
    for request in (GET, post(3) + b"abc", post(WINDOW_SIZE // 2) + b"x" * (WINDOW_SIZE // 2)):
        assert await bench.ask(client, request) is upstream
        upstream.protocol.data_received(OK)
        assert upstream.socket.options == [], "one that fits costs no system call"
    await bench.ask(client, post(WINDOW_SIZE) + b"x" * WINDOW_SIZE)
    assert upstream.socket.options == [LIFTED]
    upstream.protocol.data_received(OK)
    assert upstream.socket.options == [LIFTED, IN_FORCE]


async def test_so_it_may_one_that_comes_in_pieces(still) -> None:
    bench = still(permit_body_size=1)
    client, upstream = await kept(bench)
    await bench.ask(client, post(2 * WINDOW_SIZE) + b"x")
    client.protocol.data_received(b"x" * (WINDOW_SIZE // 2))
    assert upstream.socket.options == []
    for size in (WINDOW_SIZE, WINDOW_SIZE // 2 - 1):
        client.protocol.data_received(b"x" * size)
        upstream.protocol.pause_writing()
        upstream.protocol.resume_writing()
        assert upstream.socket.options == [LIFTED], "what it took is in kernels, and unread"
    upstream.protocol.data_received(OK)
    assert upstream.socket.options == [LIFTED, IN_FORCE]


async def test_and_what_goes_through_a_tunnel(still) -> None:
    bench = still()
    client, upstream = await kept(bench)
    await bench.ask(client, b"GET / HTTP/1.1\r\nHost: e" + SWITCH)
    assert upstream.socket.options == []
    upstream.protocol.data_received(b"HTTP/1.1 101 S" + SWITCH)
    assert upstream.socket.options == [LIFTED]
    client.lose()
