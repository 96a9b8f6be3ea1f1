"""Several generators are one: the same arrivals, one clock, and each answers for itself."""

from __future__ import annotations

import math
import os
import random
import signal
import threading

import pytest

from shedproxy.core import Nanos, milliseconds, seconds
from shedproxy.loadgen.crew import Crew, deal
from shedproxy.loadgen.program import Program
from shedproxy.loadgen.station import Station
from shedproxy.workload import constant_arrivals, poisson_arrivals

ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def program(url: str = "http://127.0.0.1:1", **changes: object) -> Program:
    values: dict[str, object] = {
        "url": url, "messages": {0: ASK}, "deadline_ns": seconds(1), "length_ns": seconds(0.4),
        "below": (1.0,),
    }  # fmt: skip
    return Program(**(values | changes))


def test_what_is_dealt_adds_up_to_the_plan_and_each_part_is_poisson() -> None:
    rng = random.Random(4)
    length_ns = seconds(200)
    offsets = poisson_arrivals(rate_rps=100.0, duration_ns=length_ns, rng=rng)
    plan = program(schedule=[(offset, 0) for offset in offsets], length_ns=length_ns)
    parts = deal(plan, 4, rng, in_turns=False)
    assert sorted(a for part in parts for a in part.schedule) == list(plan.schedule)
    for part in parts:
        counts = [0] * 200
        for offset, _ in part.schedule:
            counts[offset // seconds(1)] += 1
        mean = math.fsum(counts) / 200
        variance = math.fsum((count - mean) ** 2 for count in counts) / 199
        assert mean == pytest.approx(25, rel=0.06)
        assert 0.7 < variance / mean < 1.35


def test_equal_gaps_are_dealt_in_turns() -> None:
    offsets = constant_arrivals(rate_rps=100.0, duration_ns=seconds(1))
    plan = program(schedule=[(offset, 0) for offset in offsets])
    for part in deal(plan, 3, random.Random(1), in_turns=True):
        gaps = {b[0] - a[0] for a, b in zip(part.schedule, part.schedule[1:], strict=False)}
        assert gaps == {milliseconds(30)}


def test_a_closed_level_is_split_and_nobody_is_asked_for_nothing() -> None:
    rng = random.Random(1)
    parts = deal(program(concurrency=5, in_flight_max=9), 3, rng, in_turns=False)
    assert [part.concurrency for part in parts] == [2, 2, 1]
    assert len({part.seed for part in parts}) == 3
    assert [part.in_flight_max for part in parts] == [3, 3, 3]
    assert len(deal(program(concurrency=2), 3, rng, in_turns=False)) == 2
    paced = deal(program(concurrency=5, rate_max_rps=100.0), 3, rng, in_turns=False)
    assert [part.rate_max_rps for part in paced] == [40, 40, 20]


def test_two_play_one_plan_on_one_clock_and_a_dead_one_is_a_fault_once() -> None:
    schedule = [(milliseconds(4 * n), 0) for n in range(100)]
    told: list[float] = []
    with Station(slots=8, service_ms=5) as station, Crew(2) as crew:
        plan = program(station.url, schedule=schedule)
        done = crew.perform(plan, random.Random(1), in_turns=True, watch=told.append)
        due = [row.intended_at - done.started_at for row in done.rows]
        assert due == [offset for offset, _ in schedule]
        assert [row.status for row in done.rows] == [200] * 100
        assert [part.planned_count for part in done.generators] == [50, 50]
        assert done.faults == ()
        assert told

        victim = crew.pids[1]
        killer = threading.Timer(0.15, os.kill, (victim, signal.SIGKILL))
        killer.start()
        hurt = crew.perform(plan, random.Random(1), in_turns=True)
        assert hurt.faults == ("generator process 2 of 2 died of SIGKILL",)
        assert len(hurt.rows) == 50

        closed = crew.perform(program(station.url, concurrency=4), random.Random(1))
        assert closed.faults == ()
        assert len(closed.generators) == 2
        assert victim not in crew.pids
    assert crew.pids == []


def test_interrupted_it_leaves_nobody_at_work() -> None:
    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with Station(slots=8, service_ms=5) as station, Crew(2) as crew:
        before = crew.pids
        plan = program(
            station.url, schedule=[(Nanos(0), 0), (seconds(30), 0)], length_ns=seconds(31)
        )
        with pytest.raises(KeyboardInterrupt):
            crew.perform(plan, random.Random(1), in_turns=True, watch=interrupt)
        for pid in before:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
