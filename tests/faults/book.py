"""Which tests claim which rows, what became of them, and the table of both."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faults.matrix import PARTS, ROWS

__all__ = ["NOT_AUTOMATED", "Entry", "claims", "figures_in", "markdown", "promises_in", "summary"]

TESTS = Path(__file__).resolve().parents[1]
NOT_AUTOMATED = "not automated"

_PREFACE = """\
# The fault matrix

What can go wrong around a proxy, and what shedproxy promises for each: {automated} of {total} rows
have tests (the files named are below `tests/`). Afterwards slots, connections and tasks are back
where they were, and where the proxy is a process of its own its descriptors and memory too.
`python -m tests.faults` runs them and prints this table with fresh figures; with `--write` it
writes this page. A row that was not run keeps its figures.

{measured}
"""


@dataclass(slots=True)
class Entry:
    """What a run knows of one row."""

    passed_count: int = 0
    failed_count: int = 0
    figures: list[str] = field(default_factory=list)

    @property
    def result(self) -> str:
        """One word."""
        if self.failed_count:
            return "FAILED"
        return "passed" if self.passed_count else "not run"


def claims(tests: Path = TESTS) -> dict[str, list[str]]:
    """Row -> the files whose tests claim it, by reading them: `pytest.mark.fault("U1", ...)`.

    Raises:
        ValueError: a claim is not spelt out.
    """
    found: dict[str, list[str]] = {row.number: [] for row in ROWS}
    for path in sorted(tests.rglob("test_*.py")):
        for number in _claimed(ast.parse(path.read_text())):
            files = found.setdefault(number, [])
            name = path.relative_to(tests).as_posix()
            if name not in files:
                files.append(name)
    return found


def _claimed(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(argument) for argument in node.args)


def markdown(entries: Mapping[str, Entry], measured: str) -> str:
    """The page of the docs. `measured` says when, where and on what the figures were taken."""
    claimed = claims()
    automated = sum(bool(claimed[row.number]) for row in ROWS)
    parts = [_PREFACE.format(automated=automated, total=len(ROWS), measured=measured)]
    for letter, heading in PARTS.items():
        parts.append(f"\n## {heading}\n\n| | fault | promise | tests | measured |\n{'|---' * 5}|\n")
        for row in ROWS:
            if row.number[0] == letter:
                files = claimed[row.number]
                tests = "<br>".join(f"`{name}`" for name in files) or NOT_AUTOMATED
                figures = "; ".join(entries.get(row.number, Entry()).figures)
                cells = (row.number, row.fault, row.promise, tests, figures.replace("|", "\\|"))
                parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _cells(page: str) -> Iterator[list[str]]:
    for line in re.findall(r"^\| [UCHK]\d+ \|.*$", page, re.MULTILINE):
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def promises_in(page: str) -> list[tuple[str, str, str, bool]]:
    """(row, fault, promise, whether it has tests) of every row of a page."""
    return [(*cells[:3], cells[3] != NOT_AUTOMATED) for cells in _cells(page)]


def figures_in(page: str) -> dict[str, Entry]:
    """What a page says was measured, by row."""
    return {
        cells[0]: Entry(figures=[cells[4].replace("\\|", "|")])
        for cells in _cells(page)
        if cells[4]
    }


def summary(entries: Mapping[str, Entry]) -> list[str]:
    """The table at the end of a run."""
    claimed = claims()
    lines = []
    for row in ROWS:
        entry = entries.get(row.number)
        if entry is not None:
            said = "; ".join(entry.figures)
            lines.append(f"{row.number:>3} {entry.result:<7} {row.fault}: {row.promise}")
            lines += [f"            measured: {said}"] if said else []
    missing = [row.number for row in ROWS if not claimed[row.number]]
    lines.append(f"{len(ROWS) - len(missing)} of {len(ROWS)} rows have tests")
    lines += [f"{NOT_AUTOMATED}: {' '.join(missing)}"] if missing else []
    return lines
