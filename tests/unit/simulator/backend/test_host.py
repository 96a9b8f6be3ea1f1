"""A machine with slots does its work exactly: queue, pauses, locks, cancellation, death."""

from __future__ import annotations

import pytest
from harness.worlds import Answers, make_call

from shedproxy.simulator.backend.host import Host
from shedproxy.simulator.engine import Engine


class Bench:
    def __init__(self, slots: int = 1, **more: object) -> None:
        self.engine = Engine()
        self.answers = Answers(self.engine)
        self.host = Host(self.engine, slots=slots, on_done=self.answers, **more)

    def submit(self, serial: int, work_ns: int, *, needs_lock: bool = False) -> object:
        call = make_call(serial, work_ns=work_ns)
        call.needs_lock = needs_lock
        self.host.submit(call)
        return call

    def run(self, until: int = 10_000) -> list[tuple[int, int, int]]:
        self.engine.run(until)
        return self.answers.seen


def test_slots_work_side_by_side_and_the_rest_comes_in_order() -> None:
    bench = Bench(slots=2)
    for serial, work_ns in ((1, 10), (2, 20), (3, 5)):
        bench.submit(serial, work_ns)
    assert (bench.host.running, bench.host.load) == (2, 3)
    assert bench.run() == [(1, 200, 10), (3, 200, 15), (2, 200, 20)]
    assert (bench.host.running, bench.host.load, bench.host.busy_ns) == (0, 0, 35)


def test_a_wide_call_takes_as_many_slots_and_those_behind_it_wait() -> None:
    bench = Bench(slots=3)
    for serial, cost in ((1, 1), (2, 3), (3, 1)):
        call = make_call(serial, work_ns=10, cost=cost)
        bench.host.submit(call)
    assert (bench.host.running, bench.host.load) == (1, 3)
    assert bench.run() == [(1, 200, 10), (2, 200, 20), (3, 200, 30)]
    assert bench.host.busy_ns == 10 + 30 + 10


def test_one_wider_than_the_machine_runs_alone() -> None:
    bench = Bench(slots=2)
    for serial, cost in ((1, 1), (2, 5), (3, 1)):
        bench.host.submit(make_call(serial, work_ns=10, cost=cost))
    assert bench.run() == [(1, 200, 10), (2, 200, 20), (3, 200, 30)]


def test_a_full_queue_is_answered_with_503_at_once() -> None:
    bench = Bench(queue_max=1)
    for serial in (1, 2, 3):
        bench.submit(serial, 10)
    assert bench.run() == [(3, 503, 0), (1, 200, 10), (2, 200, 20)]


def test_a_slower_machine_is_slower_from_the_next_call_on() -> None:
    bench = Bench()
    bench.submit(1, 10)
    bench.host.factor = 3.0
    bench.submit(2, 10)
    assert bench.run() == [(1, 200, 10), (2, 200, 40)]


@pytest.mark.parametrize(
    ("pauses", "answered_at"),
    [
        ([(4, 5)], 15),
        ([(9, 1)], 11),
        ([(10, 7)], 10),
        ([(2, 3), (7, 3)], 16),
        # The second begins in the first: together they last from 2 to 8.
        ([(2, 4), (4, 4)], 16),
        ([(2, 6), (4, 1)], 16),
    ],
)
def test_pauses_delay_by_exactly_their_length(
    pauses: list[tuple[int, int]], answered_at: int
) -> None:
    bench = Bench()
    bench.submit(1, 10)
    for at, length_ns in pauses:
        bench.engine.at(at, bench.host.pause, length_ns)
    assert bench.run() == [(1, 200, answered_at)]
    assert bench.host.busy_ns == 10


def test_work_that_comes_in_a_pause_begins_after_it() -> None:
    bench = Bench()
    bench.engine.at(5, bench.host.pause, 10)
    bench.engine.at(7, lambda _: bench.submit(1, 10), None)
    assert bench.run() == [(1, 200, 25)]


def test_a_stopped_call_frees_its_slot_and_counts_what_was_done() -> None:
    bench = Bench()
    call = bench.submit(1, 100)
    bench.submit(2, 10)
    bench.engine.at(10, bench.host.pause, 5)
    bench.engine.at(30, bench.host.stop, call)
    assert bench.run() == [(2, 200, 40)]
    assert bench.host.busy_ns == 25 + 10


def test_a_queued_call_that_is_stopped_never_runs() -> None:
    bench = Bench()
    bench.submit(1, 10)
    bench.host.stop(bench.submit(2, 10))
    assert bench.run() == [(1, 200, 10)]
    assert (bench.host.load, bench.host.busy_ns) == (0, 10)


def test_more_slots_take_from_the_queue_and_fewer_let_run_what_runs() -> None:
    bench = Bench()
    for serial in (1, 2, 3):
        bench.submit(serial, 10)
    bench.engine.at(2, bench.host.resize, 2)
    bench.engine.at(5, bench.host.resize, 1)
    assert bench.run() == [(1, 200, 10), (2, 200, 12), (3, 200, 22)]


def test_the_lock_is_held_by_one_and_others_wait_for_it_in_their_slots() -> None:
    bench = Bench(slots=3)
    bench.submit(1, 10, needs_lock=True)
    bench.submit(2, 10, needs_lock=True)
    bench.submit(3, 10)
    bench.submit(4, 1)
    assert bench.run() == [(1, 200, 10), (3, 200, 10), (4, 200, 11), (2, 200, 20)]


def test_a_stopped_holder_passes_the_lock_on() -> None:
    bench = Bench(slots=3)
    holder = bench.submit(1, 100, needs_lock=True)
    waiter = bench.submit(2, 10, needs_lock=True)
    bench.submit(3, 10, needs_lock=True)
    bench.engine.at(5, bench.host.stop, waiter)
    bench.engine.at(7, bench.host.stop, holder)
    assert bench.run() == [(3, 200, 17)]
    assert bench.host.busy_ns == 7 + 10


def test_a_lost_machine_breaks_what_it_had() -> None:
    bench = Bench(may_die=True)
    for serial in (1, 2):
        bench.submit(serial, 10)
    bench.engine.at(4, lambda _: bench.host.lose(), None)
    assert bench.run() == [(1, 0, 4), (2, 0, 4)]
    assert (bench.host.is_up, bench.host.load, bench.host.busy_ns) == (False, 0, 4)
