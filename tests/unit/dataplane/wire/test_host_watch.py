"""What a worker counts of its hosts, and who gets which part of the requests."""

from __future__ import annotations

import math

import pytest

from shedproxy.core import FULL_WEIGHT, milliseconds, seconds
from shedproxy.dataplane.wire.candidates import Upstream
from shedproxy.dataplane.wire.health import GHOST_NS, Health
from shedproxy.dataplane.wire.host_watch import HostWatch, is_shed
from shedproxy.dataplane.wire.tokens import ResponseTokens
from shedproxy.observability.fault import Fault
from shedproxy.observability.metric import Gauge
from shedproxy.snapshot import UpstreamDocument

URLS = ("http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80")
GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SLOW_DOWN = b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


def answer(status: int, *headers: tuple[bytes, bytes], plain: bytes | None = None):
    return ResponseTokens(status, b"", 1, list(headers), is_dated=True, plain=plain)


@pytest.mark.parametrize(
    ("tokens", "sheds"),
    [
        (answer(503), False),
        (answer(503, (b"retry-after", b"3")), True),
        (answer(503, (b"shedproxy-reason", b"limit")), True),
        (answer(500, (b"retry-after", b"3")), False),
        (answer(503, plain=b"HTTP/1.1 503 No\r\nRetry-After: 3"), True),
        (answer(503, plain=b"HTTP/1.1 503 retry-after:\r\nserver: x"), False),
    ],
)
def test_only_who_says_that_capacity_is_short_is_well(tokens, sheds):
    assert is_shed(tokens) is sheds


def test_failures_count_once_and_have_no_latency():
    watch, host = HostWatch(), Health()
    watch.on_head(host, answer(200), 1 << 20)
    watch.on_head(host, answer(404), 1 << 22)
    watch.on_head(host, answer(502), 1000)
    watch.on_head(host, answer(503, (b"retry-after", b"1")), 1000)
    watch.on_no_connection(host)
    watch.on_failure(host, Fault.UPSTREAM_CLOSED, 0, 0, has_head=False)
    watch.on_failure(host, Fault.UPSTREAM_CLOSED, 0, 0, has_head=True)
    assert (host.requests, host.spoilt, host.timed, host.log2_sum) == (5, 4, 2, 42.0)


def test_a_time_that_a_client_made_too_short_is_no_failure():
    watch, host = HostWatch(), Health()
    watch.on_failure(host, Fault.UPSTREAM_TIMEOUT, milliseconds(900), 0, has_head=False)
    assert host.requests == 0
    watch.on_failure(host, Fault.UPSTREAM_TIMEOUT, seconds(1), 0, has_head=False)
    assert (host.requests, host.spoilt) == (1, 1)


def test_weights_count_hosts_that_can_be_used():
    watch, hosts = HostWatch(), [Upstream(name, 8) for name in "abc"]
    hosts[2].out_until = 1
    watch.weigh({"b": 250})
    watch.apply(UpstreamDocument(), hosts)
    assert [host.weight for host in hosts] == [FULL_WEIGHT, 250, FULL_WEIGHT]
    assert watch.in_service() == 1250
    watch.weigh({})
    assert watch.in_service() == 2000


@pytest.mark.anyio
async def test_a_cell_of_one_host_is_not_watched(still):
    bench = still()
    upstream = await bench.ask(bench.client(), GET)
    upstream.protocol.data_received(OK)
    assert bench.server.upstream_tallies() == {}


@pytest.mark.anyio
async def test_what_happens_on_the_wire_is_counted_by_host(still):
    bench = still(upstream={"urls": URLS[:2]})
    upstream = await bench.ask(bench.client(), GET)
    bench.clock.advance(milliseconds(4))
    upstream.protocol.data_received(OK)
    upstream = await bench.ask(bench.client(), GET)
    upstream.protocol.data_received(BROKEN)
    tallies = bench.server.upstream_tallies()["default"]
    assert tallies == {
        URLS[0]: [1, 0, 1, round(math.log2(4e6), 3), 1],
        URLS[1]: [1, 1, 0, 0, 1],
    }


@pytest.mark.anyio
async def test_half_an_answer_is_a_failure_that_draws_no_traffic(still):
    bench = still(upstream={"urls": URLS[:2]})
    for _ in range(4):
        client = bench.client()
        upstream = await bench.ask(client, GET)
        if upstream.protocol.entry.key == URLS[0]:
            upstream.protocol.data_received(OK[:-1])
            upstream.lose()
        else:
            upstream.protocol.data_received(OK)
    tallies = bench.server.upstream_tallies()["default"]
    assert tallies[URLS[0]][:3] == [1, 1, 1]
    assert tallies[URLS[1]][:3] == [3, 0, 3]
    await bench.advance(GHOST_NS)
    assert (await bench.ask(bench.client(), GET)).protocol.entry.key in URLS


@pytest.mark.anyio
async def test_a_service_that_stops_for_a_client_that_left_has_not_failed(still):
    bench = still(upstream={"urls": URLS[:2]})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.lose()
    assert upstream.has_eof
    upstream.lose()
    counts = bench.server.upstream_tallies()["default"][upstream.protocol.entry.key]
    assert counts[:3] == [0, 0, 0]


@pytest.mark.anyio
async def test_nobody_asks_a_host_without_weight_while_there_is_another(still):
    bench = still(upstream={"urls": URLS})
    bench.server.weigh_upstreams({"default": {URLS[0]: 0, URLS[2]: 0}})
    asked = [(await bench.ask(bench.client(), GET)).protocol.entry.key for _ in range(3)]
    assert asked == [URLS[1]] * 3
    assert bench.driver.meter.gauge(0, Gauge.UPSTREAM_WEIGHT) == FULL_WEIGHT
    bench.server.weigh_upstreams({"default": dict.fromkeys(URLS, 0)})
    bench.group._pool.upstreams[1].out_until = 1 << 61
    assert (await bench.ask(bench.client(), GET)).protocol.entry.key in {URLS[0], URLS[2]}


@pytest.mark.anyio
async def test_a_host_that_comes_back_gets_its_part_with_little_in_flight_and_with_much(still):
    bench = still(limit=1000, upstream={"urls": URLS[:2]})
    bench.server.weigh_upstreams({"default": {URLS[0]: FULL_WEIGHT // 10}})
    asked = []
    for _ in range(100):
        upstream = await bench.ask(bench.client(), GET)
        asked.append(upstream.protocol.entry.key)
        upstream.protocol.data_received(OK)
    assert 4 <= asked.count(URLS[0]) <= 6
    held = [(await bench.ask(bench.client(), GET)).protocol.entry.key for _ in range(110)]
    assert 5 <= held.count(URLS[0]) <= 15
