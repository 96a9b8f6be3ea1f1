"""Clients that are slow, leave, or send what is no request: the C numbers of the fault table."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.observability.fault import Fault
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
TWO_FRAMINGS = (
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)


def faults(proxy, fault: Fault, cell: int = 0) -> int:
    return proxy.driver.meter.faults(cell, fault)


async def hang(talk) -> None:
    await talk.head()
    await talk.closed()


async def test_what_comes_too_late_to_be_served_does_not_destroy_the_last_answer(bench) -> None:
    """Closing a socket with unread bytes resets it, and the reset takes answers with it."""
    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(upstream.url, proxy={"requests_per_connection_max": 1})
    client = await proxy.connect()
    client.send(GET)
    await eventually_async(lambda: upstream.heads)
    sock = client.writer.get_extra_info("socket")
    (end,) = proxy.server.clients
    os.write(sock.fileno(), GET)
    # Not a turn of the loop between: the kernel has it, and nobody else.
    end.exchange.upstream.data_received(OK)
    answer = await client.answer()
    assert (answer.status, answer.field("connection"), answer.body) == (200, "close", b"hello")
    os.write(sock.fileno(), GET)
    assert not await client.is_reset()


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "close"])
async def test_a_client_that_leaves_in_its_body_frees_the_slot(bench, is_reset) -> None:
    """C1: and the upstream never sees a complete request."""
    ends = []

    async def handle(talk) -> None:
        await talk.head()
        ends.append(await talk.closed())

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 500000\r\n\r\n" + b"x" * 100_000)
    await eventually_async(lambda: upstream.heads)
    if is_reset:
        client.reset()
    else:
        client.close()
    await proxy.idle()
    await eventually_async(lambda: ends)
    assert len(ends[0]) < 500_000
    assert faults(proxy, Fault.CLIENT_GONE) == 1


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "close"])
@pytest.mark.parametrize("cancels", ["true", "auto"])
async def test_a_client_that_leaves_while_waiting(bench, cancels, is_reset) -> None:
    """C2: the upstream's connection is closed at once; a close counts like a reset."""
    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(upstream.url, upstream={"cancels": cancels})
    client = await proxy.connect()
    client.send(GET)
    await eventually_async(lambda: upstream.heads)
    if is_reset:
        client.reset()
    else:
        client.close()
    await eventually_async(lambda: upstream.open == 0, within_s=2)
    assert faults(proxy, Fault.CLIENT_GONE) == 1
    await proxy.idle()


async def test_work_that_goes_on_without_its_client_keeps_its_slot_for_a_while(bench) -> None:
    """A service that drops the connection may work on: its slot stays for the expected rest."""

    async def handle(talk) -> None:
        while True:
            head = await talk.head()
            if b"/hang" in head:
                await talk.closed()
                return
            await asyncio.sleep(0.3)
            talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(2):
        assert (await client.ask(GET)).status == 200
    leaver = await proxy.connect()
    leaver.send(b"GET /hang HTTP/1.1\r\nHost: e\r\n\r\n")
    await eventually_async(lambda: len(upstream.heads) == 3)
    leaver.reset()
    await eventually_async(lambda: proxy.server.upstream_connections == 0)
    assert (proxy.cell.in_flight, proxy.cell.zombies) == (1, 1)
    await eventually_async(lambda: proxy.cell.in_flight == 0)
    assert proxy.cell.zombies == 0


@pytest.mark.parametrize("cancels", ["auto", "false"])
async def test_work_that_cannot_be_stopped_keeps_its_slot_until_its_answer(bench, cancels) -> None:
    """A sync worker does not see that its client has left; its answer is the end of its work."""
    goes_on = asyncio.Event()

    async def handle(talk) -> None:
        await talk.head()
        await goes_on.wait()
        talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, upstream={"cancels": cancels})
    leaver = await proxy.connect()
    leaver.send(GET)
    await eventually_async(lambda: upstream.heads)
    leaver.reset()
    await eventually_async(lambda: proxy.cell.zombies == 1)
    assert proxy.cell.in_flight == 1
    goes_on.set()
    await eventually_async(lambda: proxy.cell.in_flight == 0)
    assert proxy.cell.zombies == 0


@pytest.mark.fault("C3")
async def test_a_slow_head_is_a_408_and_holds_no_slot(bench, figure) -> None:
    """C3."""
    proxy = await bench.proxy("http://127.0.0.1:9", timeouts={"client_head_ns": milliseconds(150)})
    client = await proxy.connect()
    client.send(b"GET / HT")
    assert proxy.cell.in_flight == 0
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (408, "close")
    assert faults(proxy, Fault.HEAD_TIMEOUT, cell=-1) == 1
    assert await client.rest() == b""
    figure("408 at the bound of 150 ms, 0 slots held")


