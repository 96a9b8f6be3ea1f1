from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.core import CellPolicy, Lane, LimitPolicy, Policy, milliseconds, seconds
from shedproxy.dataplane.wire.client_end import PROBE_NS
from shedproxy.dataplane.wire.turns import QUANTUM_NS
from shedproxy.snapshot import Classification, Match, Rule

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: e", *lines, "", "")).encode()


def late(path: str) -> bytes:
    """One that is refused at once."""
    return get(path, "X-Request-Timeout-Ms: 0")


def with_cells(still, **proxy):
    """`/b` and `/b/ping` (the control lane) go to cell b, all others to the first one."""
    limit = LimitPolicy(algorithm="fixed", initial=10)
    rules = (
        Rule(match=Match(path=("/b",)), cell="b"),
        Rule(match=Match(path=("/b/ping",)), cell="b", lane=Lane.CONTROL),
    )
    timeouts = {"client_idle_ns": seconds(5), "client_head_ns": seconds(2)}
    bench = still(timeouts=timeouts, **proxy)
    bench.one = bench.driver.document
    bench.two = replace(
        bench.one,
        policy=Policy(cells=(CellPolicy(limit=limit), CellPolicy(name="b", limit=limit))),
        classification=Classification(rules=rules),
    )
    bench.server.apply(bench.two)
    return bench


async def asked_before(bench, path: str = "/b"):
    """A client that has had an answer."""
    client = bench.client()
    (await bench.ask(client, get(path))).protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    return client


def exhaust(bench, *parties) -> None:
    """Their quanta are used up."""
    for party in parties or (bench.server.turns.party("b"),):
        bench.server.turns.enter(party)
        party.credit_ns = 0


async def test_with_one_cell_nobody_takes_turns(still) -> None:
    bench = still()
    client = await asked_before(bench)
    assert bench.server.turns is None
    assert client.protocol.party is None


async def test_a_cell_whose_turn_is_over_is_read_when_the_loop_has_gone_round(still) -> None:
    bench = with_cells(still)
    loud, other = await asked_before(bench), await asked_before(bench, "/a")
    exhaust(bench)
    loud.protocol.data_received(late("/b"))
    other.protocol.data_received(late("/a"))
    assert loud.take() == b""
    assert other.take().startswith(b"HTTP/1.1 503 ")
    await bench.settle()
    assert loud.take().startswith(b"HTTP/1.1 503 ")
    assert not loud.protocol.is_held
    await bench.advance(seconds(2))
    meter = bench.driver.meter
    assert [meter.held(index)[0] for index in (-1, 0, 1)] == [0, 0, 1]


async def test_newcomers_are_a_kind_of_their_own_until_their_cell_is_known(still) -> None:
    """What they sent ahead waits for the turn of the cell."""
    bench = with_cells(still)
    turns, known, new = bench.server.turns, await asked_before(bench), bench.client()
    exhaust(bench, turns.newcomers)
    new.protocol.data_received(late("/b") * 3)
    known.protocol.data_received(late("/b"))
    assert (known.take()[:13], new.take()) == (b"HTTP/1.1 503 ", b"")
    exhaust(bench)
    turns.serve()
    assert new.take().count(b"HTTP/1.1 503 ") == 1
    assert new.protocol.party is turns.party("b")
    await bench.settle()
    assert new.take().count(b"HTTP/1.1 503 ") == 2
    assert not new.is_paused


async def test_control_requests_do_not_wait_for_their_cell(still) -> None:
    bench = with_cells(still)
    probe = await asked_before(bench, "/b/ping")
    exhaust(bench)
    (await bench.ask(probe, get("/b/ping"))).protocol.data_received(OK)
    assert probe.take().endswith(b"ok")
    assert probe.protocol.party is bench.server.turns.control
    exhaust(bench, bench.server.turns.control)
    probe.protocol.data_received(get("/b/ping"))
    assert probe.protocol.is_held, "although they have no more than a turn either"


