"""A program goes through bytes unharmed, and is played as it says."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.clock import monotonic_now
from shedproxy.core import Instant, Nanos, milliseconds, seconds
from shedproxy.loadgen.program import (
    GeneratorHealth,
    Performance,
    Program,
    SentRow,
    decode_performance,
    decode_program,
    encode_performance,
    encode_program,
    perform,
)
from shedproxy.loadgen.station import Station

ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def program(**changes: object) -> Program:
    values: dict[str, object] = {
        "url": "http://127.0.0.1:1/", "messages": {0: ASK, 7: ASK.replace(b"GET", b"HEAD")},
        "deadline_ns": seconds(1), "length_ns": seconds(0.3), "below": (1.0,),
    }  # fmt: skip
    return Program(**(values | changes))


def test_both_survive_the_way_between_processes() -> None:
    sent = program(
        schedule=[(Nanos(0), 7), (milliseconds(3), 0)], not_sent_max=4, seed=9, below=(0.5, 2.0)
    )
    assert decode_program(encode_program(sent)) == sent
    closed = program(concurrency=3, rate_max_rps=7.5, schedule=[])
    assert decode_program(encode_program(closed)) == closed
    came = Performance(
        rows=[SentRow(7, Instant(1), Instant(2), Instant(3), 200)],
        started_at=Instant(0),
        stopped_at=Instant(5),
        ended_at=Instant(6),
        planned_count=1,
        not_sent_count=0,
        is_ended_early=False,
        is_stopped=True,
        generators=(GeneratorHealth(1, 1, Nanos(1), Nanos(2)),),
        faults=("died",),
    )
    assert decode_performance(encode_performance(came)) == came


def test_a_schedule_is_played_from_the_instant_that_is_named() -> None:
    told: list[float] = []
    with Station(slots=4, service_ms=5) as station:
        begin_at = Instant(monotonic_now() + milliseconds(80))
        schedule = [(milliseconds(10 * n), n % 2 * 7) for n in range(30)]
        done = asyncio.run(
            perform(
                program(url=station.url, schedule=schedule), begin_at=begin_at, watch=told.append
            )
        )
    assert done.started_at == begin_at
    due = [row.intended_at - begin_at for row in sorted(done.rows, key=lambda r: r.intended_at)]
    assert due == [offset for offset, _ in schedule]
    assert all(row.sent_at >= row.intended_at for row in done.rows)
    assert {row.number for row in done.rows} == {0, 7}
    assert [row.status for row in done.rows] == [200] * 30
    (health,) = done.generators
    assert (health.planned_count, health.sent_count) == (30, 30)
    assert health.cpu_ns > 0
    assert told


def test_a_closed_program_keeps_so_many_in_flight() -> None:
    with Station(slots=4, service_ms=10) as station:
        done = asyncio.run(perform(program(url=station.url, concurrency=2)))
    assert 2 < done.planned_count <= 61
    assert done.stopped_at == done.started_at + seconds(0.3)
    sent = sorted(row.sent_at for row in done.rows)
    ended = sorted(row.done_at for row in done.rows)
    # Whoever ends makes room for the next, and nothing else does; but for the last moment.
    assert all(ended[number] <= at for number, at in enumerate(sent[2:]))
    in_time = sum(at < done.stopped_at for at in ended)
    assert in_time <= done.planned_count <= in_time + 2


def test_a_closed_program_never_sends_more_than_its_cap() -> None:
    with Station(slots=4, service_ms=1) as station:
        plan = program(url=station.url, concurrency=3, rate_max_rps=100.0)
        done = asyncio.run(perform(plan))
    offsets = [row.intended_at - done.started_at for row in done.rows]
    assert 1 < len(offsets) <= 31
    assert all(sent <= 1 + at / 1e7 for sent, at in enumerate(sorted(offsets), 1))


def test_arrivals_beyond_the_cap_end_it_early() -> None:
    with Station(slots=1, service_ms=50) as station:
        schedule = [(milliseconds(n), 0) for n in range(200)]
        done = asyncio.run(
            perform(program(url=station.url, schedule=schedule, in_flight_max=2, not_sent_max=5))
        )
    assert done.is_ended_early
    assert done.not_sent_count == 6
    assert done.stopped_at < done.started_at + seconds(0.3)
    with pytest.raises(ValueError, match="http://"):
        asyncio.run(perform(program(url="https://127.0.0.1:1", concurrency=1)))


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_who_is_asked_to_stop_sends_no_more_and_waits_for_the_rest(kind: str) -> None:
    stopped: list[float] = []
    with Station(slots=8, service_ms=40) as station:
        schedule = [(milliseconds(5 * n), 0) for n in range(4_000)]
        chosen = {"schedule": schedule} if kind == "open" else {"concurrency": 2}
        plan = program(url=station.url, length_ns=seconds(20), **chosen)

        def is_stopped() -> bool:
            return bool(stopped)

        def watch(share: float) -> None:
            if share > 0.005:
                stopped.append(share)

        done = asyncio.run(perform(plan, watch=watch, is_stopped=is_stopped))
    assert done.is_stopped
    assert not done.is_ended_early
    assert done.planned_count == len(done.rows) > 2
    assert [row.status for row in done.rows] == [200] * len(done.rows)
    assert all(row.sent_at <= done.stopped_at for row in done.rows)
    assert done.ended_at < done.started_at + seconds(10)


def test_a_stop_after_the_last_arrival_cuts_nothing_short() -> None:
    with Station(slots=1, service_ms=5) as station:
        plan = program(url=station.url, schedule=[(Nanos(0), 0)])
        sent: list[bool] = []

        def is_stopped() -> bool:
            sent.append(True)
            return len(sent) > 1

        done = asyncio.run(perform(plan, is_stopped=is_stopped))
    assert not done.is_stopped
    assert done.planned_count == 1
