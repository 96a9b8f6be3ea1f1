"""The mapping of keys, and the three steps of a move."""

from __future__ import annotations

from shedproxy.core import CellTable, MovePhase
from shedproxy.simulator.cells.plane import ControlPlane, Report

KEY = 0x1234_5678_9ABC_DEF0


def place_of(plane: ControlPlane) -> tuple[str, str, int]:
    """The key's owner, the cell that it goes to, and its phase."""
    table = CellTable(plane.table)
    place = table.find(KEY)
    return table.names[place & 0xFF], table.names[place >> 8 & 0xFF], place >> 16


def test_keys_are_spread_by_weight():
    table = CellTable(ControlPlane(("a", "b"), (3, 1)).table)
    buckets = table.buckets()
    assert (buckets.count(0), buckets.count(1)) == (12_288, 4_096)


def test_a_move_waits_for_each_word_of_the_data_plane():
    plane = ControlPlane(("a", "b"), (1, 0))
    plane.hear(Report(plane.version, {}))
    plane.order(KEY, "b")
    plane.order(KEY, "b")
    assert (plane.version, place_of(plane)) == (2, ("a", "b", MovePhase.MARKED))
    plane.hear(Report(1, {KEY: 0}))
    assert place_of(plane)[2] == MovePhase.MARKED, "nobody looks in the table that marks it"
    plane.hear(Report(2, {KEY: 9}))
    assert place_of(plane) == ("a", "b", MovePhase.HELD)
    plane.hear(Report(2, {KEY: 0}))
    plane.hear(Report(3, {KEY: 1}))
    assert place_of(plane)[2] == MovePhase.HELD, "work of the key is under way"
    assert plane.moving == {KEY}
    plane.hear(Report(3, {KEY: 0}))
    assert (place_of(plane)[0], place_of(plane)[2], plane.moves_done) == ("b", 0, 1)
    assert CellTable(plane.table).is_pinned(KEY)
    assert not plane.moving


def test_a_key_that_was_moved_can_be_moved_back():
    plane = ControlPlane(("a", "b"), (1, 0))
    for target in ("b", "a"):
        plane.order(KEY, target)
        plane.hear(Report(plane.version, {KEY: 0}))
        plane.hear(Report(plane.version, {KEY: 0}))
        assert place_of(plane)[0] == target
    assert plane.moves_done == 2
