"""What a document says of itself."""

from __future__ import annotations

from shedproxy.core import CellPolicy, Policy
from shedproxy.snapshot import Document

POLICY = Policy(cells=(CellPolicy(), CellPolicy(name="a")))


def test_cells_are_numbered_as_the_policy_names_them_unless_numbers_are_given():
    assert Document(policy=POLICY).numbered_cells == ("default", "a")


def test_given_numbers_hold_and_what_has_none_gets_the_next():
    document = Document(policy=POLICY, cells=("default", "gone"))
    assert document.numbered_cells == ("default", "gone", "a")
