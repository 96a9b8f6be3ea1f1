from __future__ import annotations

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire.client_side import DISCARD_SIZE_MAX
from shedproxy.dataplane.wire.rate import RATE_WINDOW_NS
from shedproxy.observability.fault import Fault

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_body_below_the_minimum_rate_loses_its_permit(still) -> None:
    """C4, in five seconds of a clock that stands still."""
    bench = still(timeouts={"body_rate_min": 240})
    client = bench.client()
    upstream = await bench.ask(
        client,
        b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 900000\r\n\r\n" + b"x" * 64 * 1024,
    )
    assert bench.cell.in_flight == 1
    for _ in range(4):
        client.protocol.data_received(b"x" * 200)
        await bench.advance(seconds(1))
    assert bench.cell.in_flight == 1
    await bench.advance(seconds(2))
    assert bench.cell.in_flight == 0
    assert upstream.is_closed
    assert client.take().startswith(b"HTTP/1.1 408 ")
    assert bench.driver.meter.faults(0, Fault.SLOW_CLIENT) == 1


async def test_a_body_that_the_upstream_holds_back_is_not_too_slow(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(
        client,
        b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 900000\r\n\r\n" + b"x" * 64 * 1024,
    )
    upstream.protocol.pause_writing()
    assert client.is_paused
    await bench.advance(3 * RATE_WINDOW_NS)
    assert bench.cell.in_flight == 1
    upstream.protocol.resume_writing()
    assert not client.is_paused


async def test_a_head_in_pieces_has_one_bound_from_its_first_byte(still) -> None:
    bench = still(timeouts={"client_head_ns": seconds(10)})
    client = bench.client()
    for byte in GET[:9]:
        client.protocol.data_received(bytes([byte]))
        await bench.advance(seconds(1))
    assert client.take() == b""
    await bench.advance(seconds(2))
    assert client.take().startswith(b"HTTP/1.1 408 ")


async def test_the_next_request_waits_for_the_answer_before_it(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET + b"GET /two HTTP/1.1\r\nHost: e\r\n\r\n")
    assert upstream.take().count(b"HTTP/1.1\r\n") == 1
    upstream.protocol.data_received(OK)
    await bench.settle()
    assert upstream.take().startswith(b"GET /two ")
    upstream.protocol.data_received(OK)
    assert client.take().count(b"HTTP/1.1 200 OK") == 2


async def test_what_is_sent_ahead_is_not_read_without_end(still) -> None:
    bench = still(head_size_max=1024)
    client = bench.client()
    upstream = await bench.ask(client, GET)
    client.protocol.data_received(b"x" * 1025)
    assert client.is_paused
    upstream.protocol.data_received(OK)
    await bench.settle()
    assert client.take().endswith(b'"reason":"head_too_large"}')


async def test_an_unwanted_body_is_worth_reading_up_to_a_size(still) -> None:
    bench = still(body_size_max=1)
    for size, is_kept in ((DISCARD_SIZE_MAX, True), (DISCARD_SIZE_MAX + 1, False)):
        client = bench.client()
        head = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % size
        client.protocol.data_received(head)
        assert (b"connection: close" not in client.take()) is is_kept
        assert client.has_eof is not is_kept


async def test_chunks_of_an_unwanted_body_are_counted_as_they_come(still) -> None:
    bench = still(body_size_max=1)
    client = bench.client()
    client.protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    )
    assert client.take().startswith(b"HTTP/1.1 413 ")
    client.protocol.data_received(b"100000\r\n" + b"x" * (DISCARD_SIZE_MAX + 1))
    assert client.has_eof


async def test_a_new_client_is_trusted_by_the_document_it_meets(still) -> None:
    bench = still()
    end = bench.client("127.0.0.1").protocol
    assert not end.is_trusted_by(bench.server.live)
    assert (end.peer, end.peer_bytes) == ("127.0.0.1", b"127.0.0.1")
