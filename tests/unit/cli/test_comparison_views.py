"""Comparisons and verdicts, as tables, JSON and JUnit."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

from harness.sample_report import sample_calibration

from shedproxy.calibration.comparison import Judgement, Result, compare
from shedproxy.calibration.results import Interval
from shedproxy.cli.comparison_views import (
    comparison_as_plain,
    comparison_table,
    judgements_as_junit,
    judgements_table,
)

BASE = sample_calibration()
LOST = replace(
    BASE,
    findings=replace(
        BASE.findings, capacity_rps=Interval(value=200, low=198, high=202), refusal_cost=None
    ),
)


def test_a_loss_is_shown_as_worse_and_its_return_as_better() -> None:
    row = comparison_table(compare(BASE, LOST)).rows[0]
    assert [cell.text for cell in row][3:] == ["-18.3% (-19.6% to -17.0%)", "worse"]
    assert comparison_table(compare(LOST, BASE)).rows[0][-1].tone == "good"


def test_what_one_of_them_lacks_cannot_be_compared() -> None:
    rows = comparison_table(compare(BASE, LOST)).rows
    row = next(row for row in rows if row[0].text.startswith("cost of a refusal"))
    assert [cell.text for cell in row][2:] == ["-", "-", "cannot be compared"]


def test_a_knee_that_moved_is_neither_good_nor_bad() -> None:
    moved = replace(
        BASE, findings=replace(BASE.findings, knee_in_flight=Interval(value=8, low=7.9, high=8.1))
    )
    rows = comparison_table(compare(BASE, moved)).rows
    assert next(row for row in rows if row[0].text.startswith("knee"))[-1].text == "changed"


def test_json_has_the_verdicts() -> None:
    plain = json.loads(json.dumps(comparison_as_plain(compare(BASE, LOST))))
    assert plain["format"] == "shedproxy-comparison"
    assert (plain["differences"][0]["verdict"], plain["differences"][0]["is_certain"]) == (
        "worse", True,
    )  # fmt: skip


LINES = [
    Judgement(name="capacity", result=Result.FAILED, text="lost <20%>"),
    Judgement(name="knee", result=Result.UNKNOWN, text="?"),
    Judgement(name="goodput", result=Result.BLIND, text="wide"),
    Judgement(name="verified", result=Result.PASSED, text="yes"),
]


def test_junit_counts_failures_and_errors() -> None:
    suite = ET.fromstring(judgements_as_junit(LINES))
    counts = [suite.get(name) for name in ("tests", "failures", "errors")]
    assert counts == ["4", "1", "1"]
    inside = {case.get("name"): case[0].tag for case in suite}
    assert inside == {
        "capacity": "failure", "knee": "error", "goodput": "system-out", "verified": "system-out",
    }  # fmt: skip
    assert suite[0][0].get("message") == "lost <20%>"


def test_the_table_marks_good_and_bad() -> None:
    assert [row[1].tone for row in judgements_table(LINES).rows] == ["bad", "", "", "good"]
