from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire.reception import REFUSED_CONNECTIONS_MAX, Reception
from shedproxy.observability.meter import Eviction, ProcessCounter
from shedproxy.snapshot import Classification

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def evicted(bench) -> dict[str, int]:
    counted = bench.driver.meter.counted
    counts = {kind.label: counted(ProcessCounter.of_eviction(kind)) for kind in Eviction}
    return {label: count for label, count in counts.items() if count}


async def test_a_newcomer_takes_the_place_of_the_oldest_of_the_largest_address(still) -> None:
    bench = still(connections_max=4)
    good = bench.client("192.0.2.1")
    (await bench.ask(good, GET)).protocol.data_received(OK)
    bench.clock.advance(seconds(1))
    crowd = [bench.client("192.0.2.9") for _ in range(3)]
    crowd[1].protocol.data_received(GET[:5])
    newcomer = bench.client("192.0.2.2")
    assert crowd[0].is_closed
    assert newcomer.take() == b""
    bench.client("192.0.2.3")
    bench.client("192.0.2.4")
    await bench.settle()
    assert good.is_closed, "where all have one connection, who has been idle the longest goes"
    assert evicted(bench) == {"idle": 1, "head": 2}
    assert len(bench.server.clients) == len(bench.server.reception.crowd) == 4


async def test_while_everybody_is_busy_a_newcomer_is_refused(still) -> None:
    bench = still(connections_max=1)
    client = bench.client()
    await bench.ask(client, GET)
    refused = bench.client()
    assert b"connection_limit" in refused.take()
    assert refused.has_eof
    assert not evicted(bench)


async def test_an_address_over_its_share_is_told_so(still) -> None:
    bench = still(connections_per_address_max=2)
    first, _ = bench.client("192.0.2.1"), bench.client("192.0.2.1")
    answer = bench.client("192.0.2.1").take()
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"shedproxy-reason: address_limit" in answer.lower()
    assert b"connection: close" in answer.lower()
    assert b"retry-after: " in answer.lower()
    assert bench.client("192.0.2.2").take() == b"", "others are not concerned"
    first.lose()
    assert bench.client("192.0.2.1").take() == b"", "and a place that came free is taken again"


async def test_hosts_of_one_ipv6_network_count_together(still) -> None:
    bench = still(connections_per_address_max=1)
    bench.client("2001:db8:0:1::1")
    assert b"address_limit" in bench.client("2001:db8:0:1:ffff::2").take()
    assert bench.client("2001:db8:0:2::1").take() == b""
    bench.client("::ffff:192.0.2.7")
    assert b"address_limit" in bench.client("192.0.2.7").take()


async def test_trusted_proxies_and_unix_sockets_are_many_clients(still) -> None:
    trusted = Classification(trusted_peers=("192.0.2.0/24",))
    bench = still(connections_per_address_max=1, document={"classification": trusted})
    clients = [bench.client("192.0.2.1") for _ in range(3)] + [bench.client("") for _ in range(3)]
    assert not any(client.take() for client in clients)


async def test_a_reload_changes_the_bounds_for_newcomers(still) -> None:
    bench = still()
    clients = [bench.client("192.0.2.1") for _ in range(3)]
    document = bench.driver.document
    bench.server.apply(
        replace(document, proxy=replace(document.proxy, connections_per_address_max=1))
    )
    assert b"address_limit" in bench.client("192.0.2.1").take()
    assert not any(client.is_closed for client in clients)


async def test_descriptors_bound_the_connections_and_the_refused(still) -> None:
    """H9: of refused connections no more linger than there are descriptors for."""
    bench = still()
    assert Reception(bench.server, room=8).connections_max == 8
    assert Reception(bench.server, room=10**6).connections_max == 10_000
    assert Reception(bench.server, room=0).connections_max == 10_000
    assert [Reception(bench.server, room=room)._refused_max for room in (0, 8, 2, 10**6)] == [
        REFUSED_CONNECTIONS_MAX, 2, 1, REFUSED_CONNECTIONS_MAX
    ]  # fmt: skip


async def test_no_address_is_remembered_without_a_connection(still) -> None:
    bench = still()
    clients = [bench.client(f"10.{n // 250}.0.{n % 250}") for n in range(1000)]
    assert len(bench.server.reception.crowd) == 1000
    for client in clients:
        client.lose()
    assert not bench.server.reception.crowd._addresses
    assert not bench.server.clients


async def test_waiting_for_nobody_ends_at_once_and_for_the_last_with_it(still) -> None:
    bench = still()
    await bench.server.reception.until_empty(seconds(60))
    client = bench.client()
    bench.server.loop.call_soon(client.lose)
    await bench.server.reception.until_empty(seconds(60))
    assert not bench.server.clients


async def test_who_takes_a_refusal_is_waited_for_too(still) -> None:
    """With the worker its connection would end in a reset, and the refusal be lost."""
    bench = still(connections_max=1)
    client = bench.client()
    await bench.ask(client, GET)
    refused = bench.client()
    client.lose()
    waiting = asyncio.create_task(bench.server.reception.until_empty(seconds(60)))
    await bench.settle()
    assert not waiting.done()
    refused.lose()
    await waiting
