"""pytest's side of the fault matrix: the marker, the fixture `figure`, the table at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from faults.book import Entry, summary
from faults.matrix import ROWS

_entries: dict[str, Entry] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-figures", metavar="FILE", help="write what became of the fault matrix, as JSON"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = {row.number for row in ROWS}
    for item in items:
        numbers = [number for mark in item.iter_markers("fault") for number in mark.args]
        if unknown := set(numbers) - known:
            raise pytest.UsageError(f"{item.nodeid}: no such fault: {', '.join(sorted(unknown))}")
        item.user_properties += [("fault", number) for number in numbers]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes what was measured for the rows of the test: `figure("p99 12 ms of 20 ms")`."""

    def note(text: str) -> None:
        request.node.user_properties.append(("figure", text))

    return note


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "setup" and report.passed:
        return
    for name, number in report.user_properties:
        if name == "fault":
            entry = _entries.setdefault(number, Entry())
            if report.failed:
                entry.failed_count += 1
            elif report.when == "call":
                entry.passed_count += 1
                said = (text for key, text in report.user_properties if key == "figure")
                entry.figures += [text for text in said if text not in entry.figures]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if _entries:
        terminalreporter.section("fault matrix")
        for line in summary(_entries):
            terminalreporter.write_line(line)
    if target := config.getoption("--fault-figures"):
        rows = {number: asdict(entry) for number, entry in _entries.items()}
        Path(target).write_text(json.dumps(rows))
