from __future__ import annotations

import math

import pytest

from shedproxy.core import OutlierPolicy, milliseconds, seconds
from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio

POST = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\n"
EXPECT = b"\r\nExpect: 100-continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSED = Classification(rules=(Rule(match=Match(path=("/**",)), limit=0),))


async def test_a_body_that_comes_with_its_head_is_the_same_as_one_that_comes_after(still) -> None:
    bench = still()
    sent = []
    for pieces in (
        [POST + b"abc"],
        [POST, b"abc"],
        [POST, b"a", b"bc"],
        [POST[:9], POST[9:], b"abc"],
    ):
        client = bench.client()
        for piece in pieces[:-1]:
            client.protocol.data_received(piece)
        upstream = await bench.ask(client, pieces[-1])
        sent.append(upstream.take())
        upstream.protocol.data_received(OK)
        assert client.take().endswith(b"\r\n\r\nok")
        assert not client.is_closed
    assert len(set(sent)) == 1
    assert sent[0].endswith(b"\r\n\r\nabc")


async def test_what_follows_a_body_is_the_next_request(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, POST + b"abc" + POST + b"def")
    assert upstream.take().endswith(b"abc")
    upstream.protocol.data_received(OK)
    await bench.settle()
    assert upstream.take().endswith(b"def")
    upstream.protocol.data_received(OK)
    assert client.take().count(b"HTTP/1.1 200 OK") == 2


async def test_a_whole_request_can_be_sent_again_and_a_put_is(still) -> None:
    bench = still(upstream={"urls": ("http://10.0.0.1:80", "http://10.0.0.2:80")})
    client = bench.client()
    upstream = await bench.ask(client, POST.replace(b"POST", b"PUT") + b"abc")
    upstream.take()
    upstream.lose()
    await bench.settle()
    assert bench.upstreams[-1].take().endswith(b"abc")


async def test_a_body_that_came_with_its_head_is_refused_with_it_and_costs_no_connection(
    still,
) -> None:
    bench = still(document={"classification": CLOSED})
    client = bench.client()
    for _ in range(3):
        client.protocol.data_received(POST + b"abc")
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" not in answer
    assert not client.is_closed
    assert not client.is_paused


async def test_one_that_is_too_large_is_refused_for_that(still) -> None:
    bench = still(body_size_max=2)
    client = bench.client()
    client.protocol.data_received(POST + b"abc")
    assert client.take().startswith(b"HTTP/1.1 413 ")


LARGE = POST.replace(b"Length: 3", b"Length: 200")


@pytest.mark.parametrize("head", [LARGE, LARGE.replace(b"\r\n\r\n", EXPECT)], ids=["", "expected"])
async def test_an_upstream_is_not_late_while_its_client_takes_its_time(still, head) -> None:
    bench = still(permit_body_size=1, timeouts={"response_ns": seconds(2), "body_rate_min": 0})
    client = bench.client()
    client.protocol.data_received(head)
    await bench.settle()
    if head is not LARGE:
        bench.upstreams[0].protocol.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
        await bench.advance(seconds(3))
    upstream = await bench.ask(client, b"x")
    await bench.advance(seconds(3))
    client.protocol.data_received(b"x" * 100)
    await bench.advance(seconds(3))
    client.protocol.data_received(b"x" * 99)
    await bench.advance(seconds(1))
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"\r\n\r\nok")


async def test_but_it_is_when_it_does_not_take_the_body_or_has_it_all(still) -> None:
    bench = still(permit_body_size=1, timeouts={"response_ns": seconds(2)})
    for body, is_taken in ((b"x", False), (b"x" * 200, True)):
        client = bench.client()
        upstream = await bench.ask(client, LARGE + body)
        if not is_taken:
            upstream.protocol.pause_writing()
        await bench.advance(seconds(2) + milliseconds(100))
        assert client.take().startswith(b"HTTP/1.1 504 ")


async def test_nor_is_it_slower_than_other_hosts_for_that(still) -> None:
    urls = ("http://10.0.0.1:80", "http://10.0.0.2:80")
    bench = still(
        permit_body_size=1, upstream={"urls": urls, "outliers": OutlierPolicy(enabled=True)}
    )
    client = bench.client()
    upstream = await bench.ask(client, LARGE + b"x")
    bench.clock.advance(seconds(4))
    client.protocol.data_received(b"x" * 199)
    bench.clock.advance(milliseconds(1))
    upstream.protocol.data_received(OK)
    host = upstream.protocol.entry
    assert (host.timed, host.log2_sum) == (1, math.log2(milliseconds(1)))


EARLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("gap_s", [1, 3], ids=["slowly", "with pauses"])
async def test_an_upstream_that_has_begun_its_answer_may_wait_for_the_body_as_well(
    still, gap_s: int
) -> None:
    bench = still(permit_body_size=1, timeouts={"upstream_idle_ns": seconds(2), "body_rate_min": 0})
    client = bench.client()
    upstream = await bench.ask(client, LARGE + b"x")
    upstream.protocol.data_received(EARLY)
    for size in (50, 50, 50, 49):
        await bench.advance(seconds(gap_s))
        client.protocol.data_received(b"x" * size)
    await bench.advance(seconds(1))
    upstream.protocol.data_received(b"ok")
    assert client.take().endswith(b"\r\n\r\nok")


async def test_but_not_for_ever_when_it_does_not_take_it_or_has_it_all(still) -> None:
    bench = still(permit_body_size=1, timeouts={"upstream_idle_ns": seconds(2)})
    for body, is_taken in ((b"x", False), (b"x" * 200, True)):
        client = bench.client()
        upstream = await bench.ask(client, LARGE + body)
        upstream.protocol.data_received(EARLY)
        if not is_taken:
            upstream.protocol.pause_writing()
        await bench.advance(seconds(2) + milliseconds(100))
        assert upstream.is_aborted
        assert client.is_aborted
