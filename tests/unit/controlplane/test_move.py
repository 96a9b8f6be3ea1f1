"""One move: what is waited for, what tables say meanwhile, and how it is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane.move import (
    MoveBook,
    MoveRefusedError,
    MoveRules,
    MoveStep,
    abort,
    advance,
    begin,
    cell_of,
    missing,
    placed,
)
from shedproxy.core import BUCKETS, CellTable, MovePhase, motion_place
from shedproxy.snapshot import CellRouting, StatusReport, cell_table_of

KEY = "00000000000000ff"
ROUTING = CellRouting(
    key="host", default="a", cells=("a", "b"), buckets=((0, 100), (1, BUCKETS - 100))
)
HOSTS = ("h1", "h2")


def told(version: int, **fields) -> StatusReport:
    fields = {"instance": "h", "boot_id": "1", "heartbeat": 1, "is_settled": True, **fields}
    return StatusReport(table_version=version, **fields)


def all_say(report: StatusReport) -> dict[str, StatusReport]:
    return dict.fromkeys(HOSTS, report)


def go_on(book: MoveBook, report: StatusReport, now_s: float = 1.0) -> MoveBook:
    return advance(book, hosts=HOSTS, reports=all_say(report), now_s=now_s)


@pytest.fixture
def marked() -> MoveBook:
    return begin(MoveBook(version=6), KEY, owner="a", target="c", now_s=1.0)


@pytest.fixture
def held(marked) -> MoveBook:
    return go_on(marked, told(7))


def step(book: MoveBook) -> MoveStep | None:
    return None if book.move is None else book.move.step


def test_a_move_goes_on_when_every_host_has_said_so(marked):
    assert step(marked) is MoveStep.MARKED
    held = go_on(marked, told(7, moving=3))
    assert step(held) is MoveStep.HELD
    assert go_on(held, told(8, moving=1)) is held
    flipped = go_on(held, told(8))
    assert step(flipped) is MoveStep.FLIPPED
    assert go_on(flipped, told(8)) is flipped
    ended = go_on(flipped, told(9, is_settled=False))
    assert ended == MoveBook(version=9, pins=((KEY, "c"),))
    assert go_on(ended, told(9)) is ended


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (told(6), "has not taken table 7 yet"),
        (told(7, is_settled=False), "work of processes that are gone may go on"),
        (told(7, moving=2, moving_streams=1), "1 streams are open"),
        (None, "has not taken table 7 yet"),
    ],
)
def test_nothing_is_held_before_every_host_could_come_to_an_end(marked, report, why):
    reports = {"h1": told(7)} if report is None else {"h1": told(7), "h2": report}
    assert advance(marked, hosts=HOSTS, reports=reports, now_s=1.0) is marked
    assert missing(marked.move, HOSTS, reports) == {"h2": why}


def test_a_host_that_says_nothing_ends_a_hold_for_all(held):
    reports = {"h1": told(8), "h2": told(8, moving=1)}
    rules = held.move.rules
    assert advance(held, hosts=HOSTS, reports=reports, now_s=1.0 + rules.hold_s) is held
    given_up = advance(held, hosts=HOSTS, reports=reports, now_s=1.1 + rules.hold_s)
    assert given_up.move is None
    assert given_up.version == 9
    assert given_up.ended == "after 4 s held: h2: 1 requests are at work"
    assert cell_of(given_up, ROUTING, KEY) == "a"


def test_a_clock_that_was_set_back_keeps_nobody_waiting(held):
    """Or another control plane's, that is behind: a hold would last until it has caught up."""
    reports = {"h1": told(8), "h2": told(8, moving=1)}
    assert advance(held, hosts=HOSTS, reports=reports, now_s=0.5) is held
    given_up = advance(held, hosts=HOSTS, reports=reports, now_s=1.0 - 3600)
    assert given_up.move is None


def test_a_flip_is_not_given_up(held):
    flipped = go_on(held, told(8))
    assert advance(flipped, hosts=HOSTS, reports={}, now_s=1e9) is flipped
    with pytest.raises(MoveRefusedError, match="cell c owns it already"):
        abort(flipped, "asked")
    with pytest.raises(MoveRefusedError, match="nothing is being moved"):
        abort(MoveBook(), "asked")


def test_an_abort_is_a_table_of_its_own(held):
    given_back = abort(held, "asked")
    assert (given_back.version, given_back.move, given_back.ended) == (9, None, "asked")
    again = begin(given_back, KEY, owner="a", target="c", now_s=2.0, rules=MoveRules(hold_s=1.0))
    assert (again.version, again.ended) == (10, "")
    assert go_on(again, told(9)) is again


def test_one_key_moves_at_a_time_and_somewhere_else(marked):
    with pytest.raises(MoveRefusedError, match="is being moved to c"):
        begin(marked, "0" * 16, owner="a", target="b", now_s=1.0)
    with pytest.raises(MoveRefusedError, match="in cell a already"):
        begin(MoveBook(), KEY, owner="a", target="a", now_s=1.0)


def test_tables_say_what_the_book_says(marked, held):
    flipped = go_on(held, told(8))
    expected = {
        marked: motion_place(0, 2, MovePhase.MARKED),
        held: motion_place(0, 2, MovePhase.HELD),
        flipped: 2,
        abort(held, ""): 0,
    }
    for book, place in expected.items():
        routing = placed(book, ROUTING)
        table = CellTable(cell_table_of(routing))
        assert table.version == book.version
        assert table.find(int(KEY, 16)) == place
        assert table.names[: len(ROUTING.cells)] == ROUTING.cells


def test_a_moved_key_stays_whatever_else_changes(held):
    flipped = go_on(held, told(8))
    other = replace(ROUTING, cells=("b", "c"), default="b", buckets=((0, BUCKETS),),
                    pins=((KEY, 0),))  # fmt: skip
    assert cell_of(flipped, other, KEY) == "c"
    assert CellTable(cell_table_of(placed(flipped, other))).find(int(KEY, 16)) == 1


def test_the_cell_of_a_key_is_that_of_its_pin_or_bucket():
    assert cell_of(MoveBook(), ROUTING, KEY) == "a"
    assert cell_of(MoveBook(), ROUTING, "f" * 16) == "b"
    pinned = replace(ROUTING, pins=((KEY, 1),))
    assert cell_of(MoveBook(), pinned, KEY) == "b"


def test_without_a_key_there_is_no_table():
    assert placed(MoveBook(version=3), CellRouting()) == CellRouting()
