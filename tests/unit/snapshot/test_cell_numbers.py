"""Numbers of cells: a reload gives nobody's counters to somebody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import CELLS_MAX, number_cells

NAMES = st.lists(st.integers(0, 99).map(str), min_size=1, max_size=CELLS_MAX, unique=True)


def test_the_first_numbers_are_the_order_of_the_policy():
    assert number_cells(["default", "a", "b"]) == ("default", "a", "b")


def test_a_cell_keeps_its_number_when_others_come_and_go():
    assert number_cells(["default", "new", "b"], ("default", "a", "b")) == (
        "default",
        "a",
        "b",
        "new",
    )


def test_only_when_all_numbers_are_given_are_those_of_the_gone_taken():
    before = tuple(f"c{n}" for n in range(CELLS_MAX))
    after = number_cells([*before[:3], *before[4:], "new"], before)
    assert after == (*before[:3], "new", *before[4:])


def test_more_cells_than_numbers_are_refused():
    with pytest.raises(DocumentInvalidError, match="65 cells are too many: 64 at most"):
        number_cells(f"c{n}" for n in range(CELLS_MAX + 1))


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_every_cell_has_one_number_and_keeps_it_while_it_exists(history):
    numbered = ()
    previous = []
    for names in history:
        before, numbered = numbered, number_cells(names, numbered)
        assert len(numbered) == len(set(numbered)) <= CELLS_MAX
        assert set(names) <= set(numbered)
        for name in set(previous) & set(names):
            assert before.index(name) == numbered.index(name)
        previous = names