async def test_a_silent_connection_is_closed(bench) -> None:
    """C6."""
    proxy = await bench.proxy("http://127.0.0.1:9", timeouts={"client_head_ns": milliseconds(100)})
    assert await (await proxy.connect()).rest() == b""


async def test_an_idle_connection_is_closed_without_a_word(bench, answering) -> None:
    """C6."""
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url, timeouts={"client_idle_ns": milliseconds(100)})
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 200
    assert await client.rest() == b""


@pytest.mark.fault("C4")
async def test_a_slow_body_takes_no_slot_and_ends_in_a_408(bench, figure) -> None:
    """C4: before the body is in, nothing is in flight."""
    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(upstream.url, timeouts={"client_body_ns": milliseconds(150)})
    client = await proxy.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 100\r\n\r\nx")
    await eventually_async(lambda: len(proxy.server.clients) == 1)
    assert proxy.cell.in_flight == 0
    answer = await client.answer()
    assert (answer.status, answer.field("shedproxy-reason")) == (408, "body_timeout")
    assert upstream.connections == 0
    figure("a body that does not come: no slot, 408 after client_body")


@pytest.mark.fault("C4")
async def test_a_body_that_stops_after_its_permit_gives_the_slot_back(bench, figure) -> None:
    """C4."""
    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(upstream.url, timeouts={"client_body_ns": milliseconds(150)})
    client = await proxy.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 900000\r\n\r\n" + b"x" * 70_000)
    await eventually_async(lambda: proxy.cell.in_flight == 1)
    assert (await client.answer()).status == 408
    await proxy.idle()
    await eventually_async(lambda: upstream.open == 0)
    figure("one that stops after 70 kB: 408, the slot is back")


@pytest.mark.fault("C5")
async def test_a_reader_that_does_not_read_is_dropped_and_frees_the_slot(bench, figure) -> None:
    """C5: the answer is larger than what is held for it."""
    size = 50_000_000

    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            talk.send(b"x" * 100_000)
            await talk.drain()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(
        upstream.url,
        timeouts={"client_write_ns": milliseconds(300)},
        proxy={"buffer_size": 64 * 1024},
        upstream={"cancels": "true"},
    )
    client = await proxy.connect()
    client.writer.transport.pause_reading()
    client.send(GET)
    await eventually_async(lambda: faults(proxy, Fault.SLOW_CLIENT) == 1)
    await proxy.idle()
    await eventually_async(lambda: not proxy.server.clients)
    await eventually_async(lambda: upstream.open == 0)
    figure("50 MB that nobody reads: dropped after client_write, the slot is back")


@pytest.mark.fault("C5")
async def test_a_reader_of_http_1_0_that_is_dropped_does_not_take_a_part_for_all(bench) -> None:
    """C5: the answer has come whole, and has no end but that of the connection."""
    size = 20_000

    async def handle(talk) -> None:
        await talk.head()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        talk.send(head + b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n")

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts={"client_write_ns": milliseconds(300)})
    proxy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.connect(("127.0.0.1", proxy.port))
    sock.setblocking(False)  # noqa: FBT003
    client = await proxy.adopt(sock, limit=1)
    client.send(b"GET / HTTP/1.0\r\nHost: e\r\n\r\n")
    await eventually_async(lambda: upstream.heads)
    await eventually_async(lambda: not (proxy.server.clients or proxy.kept))
    assert await client.is_reset()


@pytest.mark.fault("C5")
async def test_an_answer_that_fits_the_buffer_frees_the_slot_before_it_is_read(
    bench, figure
) -> None:
    """C5: what the reader takes its time for is no load on the upstream."""
    size = 6_000_000

    async def handle(talk) -> None:
        while True:
            await talk.head()
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, proxy={"buffer_size": 16_000_000})
    client = await proxy.connect()
    client.writer.transport.pause_reading()
    client.send(GET)
    await eventually_async(lambda: proxy.driver.meter.finished(0) == 1)
    await proxy.idle()
    client.writer.transport.resume_reading()
    assert len((await client.answer()).body) == size
    figure("an answer that fits the buffer gives its slot back unread")


