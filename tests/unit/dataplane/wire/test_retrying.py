"""When a request is sent once more, seen through whole exchanges."""

from __future__ import annotations

import pytest

from shedproxy.core import RetryPolicy, seconds
from shedproxy.observability.metric import RetryCause, RetryDenial

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx"
PUT = b"PUT /a HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TWO = ("http://10.0.0.1", "http://10.0.0.2")


def bench_of(still, *, urls=TWO, **policy):
    return still(upstream={"urls": urls, "fail_after": 99, "retries": RetryPolicy(**policy)})


def retries(bench) -> dict[str, int]:
    meter = bench.driver.meter
    counts = {cause.name.lower(): meter.retries(0, cause) for cause in RetryCause}
    denied = {denial.name.lower(): meter.retries_denied(0, denial) for denial in RetryDenial}
    return {name: count for name, count in (counts | denied).items() if count}


async def lose_first(bench, client, request):
    """Send a request whose new connection is closed without a word."""
    upstream = await bench.ask(client, request)
    upstream.lose()
    await bench.settle()
    return upstream


@pytest.mark.parametrize("request_bytes", [GET, PUT], ids=["get", "put"])
async def test_a_connection_closed_without_a_word_is_tried_elsewhere(still, request_bytes) -> None:
    bench = bench_of(still)
    client = bench.client()
    first = await lose_first(bench, client, request_bytes)
    second = bench.upstreams[-1]
    assert second.protocol.entry is not first.protocol.entry
    sent = second.take()
    assert b"x-envoy-attempt-count: 2\r\n" in sent
    assert sent.partition(b"\r\n\r\n")[2] == request_bytes.partition(b"\r\n\r\n")[2]
    second.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert retries(bench) == {"closed": 1}
    assert bench.cell.in_flight == 0


async def test_it_waits_for_an_upstream_that_is_full_sooner_than_go_back(still) -> None:
    bench = still(upstream={"urls": TWO, "fail_after": 99, "connections_max": 1})
    busy, client = bench.client(), bench.client()
    full = await bench.ask(busy, GET)
    failed = await lose_first(bench, client, GET)
    assert failed.protocol.entry is not full.protocol.entry
    assert bench.dials == 2, "it went back"
    full.take()
    full.protocol.data_received(OK)
    await bench.settle()
    assert b"x-envoy-attempt-count: 2\r\n" in full.take()
    full.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert bench.cell.in_flight == 0


async def test_with_one_upstream_it_is_tried_there(still) -> None:
    bench = bench_of(still, urls=TWO[:1])
    client = bench.client()
    await lose_first(bench, client, GET)
    assert bench.dials == 2
    bench.upstreams[-1].protocol.data_received(OK)
    assert client.take().endswith(b"ok")


async def test_what_may_have_been_seen_is_not_sent_again_unless_idempotent(still) -> None:
    bench = bench_of(still)
    client = bench.client()
    await lose_first(bench, client, POST)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert (bench.dials, retries(bench)) == (1, {})


async def test_the_list_of_methods_may_be_shorter(still) -> None:
    bench = bench_of(still, methods=("GET",))
    client = bench.client()
    await lose_first(bench, client, PUT)
    assert client.take().startswith(b"HTTP/1.1 502 ")


async def test_attempts_are_bounded_whatever_the_causes(still) -> None:
    for attempts in (1, 2, 4):
        bench = bench_of(still, attempts_max=attempts)
        client = bench.client()
        client.protocol.data_received(GET)
        await bench.settle()
        for _ in range(attempts):
            bench.upstreams[-1].lose()
            await bench.settle()
        assert client.take().startswith(b"HTTP/1.1 502 ")
        assert bench.dials == attempts


async def test_an_answer_that_began_ends_it(still) -> None:
    bench = bench_of(still)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"H")
    upstream.lose()
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert retries(bench) == {}


