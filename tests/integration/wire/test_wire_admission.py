"""Admission through the wire: refusals, bodies nobody wants, the queue, streams, control routes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from shedproxy.core import Criticality, Mode, QueuePolicy, RejectReason, milliseconds, seconds
from shedproxy.observability.fault import Fault
from shedproxy.observability.ring import RefusalRing
from shedproxy.snapshot import Classification, Match, Rule
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
NO_QUEUE = {"queue": QueuePolicy(length_max=0)}
SHUT = {
    "classification": Classification(
        rules=(Rule(name="shut", match=Match(path=("/shut/**",)), limit=0),)
    )
}


def post(path: bytes, length: int, extra: bytes = b"") -> bytes:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n" % length
    return head + extra + b"\r\n"


class Gate:
    """An upstream whose answers wait for the test."""

    def __init__(self) -> None:
        self.waiting = asyncio.Semaphore(0)

    async def __call__(self, talk) -> None:
        while True:
            head = await talk.head()
            if b"content-length: " in head:
                await talk.exactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            await self.waiting.acquire()
            talk.send(OK)

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self.waiting.release()


async def test_a_refusal_says_why_and_can_be_looked_up(bench) -> None:
    upstream = await bench.upstream(Gate())
    proxy = await bench.proxy(upstream.url, document=SHUT)
    client = await proxy.connect()
    answer = await client.ask(b"GET /shut HTTP/1.1\r\nHost: e\r\n\r\n")
    assert (answer.status, answer.field("shedproxy-reason")) == (503, "route_limit")
    assert int(answer.field("retry-after")) >= 1
    assert json.loads(answer.body)["reason"] == "route_limit"
    found = proxy.driver.ring.find(RefusalRing.parse_id(answer.field("shedproxy-id")))
    assert found.reason is RejectReason.ROUTE_LIMIT
    assert upstream.connections == 0
    # The connection is kept, the next request is served like any other.
    head = await client.ask(b"HEAD /shut HTTP/1.1\r\nHost: e\r\n\r\n")
    assert head.status == 503
    assert (await client.ask(b"GET /shut HTTP/1.0\r\n\r\n")).field("connection") == "close"


async def test_a_refused_body_is_read_and_forgotten_and_the_connection_kept(bench) -> None:
    """A21: what the body says is never a request."""
    gate = Gate()
    gate.open(9)
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(upstream.url, document=SHUT)
    client = await proxy.connect()
    smuggled = b"GET /stolen HTTP/1.1\r\nHost: e\r\n\r\n"
    for size in (len(smuggled), 64 * 1024):
        client.send(post(b"/shut", size))
        assert (await client.answer()).status == 503
        client.send(smuggled + b"x" * (size - len(smuggled)))
        assert (await client.ask(GET)).status == 200
    client.send(b"POST /shut HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await client.answer()).status == 503
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    assert (await client.ask(GET)).status == 200
    assert all(b"stolen" not in head for head in upstream.heads)
    assert len(upstream.heads) == 3


async def test_a_refused_body_that_is_too_large_ends_the_connection(bench) -> None:
    upstream = await bench.upstream(Gate())
    proxy = await bench.proxy(upstream.url, document=SHUT)
    client = await proxy.connect()
    client.send(post(b"/shut", 10_000_000) + b"x" * 1_000_000)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (503, "close")
    assert upstream.connections == 0


async def test_a_refused_body_that_does_not_come_ends_the_connection(bench) -> None:
    upstream = await bench.upstream(Gate())
    proxy = await bench.proxy(upstream.url, document=SHUT)
    client = await proxy.connect()
    client.send(post(b"/shut", 10) + b"x")
    assert (await client.answer()).status == 503
    assert await client.rest() == b""


async def test_a_refused_expectation_gets_its_answer_and_no_100(bench) -> None:
    """A22."""
    upstream = await bench.upstream(Gate())
    proxy = await bench.proxy(upstream.url, document=SHUT)
    client = await proxy.connect()
    answer = await client.ask(post(b"/shut", 10, b"Expect: 100-continue\r\n"))
    assert (answer.status, answer.field("connection")) == (503, "close")
    client.send(GET)
    assert await client.rest() == b""
    assert upstream.connections == 0


async def test_who_waits_is_served_when_a_slot_is_free(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url, limit=1, cell={"queue": QueuePolicy(wait_max_ns=seconds(30))}
    )
    clients = [await proxy.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    await eventually_async(lambda: proxy.cell.queue_length == 2 and len(upstream.heads) == 1)
    gate.open(3)
    for client in clients:
        assert (await client.answer()).status == 200
    assert upstream.connections == 1
    await proxy.idle()


async def test_who_waits_too_long_is_refused_with_the_time(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url, limit=1, cell={"queue": QueuePolicy(wait_max_ns=milliseconds(100))}
    )
    first, second = await proxy.connect(), await proxy.connect()
    first.send(GET)
    await eventually_async(lambda: upstream.heads)
    answer = await second.ask(GET)
    assert (answer.status, answer.field("shedproxy-reason")) == (503, "queue_timeout")
    gate.open(2)
    assert (await first.answer()).status == 200
    assert (await second.ask(GET)).status == 200
    await proxy.idle()


async def test_who_leaves_the_queue_leaves_no_trace(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url, limit=1, cell={"queue": QueuePolicy(wait_max_ns=seconds(30))}
    )
    first, leaver, closer = [await proxy.connect() for _ in range(3)]
    first.send(GET)
    await eventually_async(lambda: upstream.heads)
    leaver.send(GET)
    closer.send(GET)
    await eventually_async(lambda: proxy.cell.queue_length == 2)
    leaver.reset()
    closer.close()
    await eventually_async(lambda: proxy.cell.queue_length == 0)
    gate.open()
    assert (await first.answer()).status == 200
    await proxy.idle()
    assert len(upstream.heads) == 1


async def test_a_body_waits_in_the_queue_without_being_read_on(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url, limit=1, cell={"queue": QueuePolicy(wait_max_ns=seconds(30))}
    )
    first, second = await proxy.connect(), await proxy.connect()
    first.send(GET)
    await eventually_async(lambda: upstream.heads)
    second.send(post(b"/", 3_000_000) + b"x" * 3_000_000)
    await eventually_async(lambda: proxy.cell.queue_length == 1)
    gate.open(2)
    assert (await first.answer()).status == 200
    assert (await second.answer()).status == 200
    await proxy.idle()


async def test_more_important_work_takes_the_place_of_less(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url,
        limit=1,
        cell={"queue": QueuePolicy(wait_max_ns=seconds(30), length_max=1)},
        document={"classification": Classification(trusted_peers=("127.0.0.0/8",))},
    )
    first, low, high = [await proxy.connect() for _ in range(3)]
    first.send(GET)
    await eventually_async(lambda: upstream.heads)
    low.send(b"GET / HTTP/1.1\r\nHost: e\r\nX-Criticality: sheddable\r\n\r\n")
    await eventually_async(lambda: proxy.cell.queue_length == 1)
    high.send(b"GET / HTTP/1.1\r\nHost: e\r\nX-Criticality: critical_plus\r\n\r\n")
    answer = await low.answer()
    assert (answer.status, answer.field("shedproxy-reason")) == (503, "evicted")
    gate.open(2)
    assert (await first.answer()).status == 200
    assert (await high.answer()).status == 200
    assert b"x-criticality: critical_plus\r\n" in upstream.heads[1]


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.OFF])
async def test_other_modes_refuse_nothing(bench, mode) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url, limit=1, policy={"mode": mode}, cell=NO_QUEUE, document=SHUT
    )
    clients = [await proxy.connect() for _ in range(3)]
    for client in clients:
        client.send(b"GET /shut HTTP/1.1\r\nHost: e\r\n\r\n")
    gate.open(3)
    for client in clients:
        assert (await client.answer()).status == 200
    meter = proxy.driver.meter
    assert meter.rejected(0) == 0
    assert meter.would_reject(0) == (3 if mode is Mode.OBSERVE else 0)
    await proxy.idle()


async def test_control_routes_have_a_lane_and_connections_of_their_own(bench) -> None:
    gate = Gate()

    async def handle(talk) -> None:
        head = await talk.head()
        if b"/healthz" in head:
            talk.send(OK)
            await talk.closed()
        else:
            await gate.waiting.acquire()
            talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, limit=1, cell=NO_QUEUE, upstream={"connections_max": 1})
    busy = await proxy.connect()
    busy.send(GET)
    await eventually_async(lambda: upstream.heads)
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 503
    assert (await client.ask(b"GET /healthz HTTP/1.1\r\nHost: e\r\n\r\n")).status == 200
    gate.open()
    assert (await busy.answer()).status == 200
    assert proxy.driver.meter.bypassed(0) == 1


async def test_an_event_stream_is_a_resident_and_takes_no_slot(bench) -> None:
    go = asyncio.Event()

    async def handle(talk) -> None:
        head = await talk.head()
        if b"/events" not in head:
            talk.send(OK)
            return
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go.wait()
        talk.send(b"data: 2\n\n")
        await talk.drain()
        talk.close()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(
        upstream.url, limit=1, cell=NO_QUEUE, timeouts={"upstream_idle_ns": milliseconds(100)}
    )
    streams = [await proxy.connect() for _ in range(3)]
    for stream in streams:
        stream.send(b"GET /events HTTP/1.1\r\nHost: e\r\n\r\n")
        head = await stream.reader.readuntil(b"\r\n\r\n")
        assert b"text/event-stream" in head
        assert await stream.reader.readexactly(14) == b"9\r\ndata: 1\n\n\r\n"
    assert (proxy.cell.in_flight, proxy.cell.residents) == (0, 3)
    assert (await (await proxy.connect()).ask(GET)).status == 200
    await asyncio.sleep(0.3)
    go.set()
    for stream in streams:
        assert await stream.reader.readexactly(19) == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    await proxy.idle()


async def test_a_stream_whose_client_leaves_ends_at_the_upstream(bench) -> None:
    async def handle(talk) -> None:
        await talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET)
    await client.reader.readuntil(b"data: 1\n\n")
    client.close()
    await eventually_async(lambda: upstream.open == 0)
    await proxy.idle()


async def test_a_request_that_finds_no_free_connection_waits_for_one(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(upstream.url, upstream={"connections_max": 1})
    first, second = await proxy.connect(), await proxy.connect()
    first.send(GET)
    await eventually_async(lambda: upstream.heads)
    second.send(GET)
    await eventually_async(lambda: proxy.cell.in_flight == 2)
    gate.open(2)
    assert (await first.answer()).status == 200
    assert (await second.answer()).status == 200
    assert upstream.connections == 1
    await proxy.idle()


async def test_who_waits_for_a_connection_too_long_is_told(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(
        upstream.url,
        upstream={"connections_max": 1},
        timeouts={"connect_ns": milliseconds(100)},
    )
    first, second = await proxy.connect(), await proxy.connect()
    first.send(GET)
    await eventually_async(lambda: upstream.heads)
    answer = await second.ask(GET)
    assert answer.status == 504
    assert proxy.driver.meter.faults(0, Fault.UPSTREAM_CONNECT_TIMEOUT) == 1
    gate.open()


async def test_what_ended_is_counted_and_logged(bench) -> None:
    gate = Gate()
    gate.open(2)
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(upstream.url, document=SHUT, proxy={"access_log": "all"})
    client = await proxy.connect()
    await client.ask(b"GET /a?secret HTTP/1.1\r\nHost: e\r\n\r\n")
    await client.ask(b"GET /shut HTTP/1.1\r\nHost: e\r\n\r\n")
    await eventually_async(lambda: len(proxy.server.log.records) == 2)
    served, refused = map(json.loads, proxy.server.log_lines())
    assert (served["status"], served["path"], served["body_size"]) == (200, "/a", 5)
    assert (refused["status"], refused["reason"]) == (503, "route_limit")
    assert refused["id"]
    meter = proxy.driver.meter
    assert meter.goodput(0, Criticality.CRITICAL) == 1
    assert meter.finished(0) == 1
    assert meter.rejected(0, RejectReason.ROUTE_LIMIT) == 1


async def test_pressure_is_told_when_asked(bench) -> None:
    gate = Gate()
    gate.open()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(upstream.url, proxy={"forward_pressure": True})
    client = await proxy.connect()
    await client.ask(GET)
    assert b"shedproxy-pressure: 0." in upstream.heads[0]


async def test_a_reload_changes_rules_and_disturbs_nothing_under_way(bench) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate)
    proxy = await bench.proxy(upstream.url)
    busy, client = await proxy.connect(), await proxy.connect()
    busy.send(GET)
    await eventually_async(lambda: upstream.heads)
    proxy.server.apply(replace(proxy.document, **SHUT, revision=2))
    assert (await client.ask(b"GET /shut HTTP/1.1\r\nHost: e\r\n\r\n")).status == 503
    gate.open(2)
    assert (await busy.answer()).status == 200
    assert (await client.ask(GET)).status == 200
    assert upstream.connections == 1
    await proxy.idle()
