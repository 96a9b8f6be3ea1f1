from __future__ import annotations

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire.rate import RATE_WINDOW_NS
from shedproxy.observability.fault import Fault

pytestmark = pytest.mark.anyio


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
