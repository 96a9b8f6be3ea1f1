"""Every table says what the calibration says, cell by cell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.sample_report import sample_calibration

from shedproxy.calibration.results import Calibration, Findings, Phase
from shedproxy.cli.calibration_tables import TABLES, step_name
from shedproxy.cli.charts.table import Table


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return sample_calibration()


def table(calibration: Calibration, name: str) -> Table:
    found = TABLES[name](calibration)
    assert found is not None
    return found


def column(shown: Table, name: str) -> list[float | None]:
    place = list(shown.columns).index(name)
    return [row[place].value for row in shown.rows]


def test_concurrency_and_rates_have_every_step_of_their_kind(calibration: Calibration) -> None:
    for name, phase in (("concurrency", Phase.CLOSED), ("rates", Phase.OPEN)):
        steps = [step for step in calibration.steps if step.phase is phase]
        shown = table(calibration, name)
        assert column(shown, "Answers/s") == [step.throughput_rps for step in steps]
        assert column(shown, "p99, ms") == [
            step.latency.p99_ns / 1e6 for step in steps if step.latency
        ]


def test_steps_and_generator_have_all(calibration: Calibration) -> None:
    assert len(table(calibration, "steps").rows) == len(calibration.steps)
    lags = [step.health.send_lag_p99_ns / 1e6 for step in calibration.steps]
    assert column(table(calibration, "generator"), "Lag p99, ms") == lags


def test_a_void_step_is_marked_with_its_reason(calibration: Calibration) -> None:
    row = table(calibration, "steps").rows[14]
    assert (row[-2].text, row[-2].tone) == ("void", "bad")
    assert "the generator was late" in row[-1].text


def test_estimates_and_curve_show_intervals(calibration: Calibration) -> None:
    found = calibration.findings
    assert found.capacity_rps is not None
    row = table(calibration, "estimates").rows[0]
    assert row[1].value == found.capacity_rps.value
    assert " to " in row[1].text
    assert found.usl is not None
    assert table(calibration, "curve").rows[1][1].value == found.usl.sigma.value


def test_verification_has_a_row_a_run(calibration: Calibration) -> None:
    shown = table(calibration, "verification")
    assert [row[0].text for row in shown.rows] == [
        "0.8 x, off", "0.8 x, on", "1.5 x, off", "1.5 x, on", "3 x, off", "3 x, on",
    ]  # fmt: skip
    assert column(shown, "Of what can be") == [
        run.goodput_ratio for run in calibration.verification
    ]
    assert shown.rows[3][-2].text == "300 ms"


def test_classes_are_counted_for_each_run(calibration: Calibration) -> None:
    offered = [each.offered_count for run in calibration.verification for each in run.classes]
    assert column(table(calibration, "classes"), "Offered") == offered


def test_changes_thresholds_routes_checks_errors_provenance(calibration: Calibration) -> None:
    assert [row[1].text for row in table(calibration, "changes").rows] == ["20", "not set"]
    assert table(calibration, "thresholds").rows[0][1].value == 12
    assert table(calibration, "routes").rows[0][0].text == "all routes"
    assert [row[1].tone for row in table(calibration, "checks").rows] == ["good", "bad"]
    assert {row[1].text for row in table(calibration, "errors").rows} == {"timeout"}
    facts = {row[0].text: row[1].text for row in table(calibration, "provenance").rows}
    assert facts["Objective"] == "p99<250ms, errors<0.5%"
    assert facts["Target build"] == "not named (--build)"


def test_where_there_is_nothing_there_is_no_table(calibration: Calibration) -> None:
    empty = replace(calibration, steps=(), findings=Findings(), thresholds=None, verification=())
    shown = {name for name, make in TABLES.items() if make(empty) is not None}
    assert shown == {"provenance"}


def test_a_step_is_named_by_what_was_played(calibration: Calibration) -> None:
    names = [step_name(calibration.steps[i]) for i in (0, 1, 9)]
    assert names == ["idle 1 at a time", "closed 1 at a time, pass 1", "open 122/s, pass 1"]
