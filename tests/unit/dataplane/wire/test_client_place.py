from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.core import (
    CellPolicy,
    Lane,
    LimitPolicy,
    Policy,
    RejectReason,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.wire.upstreams import UNBOUNDED
from shedproxy.observability.meter import Eviction
from shedproxy.snapshot import Classification, Match, Rule, UpstreamDocument

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


# --- cells --------------------------------------------------------------------------------------


def with_two_cells(bench, share: float):
    """`/b` and `/b/ping` (the control lane) go to cell b, all others to the first one."""
    document = bench.driver.document
    limit = LimitPolicy(algorithm="fixed", initial=10)
    rules = (
        Rule(match=Match(path=("/b",)), cell="b"),
        Rule(match=Match(path=("/b/ping",)), cell="b", lane=Lane.CONTROL),
    )
    upstreams = tuple(
        UpstreamDocument(cell=cell, urls=(f"http://10.0.0.{port}:80",), connections_share=share)
        for port, cell in enumerate(("default", "b"))
    )
    bench.server.apply(
        replace(
            document,
            policy=Policy(cells=(CellPolicy(limit=limit), CellPolicy(name="b", limit=limit))),
            classification=Classification(rules=rules),
            proxy=replace(document.proxy, upstreams=upstreams),
        )
    )
    return bench


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: e\r\n\r\n".encode()


async def test_a_cell_leaves_others_a_part_of_the_places_for_clients(still) -> None:
    bench = with_two_cells(still(connections_max=4), share=0.5)
    first, second, third = (bench.client() for _ in range(3))
    taken = [await bench.ask(client, get("/b")) for client in (first, second)]
    third.protocol.data_received(get("/b"))
    assert b"shedproxy-reason: cell_share" in third.take().lower()
    assert bench.driver.meter.rejected(1, RejectReason.CELL_SHARE) == 1
    third.protocol.data_received(get("/a"))
    assert third.take() == b"", "another cell has its own"
    health = bench.client()
    (await bench.ask(health, get("/b/ping"))).protocol.data_received(OK)
    assert health.take().startswith(b"HTTP/1.1 200 "), "and health is always answered"
    taken[0].protocol.data_received(OK)
    second.lose()
    assert bench.server.live.group_of("b").clients == 0
    health.protocol.data_received(get("/b"))
    assert health.take() == b""


async def test_who_does_not_take_its_answer_takes_a_place_in_its_cell(still) -> None:
    bench = with_two_cells(still(connections_max=4), share=0.5)
    group, slow, gone = bench.server.live.group_of("b"), bench.client(), bench.client()
    for client in (slow, gone):
        client.is_stuck = True
        (await bench.ask(client, get("/b"))).protocol.data_received(OK)
        assert client.protocol.exchange is None
    assert group.clients == 2
    other = bench.client()
    other.protocol.data_received(get("/b"))
    assert b"cell_share" in other.take()
    slow.unstick()
    gone.lose()
    assert group.clients == 0


async def test_who_is_alone_may_have_all(still) -> None:
    group = still(connections_max=4).group
    assert (group.clients_max, group.connections_max) == (UNBOUNDED, 4)


async def test_a_cell_at_its_part_of_connections_closes_one_before_it_opens_one(still) -> None:
    urls = ("http://10.0.0.1:80", "http://10.0.0.2:80")
    bench = still(connections_max=1, upstream={"urls": urls})
    client = bench.client()
    (await bench.ask(client, GET)).protocol.data_received(OK)
    await bench.ask(client, GET)
    idle, _ = bench.upstreams
    assert idle.is_closed, "it was the other upstream's turn"
    assert bench.group.connections == 1
