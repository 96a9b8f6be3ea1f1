from __future__ import annotations

import socket
import struct

import pytest

from shedproxy.core import milliseconds, seconds
from shedproxy.dataplane.wire.client_end import LINGER_NS, LINGER_SIZE_MAX

pytestmark = pytest.mark.anyio

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_a_reader_must_take_the_minimum_rate_in_each_period(still) -> None:
    bench = still(timeouts={"client_write_ns": seconds(10), "body_rate_min": 100})
    transport = bench.client()
    end = transport.protocol
    end.write(b"x" * 10_000)
    transport.buffered = 10_000
    end.start_write_watch()
    assert not end.has_stalled(bench.clock.advance(seconds(9)))
    transport.buffered = 9_000
    assert not end.has_stalled(bench.clock.advance(seconds(1)))
    transport.buffered = 8_001
    assert end.has_stalled(bench.clock.advance(seconds(10)))


async def test_lingering_reads_for_a_bounded_time_and_size(still) -> None:
    bench = still()
    transport = bench.client()
    end = transport.protocol
    end.linger()
    assert transport.has_eof
    end.data_received(b"x" * LINGER_SIZE_MAX)
    assert not transport.is_paused
    end.data_received(b"x")
    assert transport.is_paused
    assert not transport.is_closed
    await bench.advance(LINGER_NS + seconds(1))
    assert transport.is_aborted


async def test_the_end_waits_for_what_is_written_but_not_for_ever(still) -> None:
    bench = still(timeouts={"client_write_ns": seconds(3)})
    transport = bench.client()
    end = transport.protocol
    transport.buffered = 5
    transport.close = lambda: None  # the kernel does not take it
    end.end()
    await bench.advance(seconds(2))
    assert not transport.is_aborted
    await bench.advance(seconds(2))
    assert transport.is_aborted


async def test_a_cut_can_be_made_visible_as_a_reset(still) -> None:
    bench = still()
    transport = bench.client()
    transport.protocol.cut(reset=True)
    assert transport.is_aborted
    assert transport.socket.options[0][:2] == (socket.SOL_SOCKET, socket.SO_LINGER)


async def test_the_nearest_wake_up_counts(still) -> None:
    bench = still()
    end = bench.client().protocol
    end.deadline_at = 0
    end.wake_at(500)
    end.wake_at(900)
    assert end.deadline_at == 500
    end.wake_at(300)
    assert end.deadline_at == 300


@pytest.mark.parametrize(
    ("version", "is_hidden"), [(b"1.0", True), (b"1.1", False)], ids=["until close", "chunked"]
)
@pytest.mark.parametrize("is_drained", [False, True], ids=["stalled", "drained"])
async def test_an_answer_whose_end_would_not_be_missed_is_never_left_without_it(
    still, version: bytes, is_hidden, is_drained
) -> None:
    bench = still(timeouts={"client_write_ns": seconds(3)})
    client = bench.client()
    client.close = lambda: None  # the kernel does not take it
    request = b"GET / HTTP/%b\r\nHost: e\r\nConnection: close\r\n\r\n" % version
    upstream = await bench.ask(client, request)
    client.is_stuck = True
    upstream.protocol.data_received(CHUNKED)
    assert bench.cell.in_flight == 0, "it has come whole"
    if is_drained:
        assert await bench.server.drain(milliseconds(10)) == 1
    else:
        await bench.advance(seconds(4))
    assert client.is_aborted
    is_reset = RESET in client.socket.options
    assert is_reset is is_hidden, "one that is too short by its framing keeps what is on its way"


async def test_nor_is_one_reset_that_the_kernel_has_whole(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, b"GET / HTTP/1.0\r\nHost: e\r\n\r\n")
    client.close = lambda: None
    upstream.protocol.data_received(CHUNKED)
    assert await bench.server.drain(milliseconds(10)) == 1
    assert client.is_aborted
    assert RESET not in client.socket.options


@pytest.mark.parametrize("way", ["end", "linger"])
async def test_a_slow_reader_gets_all_of_its_last_answer(still, way) -> None:
    bench = still(timeouts={"client_write_ns": seconds(30), "body_rate_min": 240})
    transport = bench.client()
    transport.close = lambda: None  # the kernel takes it bit by bit
    transport.is_stuck = True
    transport.protocol.write(b"x" * 60_000)
    getattr(transport.protocol, way)()
    for _ in range(59):
        await bench.advance(seconds(1))
        transport.buffered -= 1000
        assert not transport.is_aborted
    transport.unstick()
    await bench.advance(LINGER_NS + seconds(1))
    assert transport.is_aborted
