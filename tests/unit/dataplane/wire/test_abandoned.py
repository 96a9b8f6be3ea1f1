from __future__ import annotations

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.dataplane.wire.abandoned import DISCARD_SIZE_MAX
from shedproxy.observability.fault import Fault

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HURRIED = b"GET /a HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 50\r\n\r\n"
SLOW = b"POST /a HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 4000\r\nContent-Length: 4\r\n\r\nw"


async def left(bench, request: bytes = GET):
    """An upstream connection whose client has left while the work goes on."""
    client = bench.client()
    upstream = await bench.ask(client, request)
    upstream.take()
    client.lose()
    return upstream


@pytest.mark.parametrize(("cancels", "is_told"), [("auto", True), ("false", False)])
async def test_the_slot_is_taken_until_the_answer_has_come(still, cancels: str, is_told) -> None:
    bench = still(upstream={"cancels": cancels})
    upstream = await left(bench)
    assert upstream.has_eof is is_told
    assert not upstream.is_aborted
    bench.clock.advance(seconds(30))
    bench.driver.tick()
    assert (bench.cell.in_flight, bench.cell.zombies) == (1, 1)
    upstream.protocol.data_received(OK)
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)
    assert upstream.is_closed is is_told, "what was half closed cannot carry another request"


async def test_an_upstream_that_stops_at_once_closes_at_once(still) -> None:
    """With `cancels = "true"` its word is taken for it: the slot is free."""
    bench = still(upstream={"cancels": "true"})
    upstream = await left(bench)
    assert upstream.is_aborted
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)


async def test_a_close_that_was_asked_for_does_not_prove_that_the_work_stopped(still) -> None:
    bench = still(upstream={"cancels": "auto"})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    bench.clock.advance(seconds(1))
    client.lose()
    upstream.lose()
    assert (bench.cell.in_flight, bench.cell.zombies) == (1, 1)
    bench.clock.advance(seconds(2))
    bench.driver.tick()
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)


async def test_a_close_that_was_not_asked_for_is_the_end(still) -> None:
    bench = still(upstream={"cancels": "false"})
    upstream = await left(bench)
    upstream.lose()
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)


async def test_an_answer_in_pieces_is_read_to_its_end(still) -> None:
    bench = still(upstream={"cancels": "false"})
    upstream = await left(bench)
    for piece in (
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"2\r\nab\r\n",
    ):
        upstream.protocol.data_received(piece)
        assert bench.cell.in_flight == 1
    upstream.protocol.data_received(b"0\r\n\r\n")
    assert bench.cell.in_flight == 0
    await bench.ask(bench.client(), GET)
    assert bench.dials == 1, "the connection serves on"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (DISCARD_SIZE_MAX + 1),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (DISCARD_SIZE_MAX + 1),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    ],
    ids=["announced", "until close", "stream"],
)
async def test_a_long_answer_is_not_read(still, answer: bytes) -> None:
    bench = still()
    upstream = await left(bench)
    upstream.protocol.data_received(answer)
    assert upstream.is_aborted
    bench.clock.advance(seconds(9))
    bench.driver.tick()
    assert bench.cell.in_flight == 0


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 two\r\n\r\n", b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"],
)
async def test_nonsense_ends_it(still, answer: bytes) -> None:
    bench = still(upstream={"cancels": "false"})
    upstream = await left(bench)
    upstream.protocol.data_received(answer)
    assert upstream.is_aborted
    assert bench.cell.in_flight == 0


async def test_it_is_watched_no_longer_than_an_answer_may_take(still) -> None:
    bench = still(timeouts={"response_ns": seconds(2)})
    upstream = await left(bench)
    await bench.advance(seconds(3))
    assert upstream.is_aborted
    bench.clock.advance(seconds(3))
    bench.driver.tick()
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)


async def test_the_work_of_a_client_whose_time_is_up_is_watched_too(still) -> None:
    bench = still(timeouts={"response_ns": seconds(2)})
    client = bench.client()
    upstream = await bench.ask(client, HURRIED)
    await bench.advance(seconds(1))
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert bench.driver.meter.faults(0, Fault.UPSTREAM_TIMEOUT) == 1
    assert (bench.cell.in_flight, bench.cell.zombies) == (1, 1)
    assert not client.is_closed
    upstream.protocol.data_received(OK)
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)
    assert client.take() == b"", "its answer was given"


async def test_it_ends_at_the_operators_bound_whose_time_was_up_before(still) -> None:
    bench = still(timeouts={"response_ns": seconds(2)})
    client = bench.client()
    upstream = await bench.ask(client, HURRIED)
    await bench.advance(seconds(3))
    assert upstream.is_aborted
    assert client.take().count(b"HTTP/1.1") == 1


async def test_a_client_that_leaves_before_its_own_time_is_up_takes_none_from_the_work(
    still,
) -> None:
    bench = still(timeouts={"response_ns": seconds(2)})
    upstream = await left(bench, HURRIED)
    await bench.advance(seconds(1))
    assert not upstream.is_aborted, "the end of the work can still be seen"
    assert upstream.protocol.entry.failures == 0, "strangers' deadlines prove nothing of a host"
    upstream.protocol.data_received(OK)
    assert (bench.cell.in_flight, bench.cell.zombies) == (0, 0)


async def test_nor_does_one_whose_body_took_longer_than_an_answer_may(still) -> None:
    """The operator's bound begins when the request is sent, whoever watches it."""
    bench = still(permit_body_size=1, timeouts={"response_ns": seconds(2), "body_rate_min": 0})
    client = bench.client()
    upstream = await bench.ask(client, SLOW)
    for byte in b"xyz":
        await bench.advance(seconds(1))
        client.protocol.data_received(bytes([byte]))
    client.lose()
    await bench.advance(seconds(1) + milliseconds(500))
    assert not upstream.is_aborted
    await bench.advance(seconds(1))
    assert upstream.is_aborted


async def test_it_ends_at_the_operators_bound_whose_client_left_before_its_time(still) -> None:
    bench = still(timeouts={"response_ns": seconds(2)})
    upstream = await left(bench, HURRIED)
    await bench.advance(seconds(3))
    assert upstream.is_aborted
