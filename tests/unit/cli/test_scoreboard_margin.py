"""What is said of the margin and of rare refusals is what the board has."""

from __future__ import annotations

from typing import Any

from harness.pages import Page

from shedproxy.cli.charts.page import render_page
from shedproxy.cli.scoreboard_margin import excess_lines, margin_lines, margin_table


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


def test_refusals_beyond_the_same_queue_keep_their_sign() -> None:
    pooled = {"value": -1e-6, "low": -3e-6, "high": 1e-6, "requests": 10_000_000, "seeds": 200}
    results = [
        {"controller": "shedproxy", "pooled": {"false_refusal_excess": pooled}},
        {"controller": "aimd", "pooled": {}},
        {"controller": "vegas"},
    ]
    (line,) = excess_lines({"results": results})
    assert line == (
        "Refused beyond the same queue at the true limit, all seeds together: shedproxy"
        " -0.0001 % (-0.0003 to +0.0001) of 10,000,000 requests"
    )
    alone = {**pooled, "low": None, "high": None}
    (line,) = excess_lines(
        {"results": [{"controller": "a", "pooled": {"false_refusal_excess": alone}}]}
    )
    assert line.endswith("a -0.0001 % of 10,000,000 requests")
