"""Shared machines slow down by the laws they are named after."""

from __future__ import annotations

import pytest
from harness.worlds import Answers, make_call

from shedproxy.simulator.backend.sharing import (
    SharingHost,
    best_usl_concurrency,
    shared_pace,
    usl_pace,
)
from shedproxy.simulator.engine import Engine


class Bench:
    def __init__(self, cores: int = 1) -> None:
        self.engine = Engine()
        self.answers = Answers(self.engine)
        self.host = SharingHost(
            self.engine, slots=cores, pace=shared_pace(cores), on_done=self.answers
        )

    def submit(self, serial: int, work_ns: int, at: int = 0) -> object:
        call = make_call(serial, work_ns=work_ns)
        self.engine.at(at, self.host.submit, call)
        return call

    def run(self) -> list[tuple[int, int, int]]:
        self.engine.run(100_000)
        return self.answers.seen


def test_one_core_is_divided_by_those_inside() -> None:
    """Two of 10: each runs at half speed; the later one has the core to itself at the end."""
    bench = Bench()
    bench.submit(1, 100)
    bench.submit(2, 100, at=50)
    assert bench.run() == [(1, 200, 150), (2, 200, 200)]
    assert bench.host.busy_ns == 200


def test_cores_are_not_divided_while_there_is_one_for_each() -> None:
    bench = Bench(cores=2)
    bench.submit(1, 100)
    bench.submit(2, 100)
    bench.submit(3, 100, at=100)
    assert bench.run() == [(1, 200, 100), (2, 200, 100), (3, 200, 200)]


def test_a_pause_stops_everybody_for_exactly_its_length() -> None:
    bench = Bench()
    bench.submit(1, 100)
    bench.engine.at(30, bench.host.pause, 20)
    bench.submit(2, 10, at=40)
    # From 50 on: 70 and 10 left, at half speed: the second leaves at 70, the first at 130.
    assert bench.run() == [(2, 200, 70), (1, 200, 130)]


def test_a_stopped_call_leaves_its_share_to_the_others() -> None:
    bench = Bench()
    bench.submit(1, 100)
    second = bench.submit(2, 100)
    bench.engine.at(40, bench.host.stop, second)
    assert bench.run() == [(1, 200, 120)]
    assert bench.host.busy_ns == 100 + 20


def test_more_cores_speed_up_those_inside() -> None:
    bench = Bench()
    bench.submit(1, 100)
    bench.submit(2, 100)
    bench.engine.at(100, bench.host.resize, 2)
    assert bench.run() == [(1, 200, 150), (2, 200, 150)]


def test_a_lost_machine_breaks_what_it_had() -> None:
    bench = Bench()
    bench.submit(1, 100)
    bench.submit(2, 100)
    bench.engine.at(100, lambda _: bench.host.lose(), None)
    assert bench.run() == [(1, 0, 100), (2, 0, 100)]
    assert (bench.host.load, bench.host.busy_ns) == (0, 100)


@pytest.mark.parametrize(("alpha", "beta", "best"), [(0.0, 0.01, 10), (0.05, 0.0005, 44)])
def test_the_universal_law_has_its_best_concurrency_where_gunther_says(
    alpha: float, beta: float, best: int
) -> None:
    """sqrt((1 - alpha) / beta), and throughput falls on both sides of it."""

    def throughput(count: int) -> float:
        return count * usl_pace(alpha, beta)(count)

    assert best_usl_concurrency(alpha, beta) == best
    assert throughput(best) == max(throughput(count) for count in range(1, 200))
    assert best_usl_concurrency(alpha, 0.0, at_most=77) == 77