@pytest.mark.parametrize("status", [b"429", b"503"])
async def test_an_answer_that_says_overload_passes_through(still, status) -> None:
    """A20."""
    bench = bench_of(still)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(
        b"HTTP/1.1 " + status + b" No\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n"
    )
    assert client.take().startswith(b"HTTP/1.1 " + status)
    assert (bench.dials, retries(bench)) == (1, {})


async def test_a_deadline_that_has_passed_ends_it(still) -> None:
    bench = bench_of(still)
    client = bench.client()
    upstream = await bench.ask(
        client, b"GET /a HTTP/1.1\r\nX-Request-Timeout-Ms: 50\r\nHost: e\r\n\r\n"
    )
    bench.clock.advance(seconds(1))
    upstream.lose()
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert retries(bench) == {}


async def test_when_the_budget_is_used_up_faults_are_faults(still) -> None:
    bench = bench_of(still, budget_ppm=0, floor_rps=1)
    client = bench.client()
    for _ in range(5):
        await lose_first(bench, client, GET)
        bench.upstreams[-1].protocol.data_received(OK)
        bench.upstreams[-1].lose()
    client.take()
    await lose_first(bench, client, GET)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert retries(bench) == {"closed": 5, "budget": 1}
    bench.clock.advance(seconds(2))
    await lose_first(bench, client, GET)
    bench.upstreams[-1].protocol.data_received(OK)
    assert client.take().endswith(b"ok")


async def test_successes_earn_and_refused_connects_pay(still) -> None:
    bench = bench_of(still, floor_rps=0)
    client = bench.client()
    for _ in range(10):
        upstream = await bench.ask(client, POST)
        upstream.protocol.data_received(OK)
        client.take()
    for upstream in bench.upstreams:
        upstream.lose()
    bench.failure = ConnectionRefusedError()
    dials = bench.dials
    client.protocol.data_received(POST)
    await bench.settle()
    assert bench.dials == dials + 2
    client.protocol.data_received(POST)
    await bench.settle()
    assert bench.dials == dials + 3
    assert retries(bench) == {"connect": 1, "budget": 1}


async def _reused(bench, client):
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    client.take()
    assert await bench.ask(client, GET) is upstream
    upstream.lose()
    await bench.settle()
    return upstream


async def test_the_close_of_an_idle_connection_is_healed_for_nothing_once(still) -> None:
    bench = bench_of(still, urls=TWO[:1], floor_rps=0, attempts_max=3)
    client = bench.client()
    await _reused(bench, client)
    assert client.take() == b""
    assert retries(bench) == {"reused": 1}
    bench.upstreams[-1].lose()
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert retries(bench) == {"reused": 1, "budget": 1}


async def test_in_overload_nothing_is_sent_again_but_what_nobody_saw(still, monkeypatch) -> None:
    """A20."""
    bench = bench_of(still, urls=TWO[:1])
    client = bench.client()
    monkeypatch.setattr(bench.driver, "pressure", lambda cell: 1.0)
    await lose_first(bench, client, GET)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert retries(bench) == {"overload": 1}
    await _reused(bench, client)
    bench.upstreams[-1].protocol.data_received(OK)
    assert client.take().endswith(b"ok")


async def test_the_first_try_is_no_latency_of_the_second(still, monkeypatch) -> None:
    bench = bench_of(still)
    taught = []
    release = bench.driver.release_at

    def note(permit, outcome, stalled_ns, now):
        taught.append(now - permit.admitted_at - stalled_ns)
        release(permit, outcome, stalled_ns, now)

    monkeypatch.setattr(bench.driver, "release_at", note)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    bench.clock.advance(seconds(1))
    upstream.lose()
    await bench.settle()
    bench.clock.advance(seconds(0.25))
    bench.upstreams[-1].protocol.data_received(OK)
    assert taught == [seconds(0.25)]


async def test_a_reload_changes_the_rules_and_keeps_the_savings(still) -> None:
    bench = bench_of(still, floor_rps=1)
    group = bench.group
    document = group.document
    group.retries.apply(RetryPolicy(attempts_max=1))
    client = bench.client()
    await lose_first(bench, client, GET)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert group.retries.budget.saved_count == 10
    assert document.retries.floor_rps == 1
