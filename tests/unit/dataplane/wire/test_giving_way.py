"""Clients of the proxy that hold a slot and do not move give way to who waits: real connections."""

from __future__ import annotations

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.stalls import LOOK_NS, STALL_NS
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import ProcessCounter

pytestmark = pytest.mark.anyio

CONTENDED = 16 * 1024
LOOK_SIZE = CONTENDED * LOOK_NS // seconds(1)
"""What is just enough in one look."""
SOME = b"x" * 20_000
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"


async def test_a_reader_without_progress_gives_its_slot_to_who_waits(still) -> None:
    """C5: its answer is cut so that it cannot be taken for whole, and no work is left behind."""
    bench = still(limit=1)
    reader = bench.client()
    reader.is_stuck = True
    upstream = await bench.ask(reader, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nx")
    assert upstream.is_paused
    await bench.advance(seconds(3))
    assert not reader.is_closed
    waiter = bench.client()
    waiter.protocol.data_received(GET)
    await bench.advance(LOOK_NS)
    assert reader.is_aborted
    assert reader.socket.options, "a reset, not an orderly end"
    assert upstream.is_closed
    assert bench.cell.zombies == 0
    assert bench.upstreams[-1].protocol.exchange is waiter.protocol.exchange
    meter = bench.driver.meter
    assert meter.counted(ProcessCounter.EVICTED_READER) == 1
    assert meter.faults(0, Fault.SLOW_CLIENT) == 1
    assert len(bench.server.stalls) == 0


async def test_an_upload_without_progress_gives_its_slot_to_who_waits(still) -> None:
    """C4: and is told so."""
    bench = still(limit=1, permit_body_size=10)
    sender = bench.client()
    await bench.ask(sender, b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 99\r\n\r\n" + b"x" * 10)
    waiter = bench.client()
    waiter.protocol.data_received(GET)
    await bench.advance(STALL_NS - LOOK_NS)
    assert not sender.take()
    await bench.advance(2 * LOOK_NS)
    assert sender.take().startswith(b"HTTP/1.1 408 ")
    assert bench.upstreams[-1].protocol.exchange is waiter.protocol.exchange
    assert bench.driver.meter.counted(ProcessCounter.EVICTED_UPLOAD) == 1


async def test_an_exchange_that_ends_is_not_watched_any_more(still) -> None:
    bench = still(limit=1)
    reader = bench.client()
    reader.is_stuck = True
    upstream = await bench.ask(reader, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    assert len(bench.server.stalls) == 1
    assert not upstream.is_paused, "the rest fits, and reading it frees the slot"
    upstream.protocol.data_received(b"cd")
    assert len(bench.server.stalls) == 0
    assert bench.cell.in_flight == 0


async def test_an_upload_below_the_contended_rate_gives_its_slot_to_who_waits(still) -> None:
    """With nobody waiting it goes on; then it is told, its upstream closed, and it is counted."""
    bench = still(limit=1, permit_body_size=10)
    sender = bench.client()
    head = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 99999\r\n\r\n"
    upstream = await bench.ask(sender, head + b"x" * 10)

    async def trickle(length_ns: int) -> None:
        for _ in range(length_ns // LOOK_NS):
            sender.protocol.data_received(b"x" * 100)
            await bench.advance(LOOK_NS)

    await trickle(seconds(6))
    assert not sender.take()
    waiter = bench.client()
    waiter.protocol.data_received(GET)
    await trickle(LOOK_NS)
    assert sender.take().startswith(b"HTTP/1.1 408 ")
    assert upstream.is_closed
    assert bench.upstreams[-1].protocol.exchange is waiter.protocol.exchange
    meter = bench.driver.meter
    assert meter.counted(ProcessCounter.EVICTED_UPLOAD) == 1
    assert meter.faults(0, Fault.SLOW_CLIENT) == 1


@pytest.mark.parametrize("rate", [0, 16 * 1024])
async def test_a_reader_below_the_contended_rate_gives_its_slot_to_who_waits(still, rate) -> None:
    """Unless any rate will do. Its answer is cut, and no work is left behind."""
    bench = still(limit=1, timeouts={"contended_rate_min": rate})
    reader = bench.client()
    reader.is_stuck = True
    upstream = await bench.ask(reader, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + SOME)
    waiter = bench.client()
    waiter.protocol.data_received(GET)
    for _ in range(STALL_NS // LOOK_NS + 3):
        reader.buffered -= 100
        await bench.advance(LOOK_NS)
    assert reader.is_aborted == upstream.is_closed == (rate > 0)
    assert bench.driver.meter.counted(ProcessCounter.EVICTED_READER) == (rate > 0)
    assert bench.cell.zombies == 0
    assert (bench.upstreams[-1].protocol.exchange is waiter.protocol.exchange) == (rate > 0)


async def test_a_reader_of_what_the_upstream_does_not_send_is_not_to_blame(still) -> None:
    """The rest fits: the slot waits for the upstream, whatever the client does."""
    bench = still(limit=1)
    reader = bench.client()
    reader.is_stuck = True
    upstream = await bench.ask(reader, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nab")
    waiter = bench.client()
    waiter.protocol.data_received(GET)
    await bench.advance(2 * STALL_NS)
    assert not (reader.is_aborted or upstream.is_closed)