async def test_who_is_held_is_not_late_nor_in_the_way(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    exhaust(bench)
    bench.clock.advance(seconds(5) - milliseconds(1))
    exhaust(bench)
    client.protocol.data_received(late("/b")[:-5])
    bench.clock.advance(seconds(1))
    bench.server.turn()
    assert not client.is_closed
    await bench.settle()
    await bench.advance(seconds(2) - milliseconds(50))
    assert not client.is_closed, "it has all the time there is for the rest"
    client.protocol.data_received(late("/b")[-5:])
    assert client.take().startswith(b"HTTP/1.1 503 ")


async def test_a_head_gets_no_more_time_for_being_held(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    client.protocol.data_received(b"GET /b HT")
    for _ in range(3):
        bench.clock.advance(milliseconds(600))
        exhaust(bench)
        client.protocol.data_received(b"T")
        bench.server.turn()
        await bench.settle()
    assert not client.is_closed
    bench.clock.advance(milliseconds(300))
    exhaust(bench)
    client.protocol.data_received(b"T")
    bench.server.turn()
    assert client.take() == b"", "held, so not judged"
    await bench.settle()
    await bench.advance(PROBE_NS + milliseconds(20))
    assert client.take().startswith(b"HTTP/1.1 408 ")


async def test_who_closes_its_side_while_held_is_answered_first(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    client.protocol.data_received(late("/b")[:5])
    exhaust(bench)
    client.protocol.data_received(late("/b")[5:])
    assert client.protocol.eof_received()
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert client.is_closed


async def test_who_leaves_while_held_is_forgotten(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    exhaust(bench)
    client.protocol.data_received(get("/b"))
    client.lose()
    before = bench.server.requests
    await bench.settle()
    assert bench.server.requests == before


async def test_it_is_held_once_whatever_happens_meanwhile(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    party = bench.server.turns.party("b")
    exhaust(bench)
    client.protocol.data_received(late("/b"))
    client.protocol.data_received(late("/b"))
    client.protocol.go_on()
    assert len(party.held) == 1
    party.credit_ns = QUANTUM_NS
    client.protocol.data_received(late("/b"))
    assert (len(party.held), client.take()) == (1, b"")
    await bench.settle()
    assert client.take().count(b"HTTP/1.1 503 ") == 3


async def test_who_is_held_makes_room_for_others_and_is_told_so(still) -> None:
    bench = with_cells(still, connections_max=2)
    loud, other = await asked_before(bench), bench.client("192.0.2.8")
    await bench.ask(other, get("/a"))
    exhaust(bench)
    loud.protocol.data_received(late("/b"))
    requests = bench.server.requests
    newcomer = bench.client("192.0.2.9")
    answer = loud.take()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection_limit" in answer
    assert loud.is_closed
    await bench.settle()
    assert bench.server.requests == requests
    newcomer.protocol.data_received(late("/a"))
    assert newcomer.take().startswith(b"HTTP/1.1 503 ")


async def test_a_body_without_a_slot_is_read_in_turn(still) -> None:
    """Not read, it is not late either, and it still makes room for others."""
    bench = with_cells(still)
    client = await asked_before(bench)
    began = bench.clock()
    client.protocol.data_received(b"POST /b HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\n")
    exhaust(bench)
    client.protocol.data_received(b"1")
    assert client.is_paused
    assert client.protocol.waits_since == began
    for _ in range(30):
        bench.clock.advance(seconds(1))
        bench.server.turn()
    await bench.settle()
    assert not client.is_paused
    client.protocol.data_received(b"2")
    upstream = await bench.ask(client, b"3")
    assert upstream.take().endswith(b"\r\n\r\n123")


async def test_a_body_with_a_slot_does_not_take_turns(still) -> None:
    bench = with_cells(still, permit_body_size=1)
    client = bench.client()
    head = b"POST /b HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\n"
    upstream = await bench.ask(client, head + b"12")
    exhaust(bench)
    client.protocol.data_received(b"345678")
    assert not client.is_paused
    client.protocol.data_received(b"9")
    assert upstream.take().endswith(b"\r\n\r\n123456789")


async def test_the_time_that_bodies_took_is_charged_too(still, monkeypatch) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    client.protocol.data_received(b"POST /b HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\n")
    party = bench.server.turns.party("b")
    before, feed = party.credit_ns, client.protocol.feed_body

    def slow_feed(body, data: bytes) -> None:
        bench.clock.advance(QUANTUM_NS // 3)
        feed(body, data)

    monkeypatch.setattr(type(client.protocol), "feed_body", lambda _, *given: slow_feed(*given))
    client.protocol.data_received(b"1")
    assert before - party.credit_ns == QUANTUM_NS // 3


async def test_what_is_held_is_bounded_and_read_on_afterwards(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    exhaust(bench)
    while not client.is_paused:
        client.protocol.data_received(late("/b"))
    assert len(client.protocol._buffer) < bench.server.live.head_size_max + 100
    await bench.settle()
    while client.protocol._buffer:
        await bench.settle()
    assert not client.is_paused
    assert client.take().count(b"HTTP/1.1 503 ") > 16


async def test_a_drain_answers_who_is_held(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    exhaust(bench)
    client.protocol.data_received(late("/b"))
    bench.server.announce()
    client.protocol.say_goodbye(idle_for_ns=0)
    assert not client.is_closed
    await bench.settle()
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer
    assert client.is_closed


async def test_a_document_with_one_cell_ends_the_turns_and_loses_nothing(still) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    exhaust(bench)
    client.protocol.data_received(late("/b"))
    bench.server.apply(bench.one)
    assert bench.server.turns is None
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 503 ")


async def test_the_time_that_requests_took_is_charged_to_their_cell(still, monkeypatch) -> None:
    bench = with_cells(still)
    client = await asked_before(bench)
    party = bench.server.turns.party("b")
    write = client.write

    def slow_write(data: bytes) -> None:
        bench.clock.advance(QUANTUM_NS // 3)
        write(data)

    monkeypatch.setattr(client, "write", slow_write)
    before = party.credit_ns
    client.protocol.data_received(late("/b"))
    assert before - party.credit_ns == QUANTUM_NS // 3
