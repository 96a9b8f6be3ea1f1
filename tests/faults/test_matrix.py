"""The matrix is whole, and the page says what the tests do."""

from __future__ import annotations

from pathlib import Path

from faults.book import Entry, claims, figures_in, markdown, promises_in
from faults.matrix import PARTS, ROWS


def test_it_has_all_rows_once_and_in_order() -> None:
    counts = {"U": 25, "C": 12, "H": 19, "K": 15}
    assert list(PARTS) == list(counts)
    expected = [f"{part}{n + 1}" for part, count in counts.items() for n in range(count)]
    assert [row.number for row in ROWS] == expected


def test_tests_claim_only_rows_that_there_are() -> None:
    assert set(claims()) == {row.number for row in ROWS}


def test_a_claim_is_found_wherever_it_is_marked(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("@pytest.mark.fault('U1', 'C2')\ndef test_x(): ...\n")
    (tmp_path / "test_b.py").write_text("x = pytest.param(1, marks=pytest.mark.fault('C2'))\n")
    found = {number: files for number, files in claims(tmp_path).items() if files}
    assert found == {"U1": ["test_a.py"], "C2": ["test_a.py", "test_b.py"]}


def test_the_page_has_these_rows_promises_and_tests(root: Path) -> None:
    """After a change: `python -m tests.faults --write`."""
    page = promises_in((root / "docs" / "faults.md").read_text())
    claimed = claims()
    assert page == [(row.number, row.fault, row.promise, bool(claimed[row.number])) for row in ROWS]
    assert promises_in(markdown({}, "")) == page


def test_figures_stay_on_the_page_until_they_are_measured_anew() -> None:
    rows = {"U1": Entry(figures=["p99 4 ms", "a | b"]), "K15": Entry(figures=["none"])}
    kept = figures_in(markdown(rows, "Measured."))
    assert {number: entry.figures for number, entry in kept.items()} == {
        "U1": ["p99 4 ms; a | b"],
        "K15": ["none"],
    }
