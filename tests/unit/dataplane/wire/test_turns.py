from __future__ import annotations

import random

import pytest

from shedproxy.core import Instant
from shedproxy.dataplane.wire.turns import QUANTUM_NS, ROUND_NS, Turns
from shedproxy.testing import ManualClock

COST_MAX_NS = 60_000


class Loop:
    """Reads what is ready, one after the other, then goes round; work is all that takes time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.turns = Turns(self.clock, self.wake)
        self.is_woken = False
        self.done: list[Work] = []
        self.held = 0

    def wake(self) -> None:
        assert not self.is_woken
        self.is_woken = True

    def read(self, *works: Work) -> None:
        for work in works:
            party = self.turns.party(work.cell)
            entered_at = self.turns.enter(party)
            if entered_at:
                work.on_turn()
                self.turns.leave(party, entered_at)
            else:
                self.held += 1
                self.turns.hold(party, work)

    def go_round(self) -> bool:
        """False: nothing waits."""
        if self.is_woken:
            self.is_woken = False
            self.turns.serve()
            return True
        return False

    def worked_ns(self, cell: str) -> int:
        return sum(work.cost_ns for work in self.done if work.cell == cell)


class Work:
    def __init__(self, loop: Loop, cell: str, cost_ns: int = COST_MAX_NS) -> None:
        self.loop = loop
        self.cell = cell
        self.cost_ns = cost_ns
        self.done_at = Instant(0)

    def on_turn(self) -> None:
        self.loop.clock.advance(self.cost_ns)
        self.loop.done.append(self)
        self.done_at = self.loop.clock()


@pytest.mark.parametrize("seed", range(5))
def test_who_needs_less_than_half_of_the_loop_is_never_held(seed) -> None:
    loop, chance = Loop(), random.Random(seed)
    for _ in range(2000):
        cost_ns = chance.randint(1, QUANTUM_NS)
        loop.read(Work(loop, "a", cost_ns))
        loop.clock.advance(cost_ns + chance.randint(0, 2 * ROUND_NS))
    assert (loop.held, loop.is_woken, len(loop.done)) == (0, False, 2000)


@pytest.mark.parametrize("seed", range(5))
def test_those_who_have_work_have_equal_parts_of_the_loop(seed) -> None:
    """Whatever their pieces cost, and however many there are of them."""
    loop, chance = Loop(), random.Random(seed)
    pieces = {"a": (5000, 20_000), "b": (900, 100_000), "c": (20_000, 5000)}
    for cell, (count, cost_ns) in pieces.items():
        loop.read(*(Work(loop, cell, chance.randint(1, cost_ns)) for _ in range(count)))
    for _ in range(100):
        assert loop.go_round()
        worked = [loop.worked_ns(cell) for cell in pieces]
        assert max(worked) - min(worked) <= QUANTUM_NS + 2 * 100_000
    # And that is a quantum in every round.
    assert min(worked) >= 100 * QUANTUM_NS - 100_000


@pytest.mark.parametrize("others", [1, 5])
def test_nobody_waits_for_more_than_a_quantum_of_each_other(others) -> None:
    loop = Loop()
    for number in range(others):
        loop.read(*(Work(loop, f"flood {number}") for _ in range(1000)))
    took = []
    for _ in range(50):
        began_at, work = loop.clock(), Work(loop, "b")
        loop.go_round()
        loop.read(work)
        took.append(work.done_at - began_at)
    assert min(took) > 0
    assert max(took) <= others * (QUANTUM_NS + COST_MAX_NS) + work.cost_ns


def test_alone_it_loses_no_time_and_keeps_its_order() -> None:
    loop = Loop()
    began_at = loop.clock()
    works = [Work(loop, "a") for _ in range(500)]
    loop.read(*works)
    rounds = 0
    while loop.go_round():
        rounds += 1
    assert loop.done == works
    assert loop.clock() - began_at == 500 * COST_MAX_NS
    assert rounds <= 500 * COST_MAX_NS // QUANTUM_NS + 1
    held, held_ns = loop.turns.party("a").take_held()
    assert held == loop.held > 450
    assert held_ns > held * QUANTUM_NS
    assert loop.turns.party("a").take_held() == (0, 0)


def test_a_new_round_lets_nobody_pass_who_came_later() -> None:
    loop = Loop()
    first, second, third = (Work(loop, "a", QUANTUM_NS) for _ in range(3))
    loop.read(first, second)
    loop.clock.advance(10 * ROUND_NS)
    loop.read(third)
    assert loop.done == [first]
    while loop.go_round():
        pass
    assert loop.done == [first, second, third]


def test_what_took_too_long_is_taken_off_later_quanta() -> None:
    loop = Loop()
    loop.read(Work(loop, "a", 10 * QUANTUM_NS), Work(loop, "b", QUANTUM_NS - 1), Work(loop, "a"))
    # Five rounds were over by the time alone.
    assert loop.held == 1
    rounds = 0
    while loop.go_round():
        rounds += 1
    assert rounds == 5
    assert [work.cell for work in loop.done] == ["a", "b", "a"]


def test_one_that_fails_keeps_nobody_from_their_turn() -> None:
    class Failing(Work):
        def on_turn(self) -> None:
            super().on_turn()
            raise ZeroDivisionError

    loop = Loop()
    for cell in "ab":
        loop.read(Work(loop, cell, 3 * QUANTUM_NS), Failing(loop, cell), Work(loop, cell))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            loop.go_round()
    while loop.go_round():
        pass
    assert [work.cell for work in loop.done] == ["a", "b", "a", "a", "b", "b"]


def test_cells_that_are_no_more_are_forgotten_and_what_they_wait_for_is_done() -> None:
    loop = Loop()
    loop.read(*(Work(loop, "a", QUANTUM_NS) for _ in range(2)))
    loop.turns.keep(("b", "c"))
    assert [party.cell for party in loop.turns.parties()] == ["", "", "b", "c"]
    loop.go_round()
    assert len(loop.done) == 2
