from __future__ import annotations

import os

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire import exchange
from shedproxy.dataplane.wire.upstream_side import INTERIM_ANSWERS_MAX, RESPONSE_HEAD_SIZE_MAX

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_an_answer_may_come_byte_by_byte(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    for byte in OK:
        upstream.protocol.data_received(bytes([byte]))
    assert client.take().endswith(b"\r\n\r\nok")
    assert not upstream.is_closed


@pytest.mark.parametrize("extra", [b"X", OK], ids=["one-byte", "a-second-answer"])
async def test_a_connection_with_anything_left_over_is_not_used_again(still, extra) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK + extra)
    assert client.take().endswith(b"ok")
    assert upstream.is_closed


async def test_a_byte_while_idle_ends_the_connection(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    assert not upstream.is_closed
    upstream.protocol.data_received(b"X")
    assert upstream.is_closed
    assert bench.server.upstream_connections == 0


async def test_an_answer_before_the_request_was_whole_ends_the_connection(still) -> None:
    bench = still(permit_body_size=1)
    client = bench.client()
    upstream = await bench.ask(client, b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 20\r\n\r\nx")
    upstream.protocol.data_received(OK)
    assert upstream.is_closed
    assert b"connection: close" in client.take()


async def test_a_request_that_cannot_be_repeated_avoids_a_dying_connection(still) -> None:
    """U17: the end of an idle connection is looked for before a POST is put on it."""
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    await bench.settle()
    read, write = os.pipe()
    try:
        os.write(write, b"x")
        upstream.socket.fileno = lambda: read
        assert await bench.ask(client, POST) is not upstream
        assert upstream.is_closed
    finally:
        os.close(read)
        os.close(write)


async def test_no_head_in_time_and_no_byte_in_time(still) -> None:
    bench = still(timeouts={"response_ns": seconds(5), "upstream_idle_ns": seconds(2)})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    await bench.advance(seconds(4))
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    for _ in range(3):
        await bench.advance(seconds(1))
        upstream.protocol.data_received(b"x")
    assert not upstream.is_closed
    await bench.advance(seconds(3))
    assert upstream.is_closed
    assert client.is_aborted
    other = bench.client()
    await bench.ask(other, GET)
    await bench.advance(seconds(6))
    assert other.take().startswith(b"HTTP/1.1 504 ")


async def test_a_client_that_makes_it_wait_is_not_the_upstreams_fault(still) -> None:
    bench = still(timeouts={"upstream_idle_ns": seconds(2)}, buffer_size=1)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
    client.protocol.pause_writing()
    await bench.advance(seconds(9))
    assert not upstream.is_closed


async def test_heads_and_interim_answers_are_bounded(still) -> None:
    bench = still()
    for flood in (
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * RESPONSE_HEAD_SIZE_MAX,
        b"HTTP/1.1 103 E\r\n\r\n" * (INTERIM_ANSWERS_MAX + 1),
        b"not http",
    ):
        client = bench.client()
        upstream = await bench.ask(client, GET)
        upstream.protocol.data_received(flood)
        assert b"HTTP/1.1 502 " in client.take()
        assert upstream.is_closed


async def test_a_clean_end_counts_only_where_the_body_has_no_other(still) -> None:
    bench = still()
    for head, is_whole in ((b"", True), (b"Content-Length: 9\r\n", False)):
        client = bench.client()
        upstream = await bench.ask(client, GET)
        upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nab")
        assert not upstream.protocol.eof_received()
        upstream.lose()
        assert client.take().endswith(b"0\r\n\r\n") is is_whole
        assert client.is_aborted is not is_whole


async def test_a_stream_may_be_silent_after_an_event_and_after_a_slow_reader(still) -> None:
    bench = still(timeouts={"upstream_idle_ns": seconds(60), "response_ns": seconds(60)})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    upstream.protocol.data_received(b"data: 1\n\n")
    await bench.advance(seconds(200))
    assert not upstream.is_closed
    client.protocol.pause_writing()
    await bench.advance(seconds(1))
    client.protocol.resume_writing()
    await bench.advance(seconds(200))
    assert not upstream.is_closed
    upstream.protocol.data_received(b"data: 2\n\n")
    assert client.take().endswith(b"data: 2\n\n\r\n")


async def test_a_connection_that_has_not_taken_its_request_is_not_used_again(still) -> None:
    """It may answer a body that it never reads; what it reads next would then be the body."""
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, POST)
    upstream.buffered = 1
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert upstream.is_closed


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"])
async def test_a_bug_in_the_answers_way_costs_no_slot_and_nobody_elses_answer(
    still, monkeypatch, answer
) -> None:
    bench = still()
    told = []
    bench.server.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    client = bench.client()
    upstream = await bench.ask(client, GET)

    def fail(*_):
        raise ValueError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(exchange, "answer_head", fail)
        upstream.protocol.data_received(answer)
    await bench.settle()
    bench.server.loop.set_exception_handler(None)
    assert [str(error) for error in told] == ["bug"]
    assert bench.cell.in_flight == 0
    assert client.is_closed
    assert upstream.is_closed is (answer is not OK)


async def test_what_a_tunnel_said_last_goes_out_but_not_for_ever(still) -> None:
    bench = still(timeouts={"client_write_ns": seconds(3)})
    client = bench.client()
    upstream = await bench.ask(
        client, b"GET / HTTP/1.1\r\nHost: e\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    upstream.protocol.data_received(
        b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    upstream.buffered = 5
    upstream.close = lambda: None  # the kernel does not take it
    client.lose()
    await bench.advance(seconds(2))
    assert not upstream.is_aborted
    await bench.advance(seconds(2))
    assert upstream.is_aborted
