"""A key leads to its cell: pinned first, else by its bucket; the same wherever the bytes are."""

from __future__ import annotations

import random

import pytest

from shedproxy.core import (
    BUCKETS,
    CellTable,
    MovePhase,
    bucket_of,
    build_cell_table,
    hold_marked,
    motion_place,
)

NAMES = ("a", "b", "c", "d")
STRIPED = [bucket % 4 for bucket in range(BUCKETS)]


def table(pins=(), **more):
    return CellTable(build_cell_table(NAMES, STRIPED, dict(pins), **more))


def hashes(count, seed=1):
    rng = random.Random(seed)
    return [rng.getrandbits(64) or 1 for _ in range(count)]


def test_every_key_has_the_cell_of_its_bucket_and_no_other():
    spread = table()
    for key in hashes(1000):
        assert spread.find(key) == STRIPED[bucket_of(key)]
    assert spread.buckets() == STRIPED


def test_the_top_bits_name_the_bucket():
    assert [bucket_of(1), bucket_of(1 << 50), bucket_of((1 << 64) - 1)] == [0, 1, BUCKETS - 1]


def test_pinned_keys_are_found_and_all_others_are_where_they_were():
    keys = hashes(2000)
    pins = {key: (bucket_of(key) + 1) % 4 for key in keys[:1000]}
    pinned = table(pins)
    assert {key: pinned.find(key) for key in pins} == pins
    assert [pinned.find(key) for key in keys[1000:]] == [STRIPED[bucket_of(k)] for k in keys[1000:]]
    assert pinned.pins() == pins
    assert [pinned.is_pinned(key) for key in keys] == [True] * 1000 + [False] * 1000


def test_keys_that_want_one_slot_are_all_found():
    pins = {(index << 20) + 8: index % 4 for index in range(1, 40)}
    crowded = table(pins)
    assert {key: crowded.find(key) for key in pins} == pins
    assert crowded.find(41 << 20) == STRIPED[0]


def test_a_table_with_the_same_room_has_the_same_size_whatever_is_in_it():
    sizes = {
        len(build_cell_table(NAMES, STRIPED, dict.fromkeys(hashes(count), 1), slot_count=4096))
        for count in (0, 1, 2000)
    }
    assert len(sizes) == 1


def test_an_entry_costs_the_same_memory_however_many_there_are():
    empty = len(build_cell_table(NAMES, STRIPED, {}))
    for count in (4096, 65_536):
        size = len(build_cell_table(NAMES, STRIPED, dict.fromkeys(hashes(count), 1))) - empty
        assert size <= 48 * count


def test_equal_contents_are_equal_bytes_in_any_order():
    pins = dict.fromkeys(hashes(500), 2)
    backwards = dict(reversed(pins.items()))
    assert build_cell_table(NAMES, STRIPED, pins) == build_cell_table(NAMES, STRIPED, backwards)


def test_it_says_what_it_is():
    told = table({7: 1}, default=2, version=9, secret_id=5)
    assert (told.names, told.default, told.version, told.secret_id, told.pin_count) == (
        NAMES,
        2,
        9,
        5,
        1,
    )


def test_a_key_that_moves_has_its_owner_below_and_its_target_and_phase_above():
    place = table({7: motion_place(1, 3, MovePhase.HELD)}).find(7)
    assert (place & 0xFF, place >> 8 & 0xFF, place >> 16) == (1, 3, MovePhase.HELD)


def test_it_says_how_many_places_move():
    moving = [motion_place(0, 1, MovePhase.MARKED), *STRIPED[1:]]
    data = build_cell_table(NAMES, moving, {7: motion_place(1, 3, MovePhase.HELD), 8: 2})
    assert CellTable(data).moving_count == 2
    assert table({8: 2}).moving_count == 0
    broken = bytearray(data)
    broken[56] = 1
    with pytest.raises(ValueError, match="another number of keys moves"):
        CellTable(broken).verify()


