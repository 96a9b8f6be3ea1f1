"""Tables lie in memory that processes share, and are read in place."""

from __future__ import annotations

import os

import pytest

from shedproxy.core import BUCKETS, build_cell_table
from shedproxy.dataplane.table_page import SLOTS, TablePage, TableReader
from shedproxy.errors import StartupError


def table_of(place: int, version: int) -> bytes:
    return build_cell_table(["a", "b"], [place] * BUCKETS, {7: 1}, version=version)


@pytest.fixture
def page():
    page = TablePage.create(1 << 18)
    yield page
    page.close()


def test_what_is_written_is_found_by_who_maps_it(page):
    other = TablePage.attach(os.dup(page.fd))
    for version in range(3):
        data = table_of(version % 2, version)
        slot = page.write(data, used=())
        table = other.table(slot, len(data))
        assert table.version == version
        assert table.find(1 << 60) == version % 2
        assert table.find(7) == 1
    del table
    other.close()


def test_a_slot_in_use_is_never_written(page):
    data = [table_of(0, version) for version in range(SLOTS)]
    used: list[int] = []
    for each in data:
        used.append(page.write(each, used))
    assert sorted(used) == list(range(SLOTS))
    assert page.write(table_of(1, 99), used) == -1
    assert [page.table(slot, len(data[0])).version for slot in used] == list(range(SLOTS))


def test_a_table_that_is_too_large_is_refused(page):
    with pytest.raises(ValueError, match="at most"):
        page.write(bytes(page.slot_size + 1), ())


@pytest.mark.parametrize(("slot", "size"), [(-1, 10), (SLOTS, 10), (0, 0), (0, 1 << 30), (0, 10)])
def test_a_place_without_a_table_is_none(page, slot, size):
    with pytest.raises(ValueError):
        page.table(slot, size)


def test_no_memory_is_no_start(monkeypatch):
    def none(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "ftruncate", none)
    with pytest.raises(StartupError, match="tables of cells"):
        TablePage.create(1)
    with pytest.raises(StartupError, match="holds no tables"):
        TablePage.attach(os.open(os.devnull, os.O_RDONLY))


def test_a_reader_turns_to_what_it_is_told(page):
    reader = TableReader(os.dup(page.fd))
    assert reader.table is None
    data = table_of(1, 5)
    slot = page.write(data, ())
    reader.turn_to([slot, len(data)])
    assert reader.table is not None
    assert reader.table.version == 5
    taken = reader.taken()
    assert taken["slot"] == slot
    assert taken["took_ns"] > 0
    for nonsense in ("x", [1], [99, 99], [slot, 3]):
        reader.turn_to(nonsense)
        assert reader.table.version == 5
    reader.turn_to(None)
    assert reader.table is None
    assert reader.taken()["slot"] == -1


def test_a_worker_without_tables_has_none():
    reader = TableReader(-1)
    reader.turn_to([0, 10])
    assert reader.table is None
