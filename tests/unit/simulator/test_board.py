"""Results of jobs become one board, in numbers that add up."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from harness.worlds import chance_of

from shedproxy.cli.scoreboard_page import render_scoreboard
from shedproxy.cli.scoreboard_verdict import read_verdict
from shedproxy.simulator.board import About, has_failed, make_board
from shedproxy.simulator.figures import QUEUE_ORACLE_REFUSED, REFUSED
from shedproxy.simulator.suite import Job, JobResult, RunResult, run_job
from shedproxy.workload.scenario import EventSpec, Expectation, Scenario

ABOUT = About(version="1.2.3", command="shedproxy simulate x", python="3.11.0")


def job(scenario: str, seed: int, *, series: bool = False, **scores: float | None) -> JobResult:
    """A result in which every figure follows from the score."""
    runs = {
        name.replace("_", "-"): RunResult(
            figures={} if score is None else {
                "goodput_ratio": score, "p99_ms": 100 * (2 - score), "limit_max": float(seed),
            },
            parts={} if score is None else {"goodput": score},
            score=score,
            violations=["wrong at 1 s"] if name == "bad" else [],
            series={"goodput_rps": [score]} if series else None,
        )
        for name, score in scores.items()
    }  # fmt: skip
    return JobResult(
        scenario=scenario,
        seed=seed,
        capacity_rps=200.0,
        oracle={"goodput_rps": 198.0 + seed, "p99_ms": 50.0},
        runs=runs,
        series={"t_s": [1.0], "oracle": {"goodput_rps": [1.0]}} if series else None,
    )


def board_of(results: list[JobResult], **scenarios: Scenario) -> dict[str, Any]:
    given = scenarios or {result.scenario: Scenario() for result in results}
    named = [Scenario(**{**_fields(s), "name": name}) for name, s in given.items()]
    board = make_board(named, results, ABOUT, rng=random.Random(1))
    assert json.loads(json.dumps(board)) == board
    assert render_scoreboard(board)
    return board


def _fields(scenario: Scenario) -> dict[str, Any]:
    return {name: getattr(scenario, name) for name in Scenario.__slots__}


def row(board: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in board["overall"] if row["controller"] == name)


def test_a_real_job_becomes_a_board() -> None:
    scenario = Scenario(name="x", title="Twice", duration_s=20, unscored_arrivals=500)
    made = run_job(
        Job(scenario=scenario, seed=1, controllers=("fixed", "none"), with_series=True),
        chance_of,
    )
    board = make_board([scenario], [made], ABOUT, rng=random.Random(1))
    assert json.loads(json.dumps(board)) == board
    assert (board["schema"], board["seeds"], board["version"]) == (1, [1], "1.2.3")
    assert board["scoring"]["weights"]["goodput"] == 0.5
    (shown,) = board["scenarios"]
    assert (shown["title"], shown["true_capacity_rps"]) == ("Twice", 200)
    assert shown["series"]["controllers"].keys() == {"oracle", "fixed", "none"}
    assert "overall" not in board
    assert "Twice" in render_scoreboard(board)


def test_figures_are_the_median_and_the_worst_of_the_seeds() -> None:
    board = board_of([job("x", seed, a=score) for seed, score in ((1, 0.9), (2, 0.5), (3, 0.8))])
    (result,) = board["scenarios"][0]["results"]
    assert result["score"] == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    assert result["score_low"] == pytest.approx(0.5, abs=0.11)
    assert result["score_high"] == pytest.approx(0.9)
    assert result["goodput_ratio"] == {"median": 0.8, "worst": 0.5, "low": 0.5, "high": 0.9}
    assert result["p99_ms"]["median"] == pytest.approx(120)
    assert result["p99_ms"]["worst"] == 150
    assert result["figures"]["limit_max"] == {"median": 2, "worst": 3, "low": 1, "high": 3}
    assert result["recovery_s"] is None
    assert board["scenarios"][0]["oracle"] == {
        "goodput_rps": 200, "p99_ms": 50, "refused_ratio": None,
    }  # fmt: skip


def test_expectations_bind_whom_they_name_on_the_worst_seed() -> None:
    scenario = Scenario(
        expect=(
            Expectation(metric="goodput_ratio", at_least=0.8, by=("a",)),
            Expectation(metric="goodput_ratio", at_least=0.5, by=("a", "b")),
            Expectation(metric="recovery_s", at_most=5, by=("b",)),
        )
    )
    results = [job("x", 1, a=0.9, b=0.9), job("x", 2, a=0.7, b=0.9)]
    board = board_of(results, x=scenario)
    a, b = board["scenarios"][0]["results"]
    assert [met["is_met"] for met in a["expectations"]] == [False, True]
    assert a["expectations"][0]["actual"] == 0.7
    assert [met["actual"] for met in b["expectations"]] == [0.9, None]
    assert has_failed(board)


def test_a_board_of_one_scenario_knows_its_yardsticks_and_whether_it_was_checked() -> None:
    board = board_of([job("x", 1, fixed=0.9, none=0.5)])
    results = board["scenarios"][0]["results"]
    assert [result["is_yardstick"] for result in results] == [True, False]
    assert read_verdict(board).headline.startswith("none scores 0.500")
    assert board["checked"] is False
    about = replace(ABOUT, is_checked=True)
    checked = make_board([Scenario(name="x")], [job("x", 1, a=1)], about, rng=random.Random(1))
    assert checked["checked"] is True


def test_a_violation_fails_a_board_and_one_without_flaw_does_not_fail() -> None:
    assert has_failed(board_of([job("x", 1, bad=0.9)]))
    assert not has_failed(board_of([job("x", 1, good=0.9)]))


def test_overall_drift_is_how_far_limits_move_where_nothing_happens() -> None:
    moved = {"up": 0.1, "down": -0.3, "least": 0.2, "event": 5.0}
    results = [job(name, 1, a=0.9) for name in moved]
    for result in results:
        result.runs["a"].figures["drift_ratio"] = moved[result.scenario]
    event = Scenario(event=(EventSpec(at_s=1, what="slots", factor=2),))
    plain = dict.fromkeys(("up", "down", "least"), Scenario())
    (overall,) = board_of(results, **plain, event=event)["overall"]
    assert overall["drift_ratio"] == pytest.approx(0.2)
    (alone,) = board_of([job("x", 1, a=0.9), job("y", 1, a=0.9)])["overall"]
    assert alone["drift_ratio"] is None


def test_the_overall_score_is_the_mean_over_scenarios_with_its_interval() -> None:
    rng = random.Random(2)
    results = [
        job(f"s{number}", seed, a=base + 0.02, b=base, none=None)
        for number in range(12)
        for seed in (1, 2, 3)
        for base in (0.5 + 0.4 * rng.random(),)
    ]
    board = board_of(results)
    a, b = row(board, "a"), row(board, "b")
    assert [r["controller"] for r in board["overall"]] == ["a", "b"]
    assert a["score"] == pytest.approx(b["score"] + 0.02)
    assert a["low"] < a["score"] < a["high"]
    assert (a["scenarios"], a["best_on"], b["best_on"]) == (12, 12, 0)
    assert a["goodput_ratio"] == pytest.approx(a["score"], abs=0.05)
    lead = board["lead"]
    assert (lead["first"], lead["second"]) == ("a", "b")
    assert lead["low"] == pytest.approx(0.02)
    assert lead["high"] == pytest.approx(0.02)


def test_yardsticks_take_no_place() -> None:
    board = board_of([job(name, 1, fixed=0.99, a=0.9, b=0.8) for name in ("x", "y")])
    assert row(board, "fixed")["is_yardstick"]
    assert row(board, "a")["best_on"] == 2
    assert (board["lead"]["first"], board["lead"]["second"]) == ("a", "b")


def test_leads_are_also_of_those_that_were_told_and_of_those_that_were_not() -> None:
    scores = {"fixed": 0.95, "breakwater": 0.93, "shedproxy": 0.9, "cinnamon": 0.85, "vegas": 0.6}
    board = board_of([job(name, 1, **scores) for name in ("x", "y")])
    assert [r["knows_capacity"] for r in board["overall"]] == [True, True, False, True, False]
    firsts = {
        key: (board[key]["first"], board[key]["second"])
        for key in ("lead", "lead_unaware", "lead_aware")
    }
    assert firsts == {
        "lead": ("breakwater", "shedproxy"),
        "lead_unaware": ("shedproxy", "vegas"),
        "lead_aware": ("fixed", "breakwater"),
    }


def test_scenarios_of_few_are_shown_and_not_in_the_overall_score() -> None:
    results = [job("x", 1, a=0.9, b=0.8), job("y", 1, a=0.9, b=0.8), job("z", 1, a=0.1)]
    board = board_of(results, x=Scenario(), y=Scenario(), z=Scenario(controllers=("a",)))
    assert len(board["scenarios"]) == 3
    assert row(board, "a")["scenarios"] == 2
    assert row(board, "a")["score"] == pytest.approx(0.9)


def test_who_ran_in_some_scenarios_only_has_no_interval_and_leads_nobody() -> None:
    results = [job("x", 1, a=0.9, b=0.8, some=0.95), job("y", 1, a=0.9, b=0.8)]
    board = board_of(results)
    assert row(board, "some")["low"] is None
    assert row(board, "a")["low"] is not None
    assert "lead" not in board


def test_what_an_interruption_left_out_is_left_out() -> None:
    results = [job("x", 1, a=0.9, b=0.8), job("x", 2, a=0.9, b=0.8), job("y", 1, a=0.7, b=0.8)]
    board = board_of(results, x=Scenario(), y=Scenario(), never=Scenario())
    assert [scenario["name"] for scenario in board["scenarios"]] == ["x", "y"]
    assert row(board, "a")["score"] == pytest.approx(0.8)


def test_of_several_scenarios_the_courses_of_the_best_and_the_first_are_kept() -> None:
    scores = {"ours": 0.1, "a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5}
    results = [job(name, 1, series=True, **scores) for name in ("x", "y")]
    board = board_of(results)
    kept = board["scenarios"][0]["series"]["controllers"].keys()
    assert kept == {"oracle", "ours", "a", "b", "c", "d"}
    (alone,) = board_of(results[:1])["scenarios"]
    assert alone["series"]["controllers"].keys() == {"oracle", *scores}


def test_generated_scenarios_are_told_of() -> None:
    about = About(version="1", command="c", python="3", generated_count=7, generated_seed=1)
    board = make_board([Scenario(name="x")], [job("x", 1, a=1.0)], about, rng=random.Random(1))
    assert board["generated"]["count"] == 7


def counted(seed: int, **counts: tuple[int, int]) -> JobResult:
    run = RunResult(figures={}, parts={}, score=None, violations=[], counts=dict(counts))
    return JobResult(scenario="x", seed=seed, capacity_rps=200.0, oracle={}, runs={"a": run})


def test_what_is_too_few_at_a_seed_is_bounded_over_all_of_them() -> None:
    share = "class_served_ratio.critical"
    scenario = Scenario(expect=(Expectation(metric=share, at_least=0.9, by=("a",)),))
    board = board_of([counted(n, **{share: (950, 1_000)}) for n in (1, 2)], x=scenario)
    (result,) = board["scenarios"][0]["results"]
    assert result["expectations"][0]["actual"] == 0.95
    assert result["pooled"][share]["requests"] == 2_000
    few = board_of([counted(1, **{share: (950, 1_000)})], x=scenario)
    assert has_failed(few), "a thousand say nothing"


def test_refusals_alone_are_shown_without_a_score() -> None:
    about = About(version="1", command="c", python="3", measured="refusals")
    results = [
        counted(n, **{REFUSED: (30, 3_000), QUEUE_ORACLE_REFUSED: (0, 3_000)}) for n in (1, 2)
    ]
    board = make_board([Scenario(name="x")], results, about, rng=random.Random(1))
    assert "margin" not in board
    assert board["measured"] == "refusals"
    page = render_scoreboard(board)
    assert "+1.0000 %" in page
    assert "+1.0000 to +1.0000" in page


def test_the_board_has_the_margin_to_the_best_of_the_usual_ones() -> None:
    board = board_of([job(name, 1, shedproxy=0.9, vegas=0.95) for name in ("x", "y")])
    assert board["margin"]["named"] == {"scenarios": 2, "within": 0}
    page = render_scoreboard(board)
    assert "within 1 point on 0 of 2 named scenarios" in page
    assert "Not run: none, aimd, gradient2, envoy-gradient, cinnamon." in page
    assert "margin" not in board_of([job("x", 1, shedproxy=0.9, fixed=0.95)])
