"""The backend does what its events say, and knows the truth about itself."""

from __future__ import annotations

import math
import random

import pytest
from harness.worlds import Answers, make_call

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.simulator.backend.service import Backend, capacity_rps
from shedproxy.simulator.engine import Engine
from shedproxy.workload.scenario import BackendSpec, EventSpec


class Bench:
    """A backend that gets calls of 10 ms, by hand."""

    def __init__(self, *events: EventSpec, **spec: object) -> None:
        self.engine = Engine()
        self.answers = Answers(self.engine)
        given: dict[str, object] = {"slots": 1, "service_ms": 10.0, "law": "constant", **spec}
        self.backend = Backend(
            self.engine,
            BackendSpec(**given),
            events,
            rng=random.Random(1),
            on_done=self.answers,
        )

    def submit_at(self, *at_ms: float, work_ms: float = 10) -> None:
        for at in at_ms:
            call = make_call(int(at * 1000) + 1, work_ns=int(work_ms * NS_PER_MS))
            self.engine.at(int(at * NS_PER_MS), self.backend.submit, call)

    def run(self, until_s: float = 100) -> list[tuple[int, float]]:
        """(status, ms) of every answer."""
        self.engine.run(int(until_s * NS_PER_S))
        return [(status, at / NS_PER_MS) for _, status, at in self.answers.seen]


def event(what: str, **more: object) -> EventSpec:
    return EventSpec(**{"at_s": 1.0, "what": what, **more})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"slots": 4, "service_ms": 20.0}, 200),
        ({"slots": 4, "service_ms": 20.0, "hosts": 3}, 600),
        ({"slots": 40, "service_ms": 10.0, "lock_share": 0.1}, 1000),
        ({"kind": "sharing", "slots": 2, "service_ms": 10.0}, 200),
        ({"kind": "usl", "service_ms": 10.0, "beta": 0.01}, 100 * 10 / (1 + 0.9)),
        ({"kind": "knee"}, math.inf),
    ],
)
def test_capacity_is_slots_over_service_or_what_bounds_it(
    spec: dict[str, object], expected: float
) -> None:
    assert capacity_rps(BackendSpec(**spec)) == pytest.approx(expected)


def test_the_network_takes_half_of_its_time_each_way_and_no_slot() -> None:
    bench = Bench(network_ms=4)
    bench.submit_at(0, 0)
    assert bench.run() == [(200, 14), (200, 24)]


def test_a_wait_for_somebody_else_holds_no_slot() -> None:
    bench = Bench(event("downstream", factor=50, for_s=1))
    bench.submit_at(0, 1000, 1000, 3000)
    assert bench.run() == [(200, 10), (200, 1060), (200, 1070), (200, 3010)]


def test_service_becomes_slower_by_and_by_and_stays_so() -> None:
    """Twice as long within a second: half way after half of it."""
    bench = Bench(event("service_ramp", factor=2, for_s=1))
    bench.submit_at(500, 1505, 3000)
    assert bench.run() == [(200, 510), (200, 1520), (200, 3020)]


def test_a_ramp_begins_where_the_last_one_ended() -> None:
    down = EventSpec(at_s=1, what="service_ramp", factor=3, for_s=1)
    up = EventSpec(at_s=4, what="service_ramp", factor=1, for_s=1)
    bench = Bench(down, up)
    bench.submit_at(4001, 4505, 6000)
    assert bench.run() == [(200, 4031), (200, 4525), (200, 6010)]


def test_service_becomes_slower_and_comes_back() -> None:
    bench = Bench(event("service", factor=3, for_s=1))
    bench.submit_at(0, 1500, 2500)
    assert bench.run() == [(200, 10), (200, 1530), (200, 2510)]


def test_slots_become_fewer() -> None:
    bench = Bench(event("slots", factor=0.5), slots=2)
    bench.submit_at(0, 0, 1500, 1500)
    assert bench.run() == [(200, 10), (200, 10), (200, 1510), (200, 1520)]


def test_pauses_come_again_until_their_end() -> None:
    bench = Bench(event("pauses", for_s=0.1, every_s=1, until_s=2.5))
    bench.submit_at(995, 1995, 2995)
    assert bench.run() == [(200, 1105), (200, 2105), (200, 3005)]


def test_an_outage_answers_503_at_once_and_ends() -> None:
    bench = Bench(event("outage", for_s=1))
    bench.submit_at(1500, 2500)
    assert bench.run() == [(503, 1500), (200, 2510)]


