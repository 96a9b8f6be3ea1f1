"""Two calibrations compared, as a table and as JSON; a gate's verdict, as a table and as JUnit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from shedproxy.calibration.comparison import (
    Comparison,
    Difference,
    Judgement,
    Result,
)
from shedproxy.calibration.results import Interval
from shedproxy.cli.calibration_numbers import NOTHING, interval_cell
from shedproxy.cli.charts.table import Cell, Table
from shedproxy.snapshot import to_plain

__all__ = ["comparison_as_plain", "comparison_table", "judgements_as_junit", "judgements_table"]


def comparison_table(comparison: Comparison) -> Table:
    """A figure a row."""
    rows = [
        [
            Cell(f"{each.name}, {each.unit}"),
            interval_cell(each.before),
            interval_cell(each.after),
            Cell(_signed(each.change), each.change.value if each.change else None),
            _verdict(each),
        ]
        for each in comparison.differences
    ]
    note = "; ".join([*comparison.obstacles, *comparison.remarks])
    return Table(
        title="Comparison with the earlier report",
        columns=["Figure", "Before", "After", "Change", "Verdict"],
        rows=rows,
        note=note,
    )


def _signed(change: Interval | None) -> str:
    if change is None:
        return NOTHING
    value, low, high = (f"{100 * each:+.1f}%" for each in (change.value, change.low, change.high))
    return f"{value} ({low} to {high})"


def _verdict(each: Difference) -> Cell:
    if each.change is None:
        return Cell("cannot be compared")
    if not each.is_certain:
        return Cell("within noise")
    loss = each.loss
    if loss is None:
        return Cell("changed")
    return Cell("worse", None, "bad") if loss.value > 0 else Cell("better", None, "good")


def comparison_as_plain(comparison: Comparison) -> dict[str, Any]:
    """For JSON."""
    body: dict[str, Any] = to_plain(comparison)
    for plain, each in zip(body["differences"], comparison.differences, strict=True):
        plain["is_certain"] = each.is_certain
        plain["verdict"] = _verdict(each).text
    return {"format": "shedproxy-comparison", "schema": 1, **body}


def judgements_table(lines: Sequence[Judgement]) -> Table:
    """A figure a row, with what a gate says of it."""
    tones = {Result.FAILED: "bad", Result.PASSED: "good"}
    rows = [
        [Cell(line.name), Cell(line.result.name.lower(), None, tones.get(line.result, "")),
         Cell(line.text)]
        for line in lines
    ]  # fmt: skip
    return Table(title="Gate", columns=["Figure", "Result", "What was found"], rows=rows)


def judgements_as_junit(lines: Sequence[Judgement]) -> str:
    """JUnit's XML as CI systems read it: a test case a figure; what is not known is an error."""
    failures = sum(line.result is Result.FAILED for line in lines)
    errors = sum(line.result is Result.UNKNOWN for line in lines)
    suite = ET.Element(
        "testsuite",
        name="shedproxy gate",
        tests=str(len(lines)),
        failures=str(failures),
        errors=str(errors),
        skipped="0",
    )
    for line in lines:
        case = ET.SubElement(suite, "testcase", classname="shedproxy.gate", name=line.name)
        if line.result is Result.FAILED:
            ET.SubElement(case, "failure", message=line.text)
        elif line.result is Result.UNKNOWN:
            ET.SubElement(case, "error", message=line.text)
        else:
            ET.SubElement(case, "system-out").text = line.text
    ET.indent(suite)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
    )
