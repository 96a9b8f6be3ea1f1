"""Expect: 100-continue on real sockets: whose 100 it is, who waits for whom, what a no costs."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b" / HTTP/1.1\r\nHost: e\r\nExpect: 100-continue\r\n"
CHUNKED = b"POST" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZE = 70_000
LARGE = b"POST" + HEAD + b"Content-Length: %d\r\n\r\n" % SIZE
BODY = b"x" * SIZE
ASK = b"\r\nexpect: 100-continue\r\n"


def thinking(go: asyncio.Event, answer: bytes = CONTINUE):
    """Says `answer` to the head when it is let; after a 100 it reads the body, and says OK."""

    async def handle(talk) -> None:
        while True:
            await talk.head()
            await go.wait()
            talk.send(answer)
            if answer is not CONTINUE:
                talk.upstream.after = await talk.closed()
                return
            assert await talk.exactly(SIZE) == BODY
            talk.send(OK)

    return handle


async def silent(talk) -> None:
    """Knows nothing of expectations."""
    while True:
        await talk.head()
        assert await talk.exactly(SIZE) == BODY
        talk.send(OK)


async def test_100_comes_from_the_upstream_and_not_before(bench) -> None:
    go = asyncio.Event()
    upstream = await bench.upstream(thinking(go))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    for _ in range(2):
        client.send(LARGE)
        answer = asyncio.create_task(client.answer())
        await eventually_async(lambda: upstream.heads, what="the head")
        await asyncio.sleep(0.05)
        assert not answer.done()
        assert ASK in upstream.heads.pop()
        go.set()
        assert (await answer).status == 100
        client.send(BODY)
        assert (await client.answer()).status == 200
        go.clear()
    assert upstream.connections == 1


@pytest.mark.parametrize("status", [401, 413, 417])
@pytest.mark.parametrize("head", [LARGE, CHUNKED], ids=["sized", "chunked"])
async def test_a_no_is_passed_on_and_nobody_sends_a_body(bench, status, head) -> None:
    go = asyncio.Event()
    go.set()
    no = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status
    upstream = await bench.upstream(thinking(go, no))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    answer = await client.ask(head)
    assert (answer.status, answer.body) == (status, b"no")
    assert answer.field("connection") == "close"
    client.send(BODY + LARGE)
    assert await client.rest() == b""
    await eventually_async(lambda: not upstream.open, what="upstream connection closed")
    assert upstream.after == b""
    assert len(upstream.heads) == 1


async def test_an_upstream_that_ignores_it_hangs_nobody(bench) -> None:
    upstream = await bench.upstream(silent)
    proxy = await bench.proxy(upstream.url, timeouts={"expect_continue_ns": milliseconds(100)})
    client = await proxy.connect()
    began = asyncio.get_running_loop().time()
    assert (await client.ask(LARGE)).status == 100
    assert asyncio.get_running_loop().time() - began >= 0.1
    client.send(BODY)
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("size", "timeouts"),
    [(1000, {}), (SIZE, {"expect_continue_ns": 0})],
    ids=["small", "never asked"],
)
async def test_where_no_upstream_is_asked_the_proxy_lets_the_body_come(
    bench, size, timeouts
) -> None:
    async def handle(talk) -> None:
        await talk.head()
        await talk.exactly(size)
        talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts=timeouts)
    client = await proxy.connect()
    head = b"POST" + HEAD + b"Content-Length: %d\r\n\r\n" % size
    assert (await client.ask(head)).status == 100
    assert not upstream.heads
    client.send(b"x" * size)
    assert (await client.answer()).status == 200
    assert ASK not in upstream.heads[0]


async def test_who_does_not_wait_is_not_waited_for(bench) -> None:
    upstream = await bench.upstream(silent)
    proxy = await bench.proxy(upstream.url, timeouts={"expect_continue_ns": seconds(60)})
    client = await proxy.connect()
    for pieces in ((LARGE + BODY,), (LARGE, BODY), (LARGE + BODY[:1], BODY[1:])):
        for piece in pieces:
            client.send(piece)
            await asyncio.sleep(0.02)
        assert (await client.answer()).status == 200
    assert upstream.connections == 1


async def test_http_1_0_expects_nothing(bench) -> None:
    upstream = await bench.upstream(silent)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(LARGE.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY)
    assert (await client.answer()).status == 200
    assert ASK not in upstream.heads[0]


async def test_hints_go_through_before_the_100(bench) -> None:
    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + CONTINUE)
        await talk.exactly(SIZE)
        talk.send(OK)

    proxy = await bench.proxy((await bench.upstream(handle)).url)
    client = await proxy.connect()
    client.send(LARGE)
    assert [(await client.answer()).status for _ in range(2)] == [103, 100]
    client.send(BODY)
    assert (await client.answer()).status == 200


async def test_a_second_upstream_is_asked_when_the_first_closes(bench) -> None:
    async def closing(talk) -> None:
        await talk.head()
        talk.close()

    go = asyncio.Event()
    go.set()
    first, second = await bench.upstream(closing), await bench.upstream(thinking(go))
    proxy = await bench.proxy(first.url, second.url)
    for _ in range(2):  # whoever is first in turn
        client = await proxy.connect()
        assert (await client.ask(LARGE.replace(b"POST", b"PUT"))).status == 100
        client.send(BODY)
        assert (await client.answer()).status == 200
    assert first.heads
    assert all(ASK in head for head in first.heads + second.heads)


async def test_who_waits_for_its_100_keeps_its_slot_and_who_has_it_must_move(bench) -> None:
    """While others wait, for longer than a client that does not move may keep it."""
    go = asyncio.Event()
    upstream = await bench.upstream(thinking(go))
    timeouts = {"expect_continue_ns": seconds(60), "client_body_ns": seconds(60)}
    proxy = await bench.proxy(upstream.url, limit=1, timeouts=timeouts)
    slow = await proxy.connect()
    slow.send(LARGE)
    await eventually_async(lambda: upstream.heads, what="the head")

    async def press() -> None:
        other = await proxy.connect()
        while (await other.ask(b"GET / HTTP/1.1\r\nHost: e\r\n\r\n")).status == 503:
            pass

    others = [asyncio.create_task(press()) for _ in range(3)]
    await asyncio.sleep(1.9)
    assert (proxy.cell.in_flight, upstream.open) == (1, 1)
    go.set()
    assert (await slow.answer()).status == 100
    assert (await slow.answer()).status == 408
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
