"""What is said of the margin and of rare refusals is what the board has."""

from __future__ import annotations

from typing import Any

from harness.pages import Page

from shedproxy.cli.charts.page import render_page
from shedproxy.cli.scoreboard_margin import (
    excess_lines,
    excess_table,
    margin_lines,
    margin_table,
)


def row(scenario: str, points: float, **more: Any) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "group": "Overload",
        "best": "vegas",
        "ours_score": 0.9,
        "best_score": 0.9 - points / 100,
        "points": points,
        "low": points - 0.5,
        "high": points + 0.5,
        "is_within": points >= -1,
        **more,
    }


BOARD: dict[str, Any] = {
    "scenarios": [{"name": "behind", "title": "Twice the load"}, {"name": "ahead"}],
    "margin": {
        "of": "shedproxy",
        "against": ["none", "vegas"],
        "not_run": ["aimd"],
        "within_points": 1.0,
        "named": {"scenarios": 2, "within": 1},
        "generated": {"scenarios": 0, "within": 0},
        "rows": [row("behind", -3.0), row("ahead", 2.0)],
    },
}


def test_lines_count_and_name_each_scenario_that_is_not_within() -> None:
    assert list(margin_lines(BOARD)) == [
        "Margin of shedproxy to the best of none, vegas: within 1 point on 1 of 2 named scenarios",
        "  not run: aimd",
        "  not within: behind, -3.0 points (-3.5 to -2.5) to vegas",
    ]
    assert list(margin_lines({"scenarios": []})) == []


def test_one_seed_has_points_and_no_interval() -> None:
    margin = {**BOARD["margin"], "rows": [row("behind", -3.0, low=None, high=None)], "not_run": []}
    assert list(margin_lines({**BOARD, "margin": margin}))[1:] == [
        "  not within: behind, -3.0 points to vegas"
    ]


def test_named_and_generated_scenarios_are_told_apart() -> None:
    margin = {**BOARD["margin"], "generated": {"scenarios": 20, "within": 19}}
    first = next(margin_lines({**BOARD, "margin": margin}))
    assert first.endswith("on 1 of 2 named scenarios and 19 of 20 generated scenarios")


def test_the_page_has_every_scenario_of_it() -> None:
    table = margin_table(BOARD)
    assert table is not None
    text = Page(render_page(title="t", header=table, body=table, footer="f")).text
    assert "Twice the load" in text
    assert "-3.0-3.5 to -2.5" in text
    assert "✗ no" in text
    assert "Not run: aimd." in text
    assert margin_table({"scenarios": []}) is None


def excess(value: float, low: float | None, high: float | None, requests: int) -> dict[str, Any]:
    pooled = {"value": value, "low": low, "high": high, "requests": requests, "seeds": 200}
    return {"pooled": {"false_refusal_excess": pooled}}


def test_refusals_beyond_the_same_queue_keep_their_sign() -> None:
    results = [
        {"controller": "shedproxy", **excess(-1e-6, -3e-6, 1e-6, 10_000_000)},
        {"controller": "aimd", "pooled": {}},
        {"controller": "vegas"},
        {"controller": "a", **excess(0.5, None, None, 3_000)},
    ]
    assert list(excess_lines({"results": results})) == [
        "Refused beyond the same queue at the true limit, all seeds together:",
        "  shedproxy  -0.0001 % (-0.0003 to +0.0001)  of 10,000,000 requests",
        "  a          +50.0000 %                           of 3,000 requests",
    ]
    assert list(excess_lines({"results": results[1:3]})) == []


def test_the_page_has_them_in_a_table_to_open() -> None:
    results = [
        {"controller": "shedproxy", **excess(-1e-6, -3e-6, 1e-6, 10_000_000)},
        {"controller": "a", **excess(0.5, None, None, 3_000)},
        {"controller": "vegas"},
    ]
    table = excess_table({"name": "s", "results": results})
    assert table is not None
    assert table.startswith("<details><summary>Refused beyond the same queue")
    words = Page(render_page(title="t", header=table, body=table, footer="f")).text
    assert "-0.0003 to +0.0001" in words
    assert "10,000,000" in words
    assert "vegas" not in words
    assert excess_table({"name": "s", "results": results[2:]}) is None
