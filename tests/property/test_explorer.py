"""The explorer itself: on machines whose spaces are known by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.explorer import TooManyStatesError, explore


def pours(state: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Two jugs of 5 and 3."""
    five, three = state
    yield "fill 5", (5, three)
    yield "fill 3", (five, 3)
    yield "empty 5", (0, three)
    yield "empty 3", (five, 0)
    poured = min(five, 3 - three)
    yield "5 to 3", (five - poured, three + poured)
    poured = min(three, 5 - five)
    yield "3 to 5", (five + poured, three - poured)


def test_all_states_are_found_and_counted():
    space = explore([(0, 0)], pours)
    # With these jugs at least one is full or empty: 2 * 6 + 2 * 2.
    assert (space.states, space.steps, space.violation) == (16, 96, None)
    assert str(space) == f"16 states, 96 steps, depth {space.depth}: 0 violations"


def test_the_trace_is_the_shortest():
    """The puzzle: four litres take six pours."""
    found = explore([(0, 0)], pours, invariant=lambda jugs: "4" if jugs[0] == 4 else None)
    assert found.violation is not None
    assert found.violation.labels == ("fill 5", "5 to 3", "empty 3", "5 to 3", "fill 5", "5 to 3")
    assert str(found.violation).splitlines()[-1].split() == ["5", "to", "3", "(4,", "3)"]


def test_a_step_may_be_wrong_between_two_good_states():
    found = explore(
        [(0, 0)],
        pours,
        step_invariant=lambda before, _, after: "spilt" if sum(after) < sum(before) else None,
    )
    assert found.violation is not None
    assert found.violation.what == "spilt"
    assert found.violation.trace == (("start", (0, 0)), ("fill 5", (5, 0)), ("empty 5", (0, 0)))


def test_a_dead_end_is_found():
    ways = {0: [1, 2], 1: [0], 2: [3], 3: [3]}
    found = explore(
        [0], lambda at: ((f"to {way}", way) for way in ways[at]), goal=lambda at: at == 0
    )
    assert found.violation is not None
    assert (found.violation.what, found.violation.labels) == ("no way to the goal", ("to 2",))


def test_what_differs_in_names_alone_is_visited_once():
    def steps(bits: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        for index, bit in enumerate(bits):
            yield f"flip {index}", (*bits[:index], 1 - bit, *bits[index + 1 :])

    start = (0,) * 10
    assert explore([start], steps).states == 1024
    assert explore([start], steps, canonical=lambda bits: tuple(sorted(bits))).states == 11


def test_a_model_without_end_proves_nothing():
    with pytest.raises(TooManyStatesError):
        explore([0], lambda at: [("on", at + 1)], states_max=100)


def test_a_bad_start_is_a_trace_of_its_own():
    found = explore([1, 2], lambda _: (), invariant=lambda at: "two" if at == 2 else None)
    assert found.violation is not None
    assert found.violation.trace == (("start", 2),)
