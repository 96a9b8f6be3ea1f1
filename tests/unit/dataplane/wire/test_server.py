from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.dataplane.wire.server import REFUSED_CONNECTIONS_MAX
from shedproxy.errors import DocumentInvalidError
from shedproxy.observability.meter import Gauge, ProcessGauge
from shedproxy.snapshot import ProxyDocument, UpstreamDocument

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_connection_too_many_is_told_so_and_a_crowd_is_not(still) -> None:
    """C10."""
    bench = still(connections_max=1)
    bench.client()
    refused = [bench.client() for _ in range(REFUSED_CONNECTIONS_MAX)]
    assert all(b"connection_limit" in client.take() for client in refused)
    late = bench.client()
    assert late.take() == b""
    assert late.is_aborted
    await bench.settle()
    await bench.advance(seconds(3))
    assert b"connection_limit" in bench.client().take()


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


async def test_gauges_are_published_about_once_a_second(still) -> None:
    bench = still()
    bench.client()
    await bench.advance(seconds(1))
    meter = bench.driver.meter
    assert meter.process(ProcessGauge.CONNECTIONS) == 1
    assert meter.gauge(0, Gauge.UPSTREAMS_HEALTHY) == 1
