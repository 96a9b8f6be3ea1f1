from __future__ import annotations

import pytest

from shedproxy.core import Outcome, seconds
from shedproxy.observability.fault import Fault

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def _reused(bench, client):
    """An upstream connection that has served one request."""
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    await bench.settle()
    client.take()
    upstream.take()
    return upstream


async def test_a_get_on_a_reused_connection_that_dies_is_sent_again_once(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await _reused(bench, client)
    assert await bench.ask(client, GET) is upstream
    upstream.lose()
    await bench.settle()
    assert client.take() == b""
    fresh = bench.upstreams[-1]
    assert fresh is not upstream
    assert b"x-envoy-attempt-count: 2" in fresh.take()
    fresh.lose()
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert bench.dials == 2
    assert bench.cell.in_flight == 0


async def test_one_that_lay_idle_before_its_first_request_is_a_reused_one(still) -> None:
    """Who it was opened for had left: that it closes what is idle is no sign of death."""
    bench = still()
    gone, client = bench.client(), bench.client()
    gone.protocol.data_received(GET)
    gone.lose()
    await bench.settle()
    (upstream,) = bench.upstreams
    assert await bench.ask(client, GET) is upstream
    upstream.lose()
    await bench.settle()
    assert bench.dials == 2
    assert bench.upstreams[-1].protocol.entry.failures == 0
    bench.upstreams[-1].protocol.data_received(OK)
    assert client.take().endswith(b"ok")


async def test_a_post_is_not_sent_again(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await _reused(bench, client)
    assert await bench.ask(client, POST) is upstream
    upstream.lose()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert bench.dials == 1


async def test_an_answer_that_began_is_never_asked_for_again(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await _reused(bench, client)
    await bench.ask(client, GET)
    upstream.protocol.data_received(b"H")
    upstream.lose()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert bench.dials == 1


async def test_a_connect_that_fails_goes_to_the_other_upstream_once(still) -> None:
    bench = still(upstream={"urls": ("http://10.0.0.1", "http://10.0.0.2"), "fail_after": 9})
    bench.failure = ConnectionRefusedError()
    client = bench.client()
    client.protocol.data_received(POST)
    await bench.settle()
    assert bench.dials == 2
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert not client.is_closed


@pytest.mark.parametrize(("cancels", "zombies"), [("true", 0), ("false", 1), ("auto", 1)])
async def test_a_client_that_leaves_in_its_answer_ends_it(still, cancels: str, zombies) -> None:
    """The rest of an answer that has begun is not read; the work is expected to be over soon."""
    bench = still(upstream={"cancels": cancels})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    bench.clock.advance(seconds(1))
    client.lose()
    assert upstream.is_aborted
    assert bench.cell.zombies == zombies
    bench.clock.advance(seconds(9))
    bench.driver.tick()
    assert bench.cell.in_flight == 0


async def test_a_client_that_leaves_before_its_request_was_sent_leaves_no_work(still) -> None:
    bench = still()
    client = bench.client()
    client.protocol.data_received(GET)
    client.lose()
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)
    await bench.settle()
    # The connection that was being opened for it serves the next one.
    assert bench.upstreams[0].take() == b""
    other = bench.client()
    assert await bench.ask(other, GET) is bench.upstreams[0]
    assert bench.dials == 1


async def test_a_fault_after_the_head_cuts_the_answer(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    client.take()
    upstream.lose()
    assert client.take() == b""
    assert client.is_aborted
    assert bench.driver.meter.faults(0, Fault.UPSTREAM_CLOSED) == 1
    assert bench.cell.in_flight == 0


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_cut_answer_takes_none_along_that_was_sent_before_it(still, version) -> None:
    """Unless nothing but a reset tells that it is not whole."""
    bench = still()
    client = bench.client()
    last = GET.replace(b"1.1", version).replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    (await bench.ask(client, GET + last)).protocol.data_received(OK)
    await bench.settle()
    upstream = bench.upstreams[-1]
    upstream.protocol.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    )
    upstream.lose()
    sent = client.take()
    assert b"\r\n\r\nok" in sent
    assert (b"\r\n1\r\na\r\n" in sent) is (version == b"1.1")
    assert not sent.endswith(b"0\r\n\r\n")
    assert (client.has_eof, client.is_aborted) == (version == b"1.1", version == b"1.0")
    assert bench.cell.in_flight == 0


async def test_nothing_that_comes_after_the_end_counts_twice(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    exchange = client.protocol.exchange
    upstream.protocol.data_received(OK)
    exchange.fail(Fault.UPSTREAM_TIMEOUT)
    exchange.on_client_gone()
    exchange.finish(Outcome.SUCCESS, keep_alive=True)
    assert client.take().count(b"HTTP/1.1") == 1
    assert bench.driver.meter.finished(0) == 1


@pytest.mark.parametrize(("cancels", "zombies"), [("auto", 1), ("true", 0)])
async def test_an_answer_that_does_not_come_in_time_leaves_a_zombie(
    still, cancels: str, zombies: int
) -> None:
    """A timeout does not prove that the work stopped; an upstream that says so is believed."""
    bench = still(timeouts={"response_ns": seconds(2)}, upstream={"cancels": cancels})
    client = bench.client()
    await bench.ask(client, GET)
    await bench.advance(seconds(3))
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert (bench.cell.zombies, bench.cell.in_flight) == (zombies, zombies)


async def test_a_timeout_of_the_operator_is_overload(still, monkeypatch) -> None:
    bench = still(timeouts={"response_ns": seconds(2)})
    taught = []
    monkeypatch.setattr(
        bench.driver, "leave_zombie", lambda permit, outcome: taught.append(outcome)
    )
    client = bench.client()
    await bench.ask(client, GET)
    await bench.advance(seconds(3))
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert taught == [Outcome.OVERLOAD]


async def test_the_deadline_of_a_client_is_no_overload(still, monkeypatch) -> None:
    """Else a few short deadlines would pull the limit down for everybody."""
    bench = still(timeouts={"response_ns": seconds(2)})
    taught = []
    monkeypatch.setattr(bench.driver, "release", lambda permit, outcome: taught.append(outcome))
    client = bench.client()
    upstream = await bench.ask(
        client, b"GET /a HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 50\r\n\r\n"
    )
    await bench.advance(seconds(1))
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert not taught, "the work goes on"
    upstream.protocol.data_received(OK)
    assert taught == [Outcome.SUCCESS], "and teaches what it took"