def test_who_does_not_know_the_newest_holds_what_was_marked():
    marked, held = (motion_place(1, 3, phase) for phase in (MovePhase.MARKED, MovePhase.HELD))
    still = build_cell_table(NAMES, STRIPED, {8: 2})
    assert hold_marked(still) is still
    data = build_cell_table(NAMES, [marked, *STRIPED[1:]], {7: marked, 9: held, 8: 2}, version=4)
    safe = CellTable(hold_marked(data))
    assert (safe.find(7), safe.find(9), safe.find(8), safe.find(1)) == (held, held, 2, held)
    assert (safe.version, len(hold_marked(data))) == (4, len(data))


def test_it_is_read_where_it_lies():
    memory = bytearray(build_cell_table(NAMES, STRIPED, {7: 1}))
    shared = CellTable(memoryview(memory))
    memory[: len(memory)] = build_cell_table(NAMES, STRIPED, {7: 3})
    assert shared.find(7) == 3


@pytest.mark.parametrize(
    ("names", "buckets", "pins", "why"),
    [
        (NAMES, STRIPED[:-1], {}, "16384 buckets"),
        ((), STRIPED, {}, "1 to 64 cells"),
        (("a",) * 65, STRIPED, {}, "1 to 64 cells"),
        (("a", "a"), [0] * BUCKETS, {}, "twice"),
        (("a", ""), [0] * BUCKETS, {}, "names"),
        (("x" * 64,), [0] * BUCKETS, {}, "too long"),
        (NAMES, [4] * BUCKETS, {}, "no cell"),
        (NAMES, STRIPED, {7: 9}, "no cell"),
        (NAMES, STRIPED, {7: motion_place(0, 9, MovePhase.HELD)}, "no cell"),
        (NAMES, STRIPED, {7: motion_place(0, 1, 3)}, "no cell"),
        (NAMES, STRIPED, {7: motion_place(0, 1, 0)}, "no phase"),
        (NAMES, STRIPED, {0: 1}, "1..2"),
        (NAMES, STRIPED, {1 << 64: 1}, "1..2"),
    ],
)
def test_what_cannot_be_a_table_is_refused(names, buckets, pins, why):
    with pytest.raises(ValueError, match=why):
        build_cell_table(names, buckets, pins)


def test_more_keys_than_there_is_room_for_are_refused():
    with pytest.raises(ValueError, match="do not fit 8 slots"):
        build_cell_table(NAMES, STRIPED, dict.fromkeys(range(1, 6), 0), slot_count=8)


GOOD = build_cell_table(NAMES, STRIPED, dict.fromkeys(hashes(100), 3), slot_count=256)


@pytest.mark.parametrize("size", [0, 7, 64, 70_000, len(GOOD) - 1])
def test_a_table_that_is_cut_off_is_refused(size):
    with pytest.raises(ValueError, match="table of cells"):
        CellTable(GOOD[:size])


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0), (16, 7), (23, 1), (24, 1), (32, 99), (48, 0), (48, 200), (64, 0), (4160, 9)],
)
def test_a_damaged_table_is_refused(at, value):
    damaged = bytearray(GOOD)
    damaged[at] = value
    with pytest.raises(ValueError, match="table of cells"):
        CellTable(bytes(damaged)).verify()


def test_a_number_of_names_that_cannot_be_is_refused_at_once():
    damaged = bytearray(GOOD)
    damaged[48:56] = b"\xff" * 8
    with pytest.raises(ValueError, match="table of cells"):
        CellTable(bytes(damaged))


def test_a_pinned_key_that_nobody_would_find_is_refused():
    damaged = bytearray(build_cell_table(NAMES, STRIPED, {}, slot_count=8))
    damaged[24] = 1  # one pinned key
    damaged[-8] = 1  # in the last slot, where no search for it comes
    damaged[-8 * 8 - 4] = 2  # its place
    with pytest.raises(ValueError, match="not found"):
        CellTable(bytes(damaged)).verify()
