from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.dataplane.wire.client_place import FIRST_WORD_NS
from shedproxy.dataplane.wire.reception import CONNECTIONS_KEPT, REFUSED_CONNECTIONS_MAX
from shedproxy.dataplane.wire.timer_wheel import Timed
from shedproxy.errors import DocumentInvalidError
from shedproxy.observability.meter import Gauge, ProcessCounter, ProcessGauge
from shedproxy.snapshot import ProxyDocument, UpstreamDocument

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_connection_too_many_is_told_so_and_a_crowd_is_not(still) -> None:
    """C10."""
    bench = still(connections_max=1)
    await bench.ask(bench.client(), GET)
    refused = [bench.client() for _ in range(REFUSED_CONNECTIONS_MAX)]
    assert all(b"connection_limit" in client.take() for client in refused)
    late = bench.client()
    assert late.take() == b""
    assert late.is_aborted
    await bench.settle()
    await bench.advance(seconds(3))
    assert b"connection_limit" in bench.client().take()
    assert bench.driver.meter.counted(ProcessCounter.CONNECTIONS_DROPPED) == 1


async def test_room_comes_back_when_a_client_goes(still) -> None:
    bench = still(connections_max=1)
    bench.client().lose()
    assert bench.client().take() == b""
    assert len(bench.server.clients) == 1


@pytest.mark.parametrize(
    "upstreams", [(), (UpstreamDocument(urls=("gopher://a",)),)], ids=["none", "no-url"]
)
async def test_a_document_that_cannot_be_served_changes_nothing(still, upstreams) -> None:
    bench = still()
    live = bench.server.live
    with pytest.raises(DocumentInvalidError):
        bench.server.apply(replace(bench.driver.document, proxy=ProxyDocument(upstreams=upstreams)))
    assert bench.server.live is live
    assert bench.group is live.group_of("default")


async def test_a_reload_keeps_the_connections_of_upstreams_that_stay(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    bench.server.apply(replace(bench.driver.document, revision=5))
    assert not upstream.is_closed
    assert await bench.ask(client, GET) is upstream
    assert bench.dials == 1


async def test_a_drain_ends_at_once_when_nothing_is_under_way(still) -> None:
    bench = still()
    client = bench.client()
    assert await asyncio.wait_for(bench.server.drain(seconds(60)), 5) == 0
    assert client.is_closed
    assert b"draining" in bench.client().take()


async def test_a_drain_answers_the_rest_at_its_grace(still) -> None:
    bench = still()
    client = bench.client()
    await bench.ask(client, GET)
    assert await bench.server.drain(milliseconds(20)) == 1
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert bench.cell.in_flight == 0


async def test_a_drain_blames_no_upstream_for_a_body_that_did_not_come(still) -> None:
    bench = still()
    client = bench.client()
    client.protocol.data_received(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\n12")
    assert await bench.server.drain(milliseconds(20)) == 1
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_timeout" in answer
    assert bench.dials == 0


async def test_gauges_are_published_about_once_a_second(still) -> None:
    bench = still()
    bench.client()
    await bench.advance(seconds(1))
    meter = bench.driver.meter
    assert meter.process(ProcessGauge.CONNECTIONS) == 1
    assert meter.gauge(0, Gauge.UPSTREAMS_HEALTHY) == 1


async def test_a_bug_on_one_deadline_leaves_the_others(still) -> None:
    bench = still(timeouts={"client_head_ns": seconds(1)})
    told = []
    bench.server.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    first, second = bench.client(), bench.client()

    class Broken(Timed):
        def on_deadline(self, _) -> None:
            raise ValueError("bug")

    broken = Broken()
    broken.deadline_at = first.protocol.deadline_at
    bench.server.wheel.watch(broken)
    third = bench.client()
    await bench.advance(seconds(2))
    bench.server.loop.set_exception_handler(None)
    assert [str(error) for error in told] == ["bug"]
    assert first.is_closed
    assert second.is_closed
    assert third.is_closed


async def test_a_deadline_that_moved_in_the_same_turn_is_not_told(still) -> None:
    """The upstream's time is up, the client is answered, and has its idle time from then on."""
    bench = still(timeouts={"response_ns": seconds(5), "client_idle_ns": seconds(9)})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.protocol.wake_at(upstream.protocol.deadline_at)
    await bench.advance(seconds(6))
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert not client.is_closed
    await bench.advance(seconds(9))
    assert client.is_closed


async def test_a_drain_does_not_wait_long_for_who_was_told_to_stay(still) -> None:
    """By an answer that began before; it may ask again at once, and hears then that it is over."""
    bench = still()
    quick, silent = bench.client(), bench.client()
    for client in (quick, silent):
        client.protocol.data_received(
            b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 2\r\nX-Request-Timeout-Ms: 0\r\n\r\nx"
        )
        assert b"connection: close" not in client.take()
    bench.server.is_announcing = bench.server.is_draining = True
    for client in (quick, silent):
        client.protocol.data_received(b"x")
    await bench.settle()
    (await bench.ask(quick, GET)).protocol.data_received(OK)
    assert b"connection: close" in quick.take()
    assert quick.is_closed
    assert not silent.is_closed
    await bench.advance(FIRST_WORD_NS + bench.server.wheel.tick_ns)
    assert silent.is_closed


async def test_short_of_memory_who_waits_goes_down_to_a_few_and_nothing_is_held(still) -> None:
    bench = still()
    server = bench.server
    for _ in range(CONNECTIONS_KEPT + 16):
        bench.client()
    server.save_memory(is_short=True)
    assert len(server.clients) == (CONNECTIONS_KEPT + 16) * 7 // 8
    bench.client()
    assert len(server.clients) == (CONNECTIONS_KEPT + 16) * 7 // 8, "it took another's place"
    assert server.held_max == 0
    for _ in range(3):
        server.save_memory(is_short=True)
    assert len(server.clients) == CONNECTIONS_KEPT
    server.save_memory(is_short=False)
    bench.client()
    assert len(server.clients) == CONNECTIONS_KEPT + 1
    assert server.held_max > 0
