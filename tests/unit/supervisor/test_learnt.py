"""The newest word of each worker, and all of it together."""

from __future__ import annotations

import pytest

from shedproxy.core import Remembered
from shedproxy.snapshot import CELLS_MAX, ROUTES_MAX, plain_memory
from shedproxy.supervisor.learnt import Learnt

KNOWN = Remembered(5_000_000, 40, 1.0)
OTHER = Remembered(7_000_000, 40, 1.0)


def told(**routes: Remembered) -> dict:
    return plain_memory({"default": routes})


def test_at_first_it_is_what_a_predecessor_knew():
    assert Learnt(3, {"default": {"r": KNOWN}}).merged() == {"default": {"r": KNOWN}}
    assert Learnt(2, {}).merged() == {}


def test_the_newest_word_of_a_worker_replaces_its_former_one():
    learnt = Learnt(1, {"default": {"r": KNOWN}})
    learnt.take(0, told(r=OTHER))
    assert learnt.merged() == {"default": {"r": OTHER}}


def test_workers_are_merged():
    learnt = Learnt(2, {})
    learnt.take(0, told(r=KNOWN))
    learnt.take(1, told(r=OTHER, s=OTHER))
    merged = learnt.merged()["default"]
    assert merged["r"].mean_ns == 6_000_000
    assert merged["s"] == OTHER


def test_cells_that_a_message_does_not_name_stay():
    learnt = Learnt(1, {})
    learnt.take(0, {"slow": told(r=KNOWN)["default"]})
    learnt.take(0, told(r=OTHER))
    assert learnt.merged() == {"slow": {"r": KNOWN}, "default": {"r": OTHER}}


def test_a_route_that_is_being_learnt_again_keeps_its_former_baseline():
    """A worker tells only what it trusts, and may die meanwhile."""
    learnt = Learnt(1, {"default": {"r": KNOWN, "s": KNOWN}})
    learnt.take(0, told(s=OTHER))
    assert learnt.merged() == {"default": {"r": KNOWN, "s": OTHER}}


@pytest.mark.parametrize("cells", [None, [], {"default": {"r": {"mean_ns": -1}}}, {"default": 3}])
def test_a_message_that_cannot_be_read_changes_nothing(cells):
    learnt = Learnt(1, {"default": {"r": KNOWN}})
    learnt.take(0, cells)
    assert learnt.merged() == {"default": {"r": KNOWN}}


def test_what_is_held_is_bounded():
    """The newest stay."""
    learnt = Learnt(1, {})
    learnt.take(0, told(**{f"old{number}": KNOWN for number in range(ROUTES_MAX)}))
    learnt.take(0, told(**{f"new{number}": KNOWN for number in range(10)}))
    routes = learnt.merged()["default"]
    assert len(routes) == ROUTES_MAX
    assert {f"new{number}" for number in range(10)} < set(routes)
    for number in range(CELLS_MAX):
        learnt.take(0, {f"cell{number}": told(r=KNOWN)["default"]})
    assert set(learnt.merged()) == {f"cell{number}" for number in range(CELLS_MAX)}