@pytest.mark.parametrize(
    ("what", "statuses"),
    [("timeouts", {200}), ("fast_failures", {200, 500}), ("outage", {200, 503})],
)
def test_a_share_of_the_calls_fails_in_its_way(what: str, statuses: set[int]) -> None:
    bench = Bench(event(what, for_s=100, share=0.3), slots=1000)
    bench.submit_at(*range(2000, 3000))
    answers = bench.run()
    good = sum(status == 200 for status, _ in answers)
    assert {status for status, _ in answers} == statuses
    assert good == pytest.approx(700, abs=30)


def test_a_cold_cache_warms_evenly() -> None:
    bench = Bench(event("cold_cache", factor=11, for_s=2))
    bench.submit_at(1000, 2001, 3100)
    # 11 times at first, 6 times after half of the time, then as before.
    assert bench.run() == [(200, 1110), (200, 2061), (200, 3110)]


def test_from_a_lock_on_a_share_of_the_calls_works_one_by_one() -> None:
    bench = Bench(event("lock", share=1.0), slots=10)
    bench.submit_at(0, 0, 2000, 2000)
    assert bench.run() == [(200, 10), (200, 10), (200, 2010), (200, 2020)]


def test_the_least_loaded_machine_is_taken_and_a_lost_one_never() -> None:
    bench = Bench(event("lose_hosts"), hosts=2)
    bench.submit_at(0, 0, 995, 2000, 2000)
    answers = bench.run()
    assert answers == [(200, 10), (200, 10), (0, 1000), (200, 2010), (200, 2020)]


def test_without_any_machine_connections_break_at_once() -> None:
    bench = Bench(event("lose_hosts"))
    bench.submit_at(2000)
    assert bench.run() == [(0, 2000)]


def test_new_machines_are_slow_for_a_while() -> None:
    bench = Bench(event("lose_hosts"), event("add_hosts", at_s=2, factor=5, for_s=1))
    bench.submit_at(2500, 3500)
    assert bench.run() == [(200, 2550), (200, 3510)]


def test_a_stopped_call_on_its_way_never_arrives() -> None:
    bench = Bench(network_ms=4)
    call = make_call(1, work_ns=NS_PER_MS)
    bench.backend.submit(call)
    bench.backend.stop(call)
    assert bench.run() == []


@pytest.mark.parametrize(
    ("what", "more", "limits"),
    [
        ("slots", {"factor": 0.5}, (8, 4)),
        ("lock", {"share": 0.25}, (8, 8)),
        ("lock", {"share": 0.5}, (8, 2 + 2 * math.sqrt(2))),
        # As many aside as inside on average, and three times the root of that besides.
        ("downstream", {"factor": 10}, (8, 8 + 17)),
        ("lose_hosts", {}, (8, 1)),
    ],
)
def test_the_best_limit_follows_what_happens(
    what: str, more: dict[str, object], limits: tuple[float, float]
) -> None:
    bench = Bench(event(what, **more), slots=8)
    before = bench.backend.best_limit()
    bench.run(2)
    assert (before, bench.backend.best_limit()) == pytest.approx(limits)


@pytest.mark.parametrize(
    ("what", "more", "rps"),
    [
        ("slots", {"factor": 0.5}, 400),
        ("service", {"factor": 2}, 400),
        ("lock", {"share": 0.5}, 200),
        ("outage", {"for_s": 10}, 0),
        ("lose_hosts", {}, 0),
        ("add_hosts", {"factor": 2, "for_s": 10}, 1200),
    ],
)
def test_capacity_now_follows_what_happens(what: str, more: dict[str, object], rps: float) -> None:
    bench = Bench(event(what, **more), slots=8)
    assert bench.backend.capacity_now_rps() == 800
    bench.run(2)
    assert bench.backend.capacity_now_rps() == pytest.approx(rps)


def test_what_passes_in_the_proxy_is_aside_too() -> None:
    """As long as the service: as many on average, and three times the root of that."""
    spec = BackendSpec(slots=4, service_ms=1.0)
    made = Backend(
        Engine(), spec, (), rng=random.Random(1), on_done=lambda *_: None, noise_ns=NS_PER_MS
    )
    assert made.best_limit() == 4 + 4 + 6
    assert made.answer_ns() == 2 * NS_PER_MS


def test_work_done_outlives_its_machine() -> None:
    bench = Bench(event("lose_hosts"), event("add_hosts", at_s=2))
    bench.submit_at(0, 3000)
    bench.run()
    assert bench.backend.busy_ns == 20 * NS_PER_MS
    assert bench.backend.inside == 0
