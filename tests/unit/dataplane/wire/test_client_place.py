from __future__ import annotations

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.observability.meter import Eviction

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def served(bench):
    client = bench.client()
    (await bench.ask(client, GET)).protocol.data_received(OK)
    client.take()
    return client


async def test_who_waits_for_what_and_since_when(still) -> None:
    """The first word, a head, a body without a slot, the next request."""
    bench = still()
    began = bench.clock()
    silent = bench.client()
    idle = await served(bench)
    bench.clock.advance(seconds(1))
    slow_head, slow_body = bench.client(), bench.client()
    slow_head.protocol.data_received(GET[:9])
    bench.clock.advance(seconds(1))
    slow_head.protocol.data_received(GET[9:11])
    slow_body.protocol.data_received(POST)
    assert [client.protocol.waits_since - began for client in (silent, idle)] == [0, 0]
    assert slow_head.protocol.waits_since - began == seconds(1)
    assert slow_body.protocol.waits_since - began == seconds(2)
    kinds = [client.protocol.evict() for client in (silent, idle, slow_head, slow_body)]
    assert kinds == [Eviction.HEAD, Eviction.IDLE, Eviction.HEAD, Eviction.BODY]
    assert [client.take()[:13] for client in (silent, idle)] == [b"", b""]
    assert [client.take()[:13] for client in (slow_head, slow_body)] == [b"HTTP/1.1 408 "] * 2
    assert all(client.is_closed for client in (silent, idle, slow_head, slow_body))


async def test_who_is_served_waits_for_nothing(still) -> None:
    bench = still(limit=1)
    running, queued, ahead = bench.client(), bench.client(), await served(bench)
    await bench.ask(running, GET)
    queued.protocol.data_received(GET)
    ahead.is_stuck = True
    ahead.protocol.data_received(GET[:-2] + b"X-Request-Timeout-Ms: 0\r\n\r\n" + GET)
    lingering = bench.client()
    lingering.protocol.linger()
    clients = (running, queued, ahead, lingering)
    assert [client.protocol.waits_since for client in clients] == [None] * 4


async def test_a_tunnel_waits_for_nothing(still) -> None:
    bench = still()
    client = bench.client()
    upgrade = b"Connection: upgrade\r\nUpgrade: e\r\n\r\n"
    upstream = await bench.ask(client, GET[:-2] + upgrade)
    upstream.protocol.data_received(b"HTTP/1.1 101 S\r\n" + upgrade)
    await bench.advance(milliseconds(100))
    assert client.protocol.tunnel is not None
    assert client.protocol.waits_since is None
    assert client.protocol.held_cell is None, "and it holds no slot"


async def test_what_moves_is_what_was_read_and_sent(still) -> None:
    bench = still(permit_body_size=1)
    client = bench.client()
    place = client.protocol
    assert (place.held_cell, place.is_awaited, place.moved) == (None, False, 0)
    upstream = await bench.ask(client, POST + b"xyz")
    assert (place.held_cell, place.is_awaited, place.moved) == ("default", True, 3)
    place.data_received(b"123456")
    assert (place.is_awaited, place.moved) == (False, 9)
    client.is_stuck = True
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nabc")
    assert (place.held_cell, place.is_awaited, place.moved) == ("default", True, 9)
    client.buffered -= 2
    assert place.moved == 11