@pytest.mark.fault("C8")
async def test_garbage_after_a_good_request_is_a_400_and_the_end(bench, answering, figure) -> None:
    """C8."""
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET + b"\x16\x03\x01 nonsense\r\n\r\n" + GET)
    assert (await client.answer()).status == 200
    answer = await client.answer()
    assert (answer.status, answer.field("shedproxy-reason")) == (400, "bad_request")
    assert await client.rest() == b""
    assert len(upstream.heads) == 1
    figure("200 for the good one, then 400 and the end")


@pytest.mark.fault("C9")
async def test_a_half_closed_client_still_gets_its_answer(bench, figure) -> None:
    """C9: it may be asked with a 100 whether it is still there."""
    go = asyncio.Event()

    async def handle(talk) -> None:
        await talk.head()
        await go.wait()
        talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET)
    client.half_close()
    assert (await client.answer()).status == 100
    await asyncio.sleep(0.4)
    go.set()
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"hello")
    assert await client.rest() == b""
    await proxy.idle()
    figure("the answer arrives whole")


async def test_a_half_closed_client_of_http_1_0_is_not_asked(bench) -> None:
    """C9."""

    async def handle(talk) -> None:
        await talk.head()
        await asyncio.sleep(0.1)
        talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    client.half_close()
    assert (await client.rest()).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (
            TWO_FRAMINGS,
            400,
        ),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nContent-Length: 1\r\n\r\nx", 417),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 120 + b"\r\n", 431),
    ],
)
async def test_what_is_no_request_is_answered_and_the_connection_ends(
    bench, answering, raw, status
) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(raw)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (status, "close")
    client.send(GET)
    assert await client.rest() == b""
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "body", [b"zz\r\nabc", b"3\nabc\n", b"3\r\nabcX", b"-1\r\n", b"3;" + b"a" * 999]
)
async def test_a_broken_chunk_is_a_400_and_the_upstream_gets_no_whole_request(bench, body) -> None:
    ends = []

    async def handle(talk) -> None:
        await talk.head()
        ends.append(await talk.closed())

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, proxy={"permit_body_size": 1})
    client = await proxy.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    await eventually_async(lambda: upstream.heads)
    client.send(body)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (400, "close")
    await eventually_async(lambda: ends)
    assert ends == [b"1\r\nx\r\n"]
    await proxy.idle()


@pytest.mark.fault("C10")
async def test_connections_over_the_bound_are_told_so(bench, figure) -> None:
    """C10: where nobody can be asked to go."""
    asked = asyncio.Semaphore(0)

    async def handle(talk) -> None:
        await talk.head()
        asked.release()
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, proxy={"connections_max": 2})
    first, second = await proxy.connect(), await proxy.connect()
    for client in (first, second):
        client.send(GET)
        await asked.acquire()
    third = await proxy.connect()
    third.send(GET)
    answer = await third.answer()
    assert (answer.status, answer.field("shedproxy-reason")) == (503, "connection_limit")
    assert await third.rest() == b""
    second.close()
    await eventually_async(lambda: len(proxy.server.clients) == 1)
    (await proxy.connect()).send(GET)
    await asked.acquire()
    figure("over connections_max: 503 connection_limit; a freed place is taken at once")


async def test_slots_do_not_leak_whenever_a_client_leaves(bench) -> None:
    """A12: aborts in every phase, capacity before is capacity after."""

    async def handle(talk) -> None:
        while True:
            await talk.head()
            await asyncio.sleep(0.005)
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
            await asyncio.sleep(0.005)
            talk.send(b"x" * 200_000)
            await talk.drain()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, limit=4)

    async def leave(after: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(GET)
        await asyncio.sleep(after)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )
        writer.transport.abort()

    began = time.monotonic()
    await asyncio.gather(*(leave(n * 0.001) for n in range(80)))
    await proxy.idle()
    assert time.monotonic() - began < 10
    await eventually_async(lambda: not proxy.server.clients)
    clients = [await proxy.connect() for _ in range(4)]
    answers = await asyncio.gather(*(client.ask(GET) for client in clients))
    assert [answer.status for answer in answers] == [200] * 4


async def test_a_body_over_the_bound_is_a_413(bench) -> None:
    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(
        upstream.url, proxy={"body_size_max": 10}, timeouts={"response_ns": seconds(9)}
    )
    client = await proxy.connect()
    answer = await client.ask(
        b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 11\r\n\r\n" + b"x" * 11
    )
    assert answer.status == 413
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"8\r\n12345678\r\n" * 2)
    answer = await client.answer()
    assert answer.status == 413
    assert upstream.connections == 0
    await proxy.idle()
