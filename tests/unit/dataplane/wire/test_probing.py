"""Finding out that an upstream is back, with no request at stake."""

from __future__ import annotations

import json

import pytest

from shedproxy.core import milliseconds, seconds

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
URL = "http://10.0.0.1:80"


def health(bench) -> bool:
    return bench.server.upstream_health()["default"][URL]


def events(bench) -> list[str]:
    """What the log says happened since it was last asked."""
    lines = [json.loads(line) for line in bench.server.log_lines()]
    return [line["event"] for line in lines if line["kind"] == "event"]


def pings(bench) -> list:
    """Pings that are out, oldest first."""
    return [up for up in bench.upstreams if up.sent.startswith(b"OPTIONS * ") and not up.is_closed]


async def wait(bench, length_ns: int) -> None:
    """Let time pass, and let the loop run between its steps."""
    for _ in range(length_ns // milliseconds(25)):
        await bench.advance(milliseconds(25))


async def gone(bench, client) -> bytes:
    client.protocol.data_received(GET)
    await bench.settle()
    return client.take()


async def silent(still):
    """An upstream that was taken out because it said nothing in all its time."""
    bench = still(
        upstream={"fail_after": 2, "cancels": "true", "retry_after_ns": milliseconds(400)},
        timeouts={"response_ns": seconds(2)},
    )
    client = bench.client()
    for _ in range(2):
        client.protocol.data_received(GET)
        await bench.settle()
        await wait(bench, seconds(2.1))
        assert client.take().startswith(b"HTTP/1.1 504 ")
    return bench, client


async def test_silence_for_all_its_time_takes_an_upstream_out(still) -> None:
    """U5: then everybody is told at once."""
    bench, client = await silent(still)
    assert not health(bench)
    assert b"shedproxy-reason: no_upstream" in await gone(bench, client)
    assert events(bench) == ["upstream does not answer"]


async def test_a_ping_that_is_answered_lets_one_request_try(still) -> None:
    bench, client = await silent(still)
    await wait(bench, milliseconds(150))
    (ping,) = pings(bench)
    assert ping.sent.startswith(b"OPTIONS * HTTP/1.1\r\nhost: 10.0.0.1:80\r\n")
    ping.protocol.data_received(b"HT")
    await bench.settle()
    assert b"no_upstream" in await gone(bench, client)
    ping.protocol.data_received(b"TP/1.1 405 No\r\n")
    await bench.settle()
    assert ping.is_closed
    assert health(bench), "else nobody would send the request that it needs"
    upstream = await bench.ask(client, GET)
    assert not health(bench)
    other = bench.client()
    assert b"no_upstream" in await gone(bench, other), "one at a time"
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert health(bench)
    assert events(bench) == ["upstream does not answer", "upstream answers again"]
    await bench.ask(other, GET)
    assert bench.server.upstream_connections == 1


async def test_quick_pings_go_beside_one_that_waits(still) -> None:
    """A recovery is noticed within an interval, and an upstream that is slow is heard too."""
    bench, client = await silent(still)
    await wait(bench, milliseconds(150))
    (patient,) = pings(bench)
    sent = bench.dials
    await wait(bench, seconds(1.5))
    assert bench.dials - sent >= 3
    assert 1 <= len(pings(bench)) <= 2
    assert pings(bench)[0] is patient
    patient.protocol.data_received(b"HTTP/1.1 200 OK\r\n")
    await bench.settle()
    await bench.ask(client, GET)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b""], ids=["not-http", "closed"])
async def test_what_is_no_answer_proves_nothing(still, answer) -> None:
    bench, client = await silent(still)
    await wait(bench, milliseconds(150))
    (ping,) = pings(bench)
    if answer:
        ping.protocol.data_received(answer)
    else:
        ping.lose()
    await bench.settle()
    assert b"no_upstream" in await gone(bench, client)


async def test_a_silent_upstream_that_connects_is_not_believed(still) -> None:
    bench, client = await silent(still)
    await wait(bench, seconds(10))
    assert not health(bench)
    assert b"no_upstream" in await gone(bench, client)


async def test_short_deadlines_and_slow_routes_are_no_silence(still) -> None:
    bench = still(upstream={"fail_after": 1}, timeouts={"response_ns": seconds(2)})
    hurried, slow, quick = bench.client(), bench.client(), bench.client()
    hurried.protocol.data_received(b"GET / HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 90\r\n\r\n")
    await wait(bench, seconds(1))
    assert hurried.take().startswith(b"HTTP/1.1 504 ")
    assert health(bench)
    slow.protocol.data_received(GET)
    await bench.settle()
    upstream = await bench.ask(quick, GET)
    upstream.protocol.data_received(OK)
    await wait(bench, seconds(3))
    assert slow.take().startswith(b"HTTP/1.1 504 ")
    assert health(bench), "it answered another meanwhile"


async def test_refused_connects_are_probed_soon_and_until_it_is_back(still) -> None:
    """U1: without a request."""
    bench = still(upstream={"fail_after": 1, "retry_after_ns": milliseconds(400)})
    bench.failure = ConnectionRefusedError()
    client = bench.client()
    assert (await gone(bench, client)).startswith(b"HTTP/1.1 502 ")
    await wait(bench, milliseconds(150))
    assert bench.dials == 2
    await wait(bench, seconds(2))
    assert 6 <= bench.dials <= 10
    assert not health(bench)
    assert bench.server.upstream_connections == 0
    bench.failure = None
    await wait(bench, milliseconds(425))
    assert health(bench)
    dials = bench.dials
    await bench.ask(client, GET)
    assert bench.dials == dials, "the probe's connection is used"


async def test_probes_end_with_the_cell(still) -> None:
    bench, _ = await silent(still)
    await wait(bench, milliseconds(150))
    (ping,) = pings(bench)
    bench.group.retire()
    await bench.settle()
    assert ping.is_closed
    assert bench.server.upstream_connections == 0
    dials = bench.dials
    await wait(bench, seconds(2))
    assert bench.dials == dials
