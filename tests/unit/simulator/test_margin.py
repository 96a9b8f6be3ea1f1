"""Ours against the best of the usual algorithms, in points of a score."""

from __future__ import annotations

import random
from typing import Any

import pytest

from shedproxy.simulator.margin import margin_section
from shedproxy.simulator.suite import JobResult, RunResult
from shedproxy.workload.scenario import Scenario


def jobs(**scores: list[float | None]) -> list[JobResult]:
    """One for each seed."""
    names = [name.replace("_", "-") for name in scores]
    return [
        JobResult(
            scenario="x",
            seed=seed,
            capacity_rps=1.0,
            oracle={},
            runs={
                name: RunResult(figures={}, parts={}, score=score, violations=[])
                for name, score in zip(names, row, strict=True)
            },
        )
        for seed, row in enumerate(zip(*scores.values(), strict=True), 1)
    ]


def section(**by_scenario: list[JobResult]) -> dict[str, Any] | None:
    scenarios = [
        Scenario(
            name=name,
            group="Generated" if name.startswith("generated") else "Other",
            controllers=("vegas",) if name.startswith("few") else (),
        )
        for name in by_scenario
    ]
    return margin_section(scenarios, dict(by_scenario), random.Random(1))


def test_a_row_is_ours_less_the_best_in_points() -> None:
    made = section(x=jobs(shedproxy=[0.9, 0.92], vegas=[0.95, 0.93], none=[0.1, 0.1]))
    assert made is not None
    (row,) = made["rows"]
    assert (row["scenario"], row["best"]) == ("x", "vegas")
    assert row["points"] == pytest.approx(-3)
    assert (row["low"], row["high"]) == (pytest.approx(-5), pytest.approx(-1))
    assert not row["is_within"]
    assert made["against"] == ["none", "vegas"]
    assert made["not_run"] == ["aimd", "gradient2", "envoy-gradient", "cinnamon"]


def test_others_than_the_six_and_yardsticks_are_not_compared() -> None:
    made = section(x=jobs(shedproxy=[0.9], fixed=[0.99], breakwater=[0.98], vegas=[0.905]))
    assert made is not None
    assert made["rows"][0]["best"] == "vegas"
    assert made["rows"][0]["is_within"]
    assert made["rows"][0]["low"] is None, "one seed has no interval"


def test_named_and_generated_scenarios_are_counted_apart_the_worst_first() -> None:
    made = section(
        x=jobs(shedproxy=[0.9], aimd=[0.9]),
        y=jobs(shedproxy=[0.9], aimd=[0.95]),
        generated=jobs(shedproxy=[0.9], aimd=[0.5]),
        few=jobs(shedproxy=[0.9], vegas=[0.99]),
    )
    assert made is not None
    assert [row["scenario"] for row in made["rows"]] == ["y", "x", "generated"]
    assert made["named"] == {"scenarios": 2, "within": 1}
    assert made["generated"] == {"scenarios": 1, "within": 1}


def test_seeds_in_which_somebody_has_no_score_are_left_out() -> None:
    made = section(x=jobs(shedproxy=[0.9, 0.5], aimd=[0.8, None]))
    assert made is not None
    assert made["rows"][0]["points"] == pytest.approx(10)


def test_the_best_is_taken_anew_in_each_resample() -> None:
    """Two that are best by turns: the interval knows that one was chosen afterwards."""
    made = section(x=jobs(shedproxy=[0.9] * 8, aimd=[1.0, 0.8] * 4, vegas=[0.8, 1.0] * 4))
    assert made is not None
    assert made["rows"][0]["points"] == pytest.approx(0)
    assert made["rows"][0]["low"] < -2
    assert made["rows"][0]["high"] == pytest.approx(0)


def test_without_ours_or_the_others_there_is_none() -> None:
    assert section(x=jobs(aimd=[0.9], vegas=[0.8])) is None
    assert section(x=jobs(shedproxy=[0.9], fixed=[0.8])) is None
    assert section(x=jobs(shedproxy=[None], aimd=[0.8])) is None
