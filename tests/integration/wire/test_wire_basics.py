"""What HTTP promises both sides, byte by byte."""

from __future__ import annotations

import asyncio

import pytest
from harness.wire_bench import answering_after

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


async def test_a_head_may_come_byte_by_byte(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for byte in GET:
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200


@pytest.mark.fault("C7")
async def test_sixteen_pipelined_requests_are_answered_in_order_one_at_a_time(
    bench, figure
) -> None:
    """C7, A23."""
    at_once = 0

    async def handle(talk) -> None:
        nonlocal at_once
        while True:
            head = await talk.head()
            at_once += 1
            assert at_once == 1
            await asyncio.sleep(0.001)
            number = head.split(b" ")[1][1:]
            at_once -= 1
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(number), number))

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: e\r\n\r\n" % n for n in range(16)))
    for number in range(16):
        assert (await client.answer()).body == b"%d" % number
    await proxy.idle()
    figure("16 of 16 in order, never more than one at the upstream")


async def test_pipelined_bytes_are_bounded(bench) -> None:
    """A23: who sends ahead without end is not read any more."""
    go = asyncio.Event()

    upstream = await bench.upstream(answering_after(go, OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.writer.transport.set_write_buffer_limits(high=0)
    client.send(GET * 400_000)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.writer.drain(), 0.3)
    go.set()
    for _ in range(100):
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("method", "raw", "kept"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 500\r\n\r\n", True),
        (b"GET", b"HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n", True),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nDate: D\r\nContent-Length: 9\r\n\r\n", True),
        (b"GET", b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    bench, answering, method, raw, kept
) -> None:
    upstream = await bench.upstream(answering(raw))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(2):
        client.send(method + b" / HTTP/1.1\r\nHost: e\r\n\r\n")
        answer = await client.answer(head=True)
        assert answer.head.split(b" ", 1)[1] == (
            raw.split(b" ", 1)[1].replace(b"Content-L", b"content-l").replace(b"Date", b"date")
        )
    assert upstream.connections == 1


async def test_a_sized_body_reaches_the_upstream_unchanged(bench) -> None:
    async def handle(talk) -> None:
        while True:
            head = await talk.head()
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await talk.exactly(size)
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body))

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for size in (1, 1000, 64 * 1024, 300_000):
        body = bytes(range(256)) * (size // 256 + 1)
        body = body[:size]
        head = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % size
        answer = await client.ask(head + body)
        assert (answer.status, answer.body) == (200, body)
    assert upstream.connections == 1
    await proxy.idle()


async def test_a_chunked_body_goes_both_ways_and_its_trailers_do_not(bench) -> None:
    bodies = []

    async def handle(talk) -> None:
        while True:
            head = await talk.head()
            assert b"transfer-encoding: chunked" in head
            body = await talk.until(b"0\r\n\r\n")
            bodies.append(body)
            talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            talk.send(b"3;ext=1\r\nabc\r\n")
            await asyncio.sleep(0.01)
            talk.send(b"2\r\nde\r\n0\r\nX-Late: 1\r\n\r\n")

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(2):
        client.send(b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"1\r\nx\r\n")
        await asyncio.sleep(0.01)
        client.send(b"2\r\nyz\r\n0\r\nAuthorization: late\r\n\r\n")
        answer = await client.answer()
        assert answer.body == b"abcde"
    assert bodies == [b"3\r\nxyz\r\n0\r\n\r\n"] * 2
    assert upstream.connections == 1


async def test_http_1_0_gets_a_body_that_lasts_until_close(bench, answering) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    upstream = await bench.upstream(answering(chunked))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"GET / HTTP/1.0\r\nHost: e\r\nConnection: keep-alive\r\n\r\n")
    raw = await client.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"abc"
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head


async def test_http_1_0_keeps_its_connection_when_it_asks(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(2):
        answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert answer.field("connection") == "keep-alive"
    answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert answer.field("connection") == "close"
    assert await client.rest() == b""


async def test_a_body_until_close_becomes_chunks(bench) -> None:
    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await talk.drain()
        talk.close()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(2):
        answer = await client.ask(GET)
        assert answer.field("transfer-encoding") == "chunked"
        assert answer.body == b"hello"
    assert upstream.connections == 2


async def test_an_expected_100_comes_from_the_proxy_before_the_body(bench) -> None:
    async def handle(talk) -> None:
        head = await talk.head()
        assert b"expect" not in head.lower()
        assert await talk.exactly(3) == b"abc"
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(b"abc")
    assert (await client.answer()).status == 200


async def test_other_interim_answers_are_passed_on(bench, answering) -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    upstream = await bench.upstream(answering(raw))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET)
    interim = await client.answer()
    assert (interim.status, interim.field("link")) == (103, "</a>")
    assert (await client.answer()).status == 200
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (await client.answer()).status == 200


async def test_connection_close_is_honoured_on_both_sides(bench) -> None:
    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(GET)).field("connection") is None
    answer = await client.ask(b"GET / HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n")
    assert answer.field("connection") == "close"
    assert await client.rest() == b""
    assert upstream.connections == 2


async def test_requests_per_connection_are_bounded_when_asked(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url, proxy={"requests_per_connection_max": 2})
    client = await proxy.connect()
    assert (await client.ask(GET)).field("connection") is None
    assert (await client.ask(GET)).field("connection") == "close"
    assert await client.rest() == b""


async def test_big_bodies_go_both_ways_with_little_held(bench) -> None:
    """The buffers are bounded: a reader that waits makes the writer wait."""
    size = 64 * 1024 * 1024
    taken = asyncio.Event()

    async def handle(talk) -> None:
        await talk.head()
        await taken.wait()
        left = size
        while left:
            left -= len(await talk.reader.read(min(left, 65536)))
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            talk.send(b"x" * 65536)
            await talk.drain()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, proxy={"buffer_size": 64 * 1024})
    client = await proxy.connect()
    client.writer.transport.set_write_buffer_limits(high=0)
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % size)

    async def send() -> None:
        for _ in range(size // 65536):
            client.send(b"y" * 65536)
            await client.writer.drain()

    sending = asyncio.create_task(send())
    await asyncio.sleep(0.2)
    assert not sending.done()
    taken.set()
    await asyncio.wait_for(sending, 20)
    answer = await client.answer()
    assert len(answer.body) == size
    await proxy.idle()
