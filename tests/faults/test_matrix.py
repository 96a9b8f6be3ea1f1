"""The matrix is whole, and the page says what the tests do."""

from __future__ import annotations

from pathlib import Path

from faults.book import claims, markdown, promises_in
from faults.matrix import PARTS, ROWS


def test_it_has_all_rows_once_and_in_order() -> None:
    counts = {"U": 25, "C": 12, "H": 17, "K": 15}
    assert list(PARTS) == list(counts)
    expected = [f"{part}{n + 1}" for part, count in counts.items() for n in range(count)]
    assert [row.number for row in ROWS] == expected


def test_tests_claim_only_rows_that_there_are() -> None:
    assert set(claims()) == {row.number for row in ROWS}


def test_a_claim_is_found_wherever_it_is_marked(tmp_path: Path) -> None:
    claim = "pytest.mark" + ".fault"
    (tmp_path / "test_a.py").write_text(f"@{claim}('U1', 'C2')\ndef test_x(): ...\n")
    (tmp_path / "test_b.py").write_text(f"x = pytest.param(1, marks={claim}('C2'))\n")
    found = {number: files for number, files in claims(tmp_path).items() if files}
    assert found == {"U1": ["test_a.py"], "C2": ["test_a.py", "test_b.py"]}


def test_the_page_has_these_rows_and_promises(root: Path) -> None:
    """After a change: `python -m tests.faults --write`."""
    page = (root / "docs" / "faults.md").read_text()
    assert [row[:3] for row in promises_in(page)] == [
        row[:3] for row in promises_in(markdown({}, ""))
    ]
    assert [row[:3] for row in promises_in(page)] == [
        (row.number, row.fault, row.promise) for row in ROWS
    ]
