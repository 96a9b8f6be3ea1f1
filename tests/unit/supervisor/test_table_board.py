"""No slot that somebody may read is written, however long somebody stands still."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import BUCKETS, build_cell_table
from shedproxy.dataplane.table_page import SLOTS, TablePage
from shedproxy.supervisor.table_board import TableBoard

TABLES = [build_cell_table(["a"], [0] * BUCKETS, {}, version=version) for version in range(4)]


class Worker(SimpleNamespace):
    __hash__ = object.__hash__


@pytest.fixture
def board():
    board = TableBoard(TablePage.create(len(TABLES[0])))
    yield board
    board.close()


def test_a_worker_is_told_each_table_once_and_takes_it(board):
    worker = Worker()
    assert board.tell(worker) is None
    for table in TABLES * 5:
        assert board.publish(table)
        assert board.is_due(worker)
        slot, size = board.tell(worker)
        assert size == len(table)
        assert not board.is_due(worker)
        board.on_taken(worker, slot, 1000)
        assert not board.is_due(worker)
    assert board.swap_max_ns == 1000


def test_who_stands_still_holds_two_slots_and_no_more(board):
    slow, quick = Worker(), Worker()
    for table in TABLES * 5:
        assert board.publish(table)
        if board.is_due(slow):
            board.tell(slow)
        board.on_taken(quick, board.tell(quick)[0], 1)
    assert not board.is_due(slow)
    board.on_taken(slow, board._waiting[slow], 1)
    assert board.is_due(slow)


def test_no_table_is_told_after_none_was_published(board):
    worker = Worker()
    board.publish(TABLES[0])
    board.publish(b"")
    assert board.tell(worker) is None
    assert not board.is_due(worker)


def test_a_dead_worker_holds_nothing(board):
    for _ in range(3 * SLOTS):
        worker = Worker()
        board.publish(TABLES[0])
        board.tell(worker)
        board.forget(worker)
    assert board.publish(TABLES[1])


@given(st.lists(st.tuples(st.sampled_from("ptkf"), st.integers(0, 2)), max_size=60))
def test_what_a_worker_reads_is_what_it_was_told(steps):
    """Model: each worker reads the slot it took last, or one of those it was told since."""
    board = TableBoard(TablePage.create(len(TABLES[0])))
    workers = [Worker() for _ in range(3)]
    inbox: dict[int, list] = {0: [], 1: [], 2: []}
    reads: dict[int, tuple] = {}
    version = 0
    for step, index in steps:
        worker = workers[index]
        match step:
            case "p":
                version += 1
                board.publish(build_cell_table(["a"], [0] * BUCKETS, {}, version=version))
            case "t" if board.is_due(worker):
                place = board.tell(worker)
                inbox[index].append((place, version_at(board, place)))
            case "k" if inbox[index]:
                reads[index] = inbox[index].pop(0)
                board.on_taken(worker, reads[index][0][0], 1)
            case "f":
                board.forget(worker)
                inbox[index].clear()
                reads.pop(index, None)
        for place, seen in [*reads.values(), *(each for box in inbox.values() for each in box)]:
            assert version_at(board, place) == seen
    board.close()


def version_at(board: TableBoard, place: tuple[int, int]) -> int:
    return board._page.table(*place).version
