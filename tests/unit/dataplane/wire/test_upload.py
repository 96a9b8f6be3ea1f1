from __future__ import annotations

import pytest

from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio

POST = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\n"
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
