"""Vector's test server: latency by its formula, refusals in its two ways."""

from __future__ import annotations

import random

import pytest
from harness.worlds import Answers, make_call

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.backend.knee import KneeHost, latency_factor
from shedproxy.simulator.engine import Engine
from shedproxy.workload.scenario import BackendSpec

DELAY_NS = 100 * NS_PER_MS


class Bench:
    def __init__(self, **spec: object) -> None:
        self.engine = Engine()
        self.answers = Answers(self.engine)
        backend = BackendSpec(kind="knee", **spec)
        self.host = KneeHost(self.engine, backend, rng=random.Random(1), on_done=self.answers)

    def answered(self, count: int) -> list[tuple[int, int, float]]:
        """(serial, status, ms) of so many calls that come at once."""
        for serial in range(1, count + 1):
            self.host.submit(make_call(serial, work_ns=DELAY_NS))
        self.engine.run(100 * NS_PER_S)
        return [
            (serial, status, round(at / NS_PER_MS, 3))
            for serial, status, at in sorted(self.answers.seen)
        ]


def test_latency_rises_with_what_is_in_flight() -> None:
    """A delay of 100 ms, a tenth more for each other call."""
    assert Bench(knee_scale=0.1).answered(3) == [(1, 200, 100), (2, 200, 110), (3, 200, 120)]


@pytest.mark.parametrize(("x", "factor"), [(1, 0.0), (5, 0.4), (6, 0.5 + 2 - 1), (8, 0.7 + 8 - 1)])
def test_beyond_the_knee_latency_rises_exponentially(x: float, factor: float) -> None:
    assert latency_factor(x, scale=0.1, start=5, exponent=2) == pytest.approx(factor)


def test_latency_rises_with_the_rate_of_the_last_second() -> None:
    bench = Bench(rate_scale=0.5)
    assert bench.answered(2) == [(1, 200, 100), (2, 200, 150)]
    bench.host.submit(make_call(3, work_ns=DELAY_NS))
    bench.engine.run(200 * NS_PER_S)
    assert bench.answers.seen[-1] == (3, 200, 100 * NS_PER_S + DELAY_NS)


def test_above_the_bound_it_answers_503_after_one_plain_delay() -> None:
    bench = Bench(knee_scale=0.1, reject_above=2)
    assert bench.answered(3) == [(1, 200, 100), (2, 200, 110), (3, 503, 100)]


def test_or_never() -> None:
    bench = Bench(reject_above_rps=2, reject_by="drop")
    assert [serial for serial, *_ in bench.answered(4)] == [1, 2]
    assert bench.host.load == 0


def test_a_call_that_was_dropped_leaves_once() -> None:
    bench = Bench(reject_above=1, reject_by="drop")
    bench.host.submit(make_call(1))
    dropped = make_call(2)
    bench.host.submit(dropped)
    bench.host.stop(dropped)
    assert bench.host.load == 1


def test_jitter_is_exponential_with_its_share_of_the_delay_as_mean() -> None:
    bench = Bench(jitter=0.5)
    latencies = [ms for *_, ms in bench.answered(20_000)]
    assert sum(latencies) / len(latencies) == pytest.approx(150, rel=0.02)
    assert min(latencies) >= 100
