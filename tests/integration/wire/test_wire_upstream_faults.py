"""Upstreams that fail, in every way of the fault table (the U numbers) that needs no network."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.observability.fault import Fault
from shedproxy.testing import eventually_async, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\nabc"


def faults(proxy, fault: Fault) -> int:
    return proxy.driver.meter.faults(0, fault)


async def test_refused_connect_is_a_quick_502_with_its_reason(bench) -> None:
    """U1."""
    proxy = await bench.proxy(f"http://127.0.0.1:{free_port()}", upstream={"fail_after": 9})
    client = await proxy.connect()
    began = time.monotonic()
    for _ in range(2):
        answer = await client.ask(GET)
        assert answer.status == 502
        assert answer.field("shedproxy-reason") == "upstream_connect"
    assert time.monotonic() - began < 2
    assert faults(proxy, Fault.UPSTREAM_CONNECT) == 2
    await proxy.idle()


async def test_refused_connect_tries_another_upstream_once(bench, answering) -> None:
    """U1."""
    upstream = await bench.upstream(answering(OK))
    dead = f"http://127.0.0.1:{free_port()}"
    proxy = await bench.proxy(dead, upstream.url)
    client = await proxy.connect()
    for request in (GET, POST) * 5:
        assert (await client.ask(request)).status == 200
    await proxy.idle()


async def test_no_upstream_in_service_is_a_refusal(bench) -> None:
    proxy = await bench.proxy(
        f"http://127.0.0.1:{free_port()}",
        upstream={"fail_after": 1, "retry_after_ns": seconds(9)},
    )
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 502
    answer = await client.ask(GET)
    assert (answer.status, answer.field("shedproxy-reason")) == (503, "no_upstream")
    assert len(answer.field("shedproxy-id")) == 13
    await proxy.idle()


async def test_an_upstream_comes_back_after_a_probe(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    await upstream.aclose()
    proxy = await bench.proxy(
        upstream.url, upstream={"fail_after": 1, "retry_after_ns": milliseconds(50)}
    )
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 502
    await bench.upstream(answering(OK), upstream.port)

    async def is_back() -> bool:
        return (await client.ask(GET)).status == 200

    await eventually_async(is_back)


async def test_connect_that_is_not_answered_ends_in_time(bench) -> None:
    """U2, as far as loopback can: a full backlog drops SYNs."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        fill = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fill.append(filler)
        proxy = await bench.proxy(
            f"http://127.0.0.1:{address[1]}", timeouts={"connect_ns": milliseconds(150)}
        )
        client = await proxy.connect()
        answer = await client.ask(GET)
        assert answer.status == 504
        assert answer.field("shedproxy-reason") == "upstream_connect_timeout"
        for filler in fill:
            filler.close()
    await proxy.idle()


async def test_reset_on_accept_is_a_502_and_leaks_nothing(bench) -> None:
    """U3."""

    async def handle(talk) -> None:
        talk.reset()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, upstream={"fail_after": 99})
    client = await proxy.connect()
    for request in (GET, POST, GET):
        answer = await client.ask(request)
        assert (answer.status, answer.field("shedproxy-reason")) == (502, "upstream_closed")
    await proxy.idle()
    await eventually_async(lambda: proxy.server.upstream_connections == 0)


async def test_no_answer_is_a_504_at_the_budget_and_frees_the_slot(bench) -> None:
    """U5."""

    async def handle(talk) -> None:
        await talk.head()
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts={"response_ns": milliseconds(200)})
    client = await proxy.connect()
    began = time.monotonic()
    answer = await client.ask(GET)
    assert (answer.status, answer.field("shedproxy-reason")) == (504, "upstream_timeout")
    assert 0.19 < time.monotonic() - began < 2
    await proxy.idle()
    await eventually_async(lambda: upstream.open == 0)


async def test_the_time_a_caller_has_left_bounds_the_wait(bench) -> None:
    async def handle(talk) -> None:
        await talk.head()
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    began = time.monotonic()
    answer = await client.ask(b"GET / HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 150\r\n\r\n")
    assert answer.status == 504
    assert time.monotonic() - began < 2
    assert b"x-request-timeout-ms: 1" in upstream.heads[0]
    await proxy.idle()


async def test_an_upstream_that_never_reads_ends_in_a_504_with_bounded_memory(bench) -> None:
    """U6."""

    async def handle(talk) -> None:
        talk.writer.transport.pause_reading()
        await asyncio.sleep(30)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(
        upstream.url,
        timeouts={"response_ns": milliseconds(400)},
        proxy={"buffer_size": 64 * 1024},
    )
    client = await proxy.connect()
    client.writer.transport.set_write_buffer_limits(high=0)
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 99000000\r\n\r\n")

    async def send() -> None:
        while True:
            client.send(b"y" * 65536)
            await client.writer.drain()

    sending = asyncio.create_task(send())
    answer = await client.answer()
    assert answer.status == 504
    sending.cancel()
    await proxy.idle()


