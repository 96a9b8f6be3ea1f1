from __future__ import annotations

import pytest

from shedproxy.core import seconds

pytestmark = pytest.mark.anyio

UPGRADE = b"GET / HTTP/1.1\r\nHost: e\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


async def opened(bench):
    client = bench.client()
    upstream = await bench.ask(client, UPGRADE)
    upstream.protocol.data_received(SWITCH)
    upstream.take()
    client.take()
    return client, upstream


async def test_bytes_pass_as_they_are(still) -> None:
    bench = still()
    client, upstream = await opened(bench)
    client.protocol.data_received(b"GET / not a request")
    assert upstream.take() == b"GET / not a request"
    upstream.protocol.data_received(b"HTTP/1.1 not an answer")
    assert client.take() == b"HTTP/1.1 not an answer"
    assert (bench.cell.in_flight, bench.cell.residents) == (0, 1)


async def test_each_side_holds_the_other_back(still) -> None:
    client, upstream = await opened(still())
    client.protocol.pause_writing()
    assert upstream.is_paused
    client.protocol.resume_writing()
    assert not upstream.is_paused
    upstream.protocol.pause_writing()
    assert client.is_paused
    upstream.protocol.resume_writing()
    assert not client.is_paused


async def test_one_side_may_end_before_the_other(still) -> None:
    bench = still()
    client, upstream = await opened(bench)
    assert client.protocol.eof_received()
    assert upstream.has_eof
    upstream.protocol.data_received(b"last")
    assert client.take() == b"last"
    assert not upstream.protocol.eof_received()
    await bench.settle()
    assert client.is_closed
    assert upstream.is_closed
    assert (bench.cell.residents, bench.server.tunnels) == (0, 0)
    assert bench.server.upstream_connections == 0


@pytest.mark.parametrize("who", [0, 1], ids=["client", "upstream"])
async def test_a_side_that_speaks_tls_ends_whole_and_nobody_asks_for_less(still, who) -> None:
    """uvloop ends it anyway, and writes a line about who wants to keep it open."""
    bench = still()
    sides = await opened(bench)
    ended, other = sides[who], sides[1 - who]
    ended.can_write_eof = lambda: False
    assert not ended.protocol.eof_received()
    assert other.has_eof
    other.protocol.eof_received()
    await bench.settle()
    assert other.is_closed


@pytest.mark.parametrize("who", [0, 1], ids=["client", "upstream"])
async def test_the_loss_of_one_side_ends_the_other(still, who) -> None:
    bench = still()
    sides = await opened(bench)
    sides[who].lose()
    await bench.settle()
    assert sides[1 - who].is_closed
    assert (bench.cell.residents, bench.server.tunnels) == (0, 0)


async def test_silence_has_a_bound_and_every_byte_renews_it(still) -> None:
    bench = still(timeouts={"tunnel_idle_ns": seconds(10)})
    client, upstream = await opened(bench)
    await bench.advance(seconds(8))
    upstream.protocol.data_received(b"x")
    await bench.advance(seconds(8))
    assert not client.is_closed
    await bench.advance(seconds(3))
    assert client.is_closed
    assert upstream.is_closed
    assert bench.cell.residents == 0


async def test_what_was_sent_ahead_may_be_more_than_the_upstream_takes(still) -> None:
    bench = still(buffer_size=1000)
    client = bench.client()
    upstream = await bench.ask(client, UPGRADE + b"z" * 3000)
    upstream.is_stuck = True
    upstream.protocol.data_received(SWITCH)
    assert upstream.is_blocked
    assert client.is_paused


async def test_a_client_that_had_said_all_before_the_tunnel_opened(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, UPGRADE + b"all")
    assert client.protocol.eof_received()
    upstream.protocol.data_received(SWITCH)
    assert upstream.take().endswith(b"all")
    assert upstream.has_eof
    upstream.protocol.data_received(b"last")
    assert client.take().endswith(b"last")


async def test_a_side_that_has_ended_is_not_read_again(still) -> None:
    """The loop would tell of its end a second time, as if the other side had ended too."""
    bench = still()
    client, upstream = await opened(bench)
    assert client.protocol.eof_received()
    upstream.protocol.pause_writing()
    upstream.protocol.resume_writing()
    assert client.is_paused
    client, upstream = await opened(bench)
    assert upstream.protocol.eof_received()
    client.protocol.pause_writing()
    client.protocol.resume_writing()
    assert upstream.is_paused


async def test_what_comes_with_the_101_is_counted_as_well(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, UPGRADE)
    upstream.protocol.data_received(SWITCH + b"abc")
    upstream.protocol.data_received(b"de")
    assert client.protocol.tunnel._exchange.body_size == 5
