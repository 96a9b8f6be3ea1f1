from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.core import (
    BUCKETS,
    CellTable,
    MovePhase,
    build_cell_table,
    milliseconds,
    motion_place,
    seconds,
)
from shedproxy.dataplane.key_moves import Moving
from shedproxy.snapshot import CellRouting, Classification, cell_hash, secret_id

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_head_and_body_leave_in_one_write_each_way(still) -> None:
    bench = still()
    client = bench.client()
    writes = []
    client.write = writes.append
    upstream = await bench.ask(
        client, b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert upstream.take().endswith(b"content-length: 3\r\nvia: 1.1 shedproxy\r\n\r\nabc")
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nok")
    assert writes == [b"HTTP/1.1 200 OK\r\ndate: D\r\ncontent-length: 2\r\n\r\nok"]
    assert bench.cell.in_flight == 0


async def test_the_permit_is_taken_when_enough_of_the_body_is_in(still) -> None:
    bench = still(permit_body_size=10)
    client = bench.client()
    client.protocol.data_received(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 20\r\n\r\n")
    client.protocol.data_received(b"x" * 9)
    assert bench.cell.in_flight == 0
    upstream = await bench.ask(client, b"y")
    assert bench.cell.in_flight == 1
    assert upstream.take().endswith(b"x" * 9 + b"y")
    client.protocol.data_received(b"z" * 10)
    assert upstream.take() == b"z" * 10
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert not client.is_closed


async def test_the_upload_is_not_the_upstreams_latency(still) -> None:
    bench = still(permit_body_size=1)
    client = bench.client()
    released = []
    bench.driver.release_at = lambda permit, outcome, stalled_ns, now: released.append(
        (bench.clock() - permit.admitted_at, stalled_ns)
    )
    upstream = await bench.ask(client, b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 20\r\n\r\nx")
    bench.clock.advance(seconds(3))
    client.protocol.data_received(b"y" * 19)
    bench.clock.advance(milliseconds(10))
    upstream.protocol.data_received(OK)
    assert released == [(seconds(3) + milliseconds(10), seconds(3))]


async def test_a_client_that_reads_slowly_is_not_the_upstreams_latency(still) -> None:
    bench = still(buffer_size=1)
    client = bench.client()
    released = []
    bench.driver.release_at = lambda permit, outcome, stalled_ns, now: released.append(stalled_ns)
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    client.protocol.pause_writing()
    assert upstream.is_paused
    bench.clock.advance(seconds(2))
    client.protocol.resume_writing()
    assert not upstream.is_paused
    upstream.protocol.data_received(b"cd")
    assert released == [seconds(2)]


async def test_interim_answers_go_to_who_can_read_them(still) -> None:
    bench = still()
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    for version, expected in ((b"1.1", 1), (b"1.0", 0)):
        client = bench.client()
        upstream = await bench.ask(client, b"GET / HTTP/" + version + b"\r\nHost: e\r\n\r\n")
        upstream.protocol.data_received(b"HTTP/1.1 100 Continue\r\n\r\n" + interim + OK)
        sent = client.take()
        assert sent.count(b" 103 ") == expected
        assert b" 100 " not in sent


async def test_an_answer_that_says_it_is_a_stream_becomes_a_resident(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
    )
    assert (bench.cell.in_flight, bench.cell.residents) == (0, 1)
    await bench.advance(seconds(600))
    assert not upstream.is_closed
    upstream.protocol.data_received(b"data: x\n\n")
    assert client.take().endswith(b"9\r\ndata: x\n\n\r\n")
    client.lose()
    assert upstream.is_closed
    assert bench.cell.residents == 0


async def test_only_the_protocol_that_was_asked_for_may_be_switched_to(still) -> None:
    bench = still()
    client = bench.client()
    upstream = await bench.ask(
        client,
        b"GET / HTTP/1.1\r\nHost: e\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    upstream.protocol.data_received(
        b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: smtp\r\n\r\n"
    )
    assert client.take().startswith(b"HTTP/1.1 502 ")


async def test_a_deadline_that_passed_before_a_connection_was_there_is_a_504(still) -> None:
    bench = still()
    client = bench.client()
    client.protocol.data_received(b"GET / HTTP/1.1\r\nHost: e\r\nX-Request-Timeout-Ms: 50\r\n\r\n")
    bench.clock.advance(milliseconds(60))
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert bench.upstreams[0].take() == b""
    assert bench.cell.in_flight == 0


@pytest.mark.parametrize("begun", [0, 500])
async def test_a_reader_too_slow_for_the_end_of_an_answer_pauses_nobody_else(still, begun) -> None:
    """The connection is in the pool, or in use again, when the last bytes find no room."""
    bench = still(buffer_size=1000)
    client = bench.client()
    client.is_stuck = True
    upstream = await bench.ask(client, GET)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"
    if begun:
        upstream.protocol.data_received(head + b"x" * begun)
        head = b""
    upstream.protocol.data_received(head + b"x" * (2000 - begun))
    assert client.is_blocked
    assert await bench.ask(bench.client(), GET) is upstream
    assert not upstream.is_paused


async def test_a_first_piece_that_the_upstream_does_not_take_stops_the_upload(still) -> None:
    bench = still(buffer_size=1000, permit_body_size=4000)
    ready = await bench.ask(bench.client(), GET)
    ready.protocol.data_received(OK)
    ready.is_stuck = True
    client = bench.client()
    upstream = await bench.ask(
        client, b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 90000\r\n\r\n" + b"x" * 5000
    )
    assert upstream is ready
    assert client.is_paused
    await bench.advance(seconds(12))
    assert bench.cell.in_flight == 1, "it was held back, and is not slow"
    upstream.unstick()
    assert not client.is_paused


async def test_a_client_told_that_this_is_the_last_answer_gets_no_other(still) -> None:
    bench = still(permit_body_size=1)
    client = bench.client()
    upstream = await bench.ask(client, b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 2\r\n\r\nx")
    upstream.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    assert b"connection: close" in client.sent
    client.protocol.data_received(b"x")
    upstream.protocol.data_received(b"k")
    await bench.settle()
    assert client.is_closed


async def test_a_request_sent_ahead_of_an_answer_that_keeps_the_connection_is_served(still) -> None:
    """A drain that begins within an answer cannot take back what its head has said."""
    bench = still()
    client = bench.client()
    upstream = await bench.ask(client, GET + GET)
    upstream.protocol.data_received(OK[:-2])
    bench.server.announce()
    upstream.protocol.data_received(OK[-2:])
    assert b"connection: close" not in client.take()
    await bench.settle()
    assert not client.has_eof
    bench.upstreams[-1].protocol.data_received(OK)
    assert b"connection: close" in client.take()
    assert client.has_eof
    assert not client.is_closed, "a third request may be on the way, and would make it a reset"


async def test_an_answer_without_a_date_gets_one(still) -> None:
    """RFC 9110 6.6.1: a recipient with a clock that forwards it must."""
    bench = still()
    client = bench.client()
    for answer, count in ((OK, 1), (OK, 1), (OK.replace(b"Content", b"Date: D\r\nContent"), 0)):
        upstream = await bench.ask(client, GET)
        upstream.protocol.data_received(answer)
        sent = client.take()
        assert sent.count(b"\r\ndate: ") == 1
        assert sent.count(b" GMT\r\n") == count


# --- keys that change their cell ------------------------------------------------------------------

KEYED = b"GET / HTTP/1.1\r\nHost: e\r\nX-Tenant: t\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: e\r\nX-Tenant: t\r\nContent-Length: 4\r\n\r\n"
KEY = cell_hash("s")(b"t")


def table(place: int, version: int) -> CellTable:
    pins = {KEY: place}
    data = build_cell_table(
        ("a", "b"), [0] * BUCKETS, pins, version=version, secret_id=secret_id("s")
    )
    return CellTable(data)


@pytest.fixture
async def moving(still):
    """Two cells with an upstream each, and a key that is in the first."""
    bench = still()
    document = bench.driver.document
    cell, upstream = document.policy.cells[0], document.proxy.upstreams[0]
    routing = CellRouting(
        key="api-key:x-tenant", secret="s", default="a", cells=("a", "b"), buckets=((0, BUCKETS),)
    )
    bench.server.apply(
        replace(
            document,
            policy=replace(document.policy, cells=tuple(replace(cell, name=n) for n in "ab")),
            classification=Classification(cells=routing),
            proxy=replace(
                document.proxy,
                upstreams=tuple(
                    replace(upstream, cell=name, urls=(f"http://10.0.0.{number}:80",))
                    for number, name in enumerate("ab")
                ),
            ),
        )
    )
    bench.server.take_table(table(0, 1))
    yield bench
    bench.driver.close()


def in_flight(bench) -> dict[str, int]:
    return {cell.name: cell.in_flight for cell in bench.driver.shedder.stats().cells}


MARKED, HELD = (motion_place(0, 1, phase) for phase in (MovePhase.MARKED, MovePhase.HELD))


async def test_a_request_whose_key_is_held_waits_and_is_served_where_it_goes(moving) -> None:
    moves = moving.driver.moves
    moving.server.take_table(table(MARKED, 2))
    before = moving.client()
    upstream = await moving.ask(before, KEYED)
    moving.server.take_table(table(HELD, 3))
    client = moving.client()
    client.protocol.data_received(KEYED)
    await moving.settle()
    assert moves.moving() == Moving(3, 1, 0, 1)
    upstream.protocol.data_received(OK)
    moves.tick()
    assert moves.moving() == Moving(3, 0, 0, 1)
    moving.server.take_table(table(1, 4))
    await moving.settle()
    assert in_flight(moving) == {"a": 0, "b": 1}
    moving.upstreams[-1].protocol.data_received(OK)
    assert client.take().startswith(b"HTTP/1.1 200")


async def test_work_that_began_before_the_mark_is_found(moving) -> None:
    client, gone, other = moving.client(), moving.client(), moving.client()
    upstream = await moving.ask(client, KEYED)
    left = await moving.ask(gone, KEYED)
    await moving.ask(other, KEYED.replace(b": t", b": u"))
    gone.lose()
    moving.server.take_table(table(MARKED, 2))
    assert moving.driver.moves.moving() == Moving(2, 2, 0, 0)
    upstream.protocol.data_received(OK)
    moving.driver.moves.tick()
    assert moving.driver.moves.moving() == Moving(2, 1, 0, 0), "nobody waits, and it goes on"
    left.protocol.data_received(OK)
    moving.driver.moves.tick()
    assert moving.driver.moves.moving() == Moving(2, 0, 0, 0)


async def test_an_upload_that_outlasts_the_move_begins_at_the_target(moving) -> None:
    client = moving.client()
    client.protocol.data_received(UPLOAD)
    for version, place in enumerate((MARKED, HELD, 1), start=2):
        moving.server.take_table(table(place, version))
    client.protocol.data_received(b"body")
    await moving.settle()
    assert in_flight(moving) == {"a": 0, "b": 1}


async def test_an_upload_that_comes_while_its_key_is_held_is_heard_and_waits(moving) -> None:
    moving.server.take_table(table(HELD, 2))
    client = moving.client()
    client.protocol.data_received(UPLOAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.protocol.data_received(b"body")
    assert moving.driver.moves.moving().held == 1
    moving.server.take_table(table(0, 3))
    await moving.settle()
    assert in_flight(moving) == {"a": 1, "b": 0}


async def test_a_waiter_that_leaves_or_runs_out_of_time_is_an_ordinary_one(moving) -> None:
    moving.server.take_table(table(HELD, 2))
    gone, late = moving.client(), moving.client()
    for client in (gone, late):
        client.protocol.data_received(KEYED)
    gone.lose()
    assert moving.driver.moves.moving().held == 1
    moving.clock.advance(seconds(10))
    moving.driver.moves.tick()
    answer = late.take()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"shedproxy-reason: moving" in answer.lower()
    assert not late.is_closed