async def test_an_upstreams_own_503_passes_through_and_is_told_from_ours(bench, answering) -> None:
    """U7."""
    raw = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
    upstream = await bench.upstream(answering(raw))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    answer = await client.ask(GET)
    assert (answer.status, answer.body, answer.field("retry-after")) == (503, b"busy", "7")
    assert answer.field("shedproxy-reason") is None
    assert upstream.connections == 1
    await proxy.idle()


async def test_failing_fast_draws_no_traffic(bench, answering) -> None:
    """U7: the black hole is not attractive."""
    bad = await bench.upstream(answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))

    async def slow(talk) -> None:
        while True:
            await talk.head()
            await asyncio.sleep(0.01)
            talk.send(OK)

    good = await bench.upstream(slow)
    proxy = await bench.proxy(bad.url, good.url)
    clients = [await proxy.connect() for _ in range(4)]
    for _ in range(15):
        await asyncio.gather(*(client.ask(GET) for client in clients))
    assert len(good.heads) > 2 * len(bad.heads)


async def test_a_late_first_byte_is_answered_inside_the_budget(bench) -> None:
    """U10."""

    async def handle(talk) -> None:
        await talk.head()
        await asyncio.sleep(0.3)
        talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    assert (await (await proxy.connect()).ask(GET)).status == 200


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "close"])
@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["sized", "chunked"],
)
async def test_a_cut_body_is_seen_to_be_cut(bench, begun, is_reset) -> None:
    """U11, U12, U13: no clean end, and never a last chunk."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(begun)
        await talk.drain()
        await asyncio.sleep(0.05)
        if is_reset:
            talk.reset()
        else:
            talk.close()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET)
    raw = await client.rest()
    assert not raw.endswith(b"0\r\n\r\n")
    assert faults(proxy, Fault.UPSTREAM_CLOSED) == 1
    await proxy.idle()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_reset_of_a_body_that_lasts_until_close_is_seen(bench, version) -> None:
    """U11 for the one framing that hides a cut."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await talk.drain()
        await asyncio.sleep(0.05)
        talk.reset()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"GET / HTTP/" + version + b"\r\nHost: e\r\n\r\n")
    assert await client.is_reset()


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\nConte", b"H"], ids=["empty", "cut-head", "one-byte"]
)
async def test_a_cut_head_is_a_502(bench, begun) -> None:
    """U14."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(begun)
        await talk.drain()
        talk.close()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    answer = await client.ask(GET)
    assert (answer.status, answer.field("shedproxy-reason")) == (502, "upstream_closed")
    await proxy.idle()


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
    ],
    ids=["ssh", "bare-lf", "two-lengths", "two-framings", "unasked-101", "http2"],
)
async def test_what_is_not_http_is_a_502_and_the_connection_is_not_used_again(
    bench, answering, garbage
) -> None:
    """U15."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(garbage)
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts={"response_ns": seconds(2)})
    client = await proxy.connect()
    for expected in (1, 2):
        client.send(GET)
        answer = await client.answer()
        assert answer.status in {502, 504}
        assert upstream.connections == expected
    await proxy.idle()


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        (b"GET", OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"),
        (b"HEAD", OK),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\njunk"),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    ],
    ids=["second-answer", "head-with-body", "204-with-body", "after-last-chunk", "framed-204"],
)
async def test_bytes_after_an_answer_never_reach_the_next_client(bench, method, raw) -> None:
    """U16: the connection is not used again."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(raw)
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for expected in (1, 2):
        client.send(method + b" / HTTP/1.1\r\nHost: e\r\n\r\n")
        answer = await client.answer(head=method == b"HEAD")
        assert b"stolen" not in answer.body
        assert upstream.connections == expected
    await eventually_async(lambda: upstream.open == 0)


async def test_late_bytes_on_an_idle_connection_close_it(bench) -> None:
    """U16."""
    late = asyncio.Event()

    async def handle(talk) -> None:
        await talk.head()
        talk.send(OK)
        await late.wait()
        talk.send(OK)
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 200
    late.set()
    await eventually_async(lambda: proxy.server.upstream_connections == 0)


async def test_an_idle_connection_that_the_upstream_closes_is_noticed(bench) -> None:
    """U17."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(OK)
        await talk.drain()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(20):
        for request in (GET, POST):
            assert (await client.ask(request)).status == 200
            await eventually_async(lambda: proxy.server.upstream_connections == 0)


