"""Tables on a terminal."""

from __future__ import annotations

import pytest

from shedproxy.cli.charts.table import Cell, Table
from shedproxy.cli.report_text import print_line, print_table


def test_a_table_is_printed_with_title_and_note(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[Cell("capacity"), Cell("200", 200), Cell("[bold]why[/]", None, "bad")]]
    print_table(Table(title="Estimates", columns=["Figure", "Value", "Why"], rows=rows, note="n"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].strip() == "Estimates"
    assert any(line.split() == ["capacity", "200", "[bold]why[/]"] for line in shown)
    assert shown[-1] == "n"


def test_a_line_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a [red] line " + "x" * 300)
    assert capsys.readouterr().out == "a [red] line " + "x" * 300 + "\n"
