from __future__ import annotations

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.wire.stalls import LOOK_NS, STALL_NS, Stalls
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import ProcessCounter

RATE_MIN = 240
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"


class Client:
    def __init__(self, name: str, cell: str | None = "default") -> None:
        self.name = name
        self.held_cell = cell
        self.is_awaited = True
        self.moved = 0
        self.is_ended = False

    def end_stalled(self) -> None:
        self.is_ended = True
        self.held_cell = None


class Watch:
    """A `Stalls` with a clock; `waiting` is by cell."""

    def __init__(self, **waiting: int) -> None:
        self.waiting = waiting
        self.now = 0
        self.stalls = Stalls(lambda cell: self.waiting.get(cell, 0))

    def clients(self, *clients: Client) -> None:
        for client in clients:
            self.stalls.watch(client, self.now)

    def turn(self, length_ns: int, moving: dict[Client, int] | None = None) -> None:
        """Let time pass look by look; `moving` clients move that many bytes in each."""
        for _ in range(-(-length_ns // LOOK_NS)):
            self.now += LOOK_NS
            for client, size in (moving or {}).items():
                client.moved += size
            self.stalls.turn(self.now, rate_min=RATE_MIN)


def test_with_nobody_waiting_a_client_may_take_its_time() -> None:
    watch, client = Watch(), Client("a")
    watch.clients(client)
    watch.turn(seconds(60))
    assert not client.is_ended
    watch.waiting["default"] = 1
    watch.turn(LOOK_NS)
    assert client.is_ended


def test_while_others_wait_who_has_stood_still_is_ended() -> None:
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(STALL_NS - 1)
    assert client.is_ended
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(STALL_NS - LOOK_NS)
    assert not client.is_ended


def test_no_more_are_ended_than_wait_and_the_least_moved_first() -> None:
    watch = Watch(default=2)
    clients = [Client(str(moved)) for moved in (300, 100, 200)]
    for client in clients:
        client.moved = int(client.name)
    watch.clients(*clients)
    watch.turn(STALL_NS)
    assert [client.name for client in clients if client.is_ended] == ["100", "200"]


def test_a_rate_above_the_least_is_progress_and_one_below_is_none() -> None:
    watch, quick, slow = Watch(default=5), Client("quick"), Client("slow")
    watch.clients(quick, slow)
    look = RATE_MIN * LOOK_NS // seconds(1)
    watch.turn(seconds(20), {quick: look, slow: look // 2})
    assert (quick.is_ended, slow.is_ended) == (False, True)


def test_who_is_held_back_by_us_is_not_the_one_to_move() -> None:
    watch, client = Watch(default=1), Client("a")
    client.is_awaited = False
    watch.clients(client)
    watch.turn(seconds(20))
    assert not client.is_ended
    client.is_awaited = True
    watch.turn(STALL_NS - LOOK_NS)
    assert not client.is_ended


@pytest.mark.parametrize("cell", [None, "other"], ids=["no-slot", "slot-of-another-cell"])
def test_only_who_holds_what_others_wait_for_is_ended(cell) -> None:
    watch, client = Watch(default=1), Client("a", cell)
    watch.clients(client)
    watch.turn(seconds(20))
    assert not client.is_ended


def test_the_end_of_one_may_end_another() -> None:
    watch, first, second = Watch(default=2), Client("a"), Client("b")
    first.end_stalled = lambda: setattr(second, "held_cell", None)
    watch.clients(first, second)
    watch.turn(STALL_NS)
    assert not second.is_ended


def test_who_is_watched_twice_goes_on_and_who_is_forgotten_is_not_looked_at() -> None:
    watch, client = Watch(default=1), Client("a")
    watch.clients(client)
    watch.turn(STALL_NS - LOOK_NS)
    watch.clients(client)
    watch.stalls.forget(client)
    watch.stalls.forget(client)
    assert len(watch.stalls) == 0
    watch.turn(STALL_NS)
    assert not client.is_ended


# --- with real connections ------------------------------------------------------------------


@pytest.mark.anyio
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


@pytest.mark.anyio
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


@pytest.mark.anyio
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
