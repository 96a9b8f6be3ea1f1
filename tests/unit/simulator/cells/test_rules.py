"""A breach of each rule is seen: the world is made to break it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from harness.cell_worlds import a_cell, two_cells
from harness.worlds import chance_of, make_call

from shedproxy.core import Criticality, RequestInfo
from shedproxy.simulator.cells.world import CellWorld
from shedproxy.workload.scenario import ClientSpec


@pytest.fixture
def world() -> CellWorld:
    cells = (a_cell(spill_to=("b",), spill_classes=("sheddable",)), a_cell("b"))
    keyed = ClientSpec(name="keyed", tenants=3, load=0.1)
    return CellWorld(two_cells(keyed, cell=cells), chance=chance_of(1), is_checked=True)


def call_of(world: CellWorld, home: str, *, named: str = "a", key: int = 9, **info):
    call = make_call(1, cell=home)
    values = {"criticality": Criticality.SHEDDABLE} | info
    call.info = RequestInfo(cell=home, **values)
    call.source = SimpleNamespace(spec=ClientSpec(cell=named))
    call.flow_hash = key
    return call


def words_of(world: CellWorld, call, cell: str) -> str:
    world.rules.on_submit(call, cell)
    return " ".join(world.rules.violations)


def test_what_may_be_is_no_breach(world):
    assert words_of(world, call_of(world, "a"), "a") == ""
    assert words_of(world, call_of(world, "a"), "b") == ""


def test_a_call_in_a_cell_that_is_not_its_keys(world):
    owner = world.router.owner(9)
    other = "b" if owner == "a" else "a"
    call = call_of(world, other, named="default")
    assert f"a call of {owner} was offered to {other}" in words_of(world, call, other)


def test_two_cells_that_work_for_one_key(world):
    owner = world.router.owner(9)
    assert owner in {"a", "b"}
    other = call_of(world, "c", named="default")
    other.permit = SimpleNamespace(request=RequestInfo(cell="c"))
    world.router._present[other] = 9
    assert "work for one key" in words_of(world, call_of(world, owner, named="default"), owner)


@pytest.mark.parametrize(
    ("info", "cell", "home", "words"),
    [
        ({"criticality": Criticality.CRITICAL}, "b", "a", "a critical call of a went to b"),
        ({}, "a", "b", "a sheddable call of b went to a"),
        ({"is_pinned": True}, "b", "a", "of a key that is pinned to a went to b"),
    ],
)
def test_a_guest_that_may_not_be_one(world, info, cell, home, words):
    assert words in words_of(world, call_of(world, home, **info), cell)


def test_a_cascade_and_a_host_without_room(world):
    stats = world.shedder.stats()
    one, two = stats.cells
    bad = (
        SimpleNamespace(name="a", guests=1),
        SimpleNamespace(name="b", guests=0, queue_length=1, in_flight=5, limit=8),
    )
    assert (one.guests, two.guests) == (0, 0)
    world.rules._cells = SimpleNamespace(
        shedder=SimpleNamespace(stats=lambda: SimpleNamespace(cells=bad)), router=world.router
    )
    found = words_of(world, call_of(world, "a"), "b")
    assert "a has 1 guests, and sent one on to b" in found
    assert "b took a guest with 5 of 8 in flight and 1 waiting" in found