async def test_a_get_that_races_the_upstreams_close_is_healed_unseen(bench) -> None:
    """U17: the second request on a connection finds it closed."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(OK)
        await talk.drain()
        await talk.head()
        talk.upstream.heads.pop()
        talk.reset()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(6):
        assert (await client.ask(GET)).status == 200
    assert faults(proxy, Fault.UPSTREAM_CLOSED) == 0
    assert b"x-envoy-attempt-count: 2\r\n" in upstream.heads[1]
    await proxy.idle()


async def test_a_post_that_was_sent_is_never_sent_twice(bench) -> None:
    """U4, U17."""
    seen = 0

    async def handle(talk) -> None:
        nonlocal seen
        await talk.head()
        talk.send(OK)
        await talk.drain()
        await talk.head()
        seen += 1
        talk.reset()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 200
    assert (await client.ask(POST)).status == 502
    assert seen == 1


async def test_a_trickling_answer_gives_its_slot_back_and_still_arrives(bench) -> None:
    """U22."""
    step = asyncio.Semaphore(0)

    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        for _ in range(40):
            await step.acquire()
            talk.send(b"x")

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts={"response_ns": milliseconds(100)})
    client = await proxy.connect()
    client.send(GET)

    async def trickle() -> bool:
        step.release()
        return proxy.cell.in_flight == 0 and proxy.cell.residents == 1

    await eventually_async(trickle)
    for _ in range(40):
        step.release()
    assert (await client.answer()).body == b"x" * 40
    await proxy.idle()


async def test_a_body_that_stops_coming_is_cut(bench) -> None:
    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nx")
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts={"upstream_idle_ns": milliseconds(100)})
    client = await proxy.connect()
    client.send(GET)
    await client.rest()
    assert faults(proxy, Fault.UPSTREAM_TIMEOUT) == 1
    await proxy.idle()


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"y" * 200_000,
        b"HTTP/1.1 103 Early\r\n\r\n" * 2000,
    ],
    ids=["huge-head", "endless-head", "1xx-flood"],
)
async def test_heads_without_end_are_a_502(bench, flood) -> None:
    """U23."""

    async def handle(talk) -> None:
        await talk.head()
        talk.send(flood)
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET)
    answer = await client.answer()
    while answer.status == 103:
        answer = await client.answer()
    assert (answer.status, answer.field("shedproxy-reason")) == (502, "upstream_bad_response")
    await proxy.idle()


async def test_an_early_answer_is_passed_on_and_nothing_gets_out_of_step(bench) -> None:
    """U24."""

    async def handle(talk) -> None:
        head = await talk.head()
        if b"POST" in head:
            await talk.exactly(100_000)
            talk.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            await talk.closed()
        else:
            talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 150_000)
    answer = await client.answer()
    assert (answer.status, answer.body) == (413, b"big")
    assert answer.field("connection") == "close"
    client.send(GET)
    assert await client.rest() == b""
    await proxy.idle()
    assert (await (await proxy.connect()).ask(GET)).status == 200
    assert upstream.connections == 2


async def test_an_early_answer_is_read_before_a_write_finds_the_connection_reset(bench) -> None:
    """U24. Else it would be lost, and the upstream soon out of service for everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = await bench.proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(4):
            client = await proxy.connect()
            client.send(b"PUT / HTTP/1.1\r\nHost: e\r\nContent-Length: 500000\r\n\r\n")
            client.send(b"x" * 100_000)
            await eventually_async(
                lambda: [e for e in proxy.server.clients if e.exchange and e.exchange.upstream]
            )
            (end,) = (e for e in proxy.server.clients if e.exchange)
            upstream, _ = listener.accept()
            with upstream:
                assert upstream.recv(1)
                upstream.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            # Not a turn of the loop between: more of the body is read before the answer is.
            end.data_received(b"x" * 1000)
            answer = await client.answer()
            assert (answer.status, answer.body) == (413, b"big")
            await proxy.idle()


async def test_a_body_goes_on_after_an_interim_answer_in_its_order(bench) -> None:
    """What was held back until that was read is not lost, nor is the connection."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = await bench.proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
        client = await proxy.connect()
        client.send(
            b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 100003\r\n\r\n" + b"x" * 100_000
        )
        await eventually_async(
            lambda: [e for e in proxy.server.clients if e.exchange and e.exchange.upstream]
        )
        (end,) = proxy.server.clients
        upstream, _ = listener.accept()
        with upstream:
            upstream.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            for piece in (b"a", b"b", b"c"):
                end.data_received(piece)
            assert (await client.answer()).status == 103
            received = b""
            while not received.endswith(b"abc"):
                received += await loop.run_in_executor(None, upstream.recv, 1 << 16)
            upstream.sendall(OK)
            assert (await client.answer()).status == 200
            assert proxy.server.upstream_connections == 1
    await proxy.idle()


async def test_uploads_that_a_service_resets_do_not_take_it_from_everybody(bench) -> None:
    """That it wants none of a body which it has not had in full says nothing of the service."""

    async def handle(talk) -> None:
        while b"POST" not in await talk.head():
            talk.send(OK)
        await talk.exactly(100_000)
        talk.reset()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    for _ in range(4):
        client = await proxy.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 500000\r\n\r\n")
        client.send(b"x" * 150_000)
        assert (await client.answer()).status == 502
    assert (await (await proxy.connect()).ask(GET)).status == 200
    await proxy.idle()
