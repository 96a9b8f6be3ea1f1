"""Each scenario has a section with its facts, its numbers, what was expected, and its charts."""

from __future__ import annotations

import json

import pytest
from harness.pages import Page
from harness.scoreboards import scoreboard

from shedproxy.cli.scoreboard_scenarios import scenario_sections

NAMES = ["fixed", "shedproxy", "gradient2", "vegas", "aimd"]
YARDSTICKS = frozenset({"fixed"})


@pytest.fixture(scope="module")
def board() -> dict:
    return scoreboard(scenario_count=6)


@pytest.fixture(scope="module")
def page(board) -> Page:
    return Page(scenario_sections(board["scenarios"], NAMES, YARDSTICKS))


def sections_of(page: Page) -> list[dict]:
    return [attributes for tag, attributes in page.elements if tag == "details"]


def test_sections_stand_by_group_in_the_order_of_first_mention(board, page):
    groups = {s["name"]: s["group"] for s in board["scenarios"]}
    names = [section["id"].removeprefix("scenario-") for section in sections_of(page)]
    assert [groups[name] for name in names] == [
        *("Overload", "Overload", "Capacity moves", "Capacity moves", "Mixes", "Faults"),
    ]
    assert len([tag for tag, _ in page.elements if tag == "h3"]) == 4


def test_sections_are_closed_and_a_single_one_is_open(board, page):
    assert not any("open" in section for section in sections_of(page))
    one = Page(scenario_sections(board["scenarios"][:1], NAMES, YARDSTICKS))
    assert ["open" in section for section in sections_of(one)] == [True]


def test_results_are_the_boards_with_the_best_score_first(board, page):
    scenario = board["scenarios"][1]
    head, *rows = page.tables[f"Results of {scenario['name']}"]
    results = sorted(scenario["results"], key=lambda result: -result["score"])
    assert [row[0].removesuffix(" yardstick") for row in rows] == [r["controller"] for r in results]
    for row, result in zip(rows, results, strict=True):
        cells = dict(zip(head, row, strict=True))
        goodput = result["goodput_ratio"]
        assert cells["Score ↑"] == f"{result['score']:.3f}"
        assert cells["Goodput ↑"] == (
            f"{100 * goodput['median']:.1f}%/{100 * goodput['worst']:.1f}%"
        )
        assert cells["Completions"].split("/")[0] == f"{result['completions']['median']:,.0f}"


def test_the_facts_of_a_scenario_have_their_units(page):
    assert "Length 60.0 sTrue capacity 800/sOracle's goodput 795/s" in page.text
    assert "Oracle's p99 31.0 msOracle refuses 66.0%" in page.text
    assert "From: our own" in page.text


def test_a_metric_that_nobody_has_takes_no_column(board, page):
    head = page.tables[f"Results of {board['scenarios'][0]['name']}"][0]
    assert "Fairness ↑" not in head
    assert "Drift" not in head
    assert "Fairness ↑" in page.tables[f"Results of {board['scenarios'][1]['name']}"][0]


def test_expectations_say_what_was_measured(board, page):
    scenario = board["scenarios"][0]
    rows = page.tables[f"Expectations of {scenario['name']}"][1:]
    (ours,) = [r for r in scenario["results"] if r["controller"] == "shedproxy"]
    measured = ours["expectations"][0]["actual"]
    assert rows[0] == ["shedproxy", "goodput_ratio >= 0.98", f"{measured:.4g}", "✓ met"]


def test_what_is_not_met_is_said_in_words(board):
    unmet = {"text": "goodput_ratio >= 1", "actual": 0.5, "is_met": False}
    result = {"controller": "shedproxy", "score": 0.5, "expectations": [unmet]}
    page = Page(scenario_sections([{"name": "s", "results": [result]}], NAMES, YARDSTICKS))
    assert page.tables["Expectations of s"][1][-1] == "✗ not met"
    assert "✗ 0 of 1 met" in page.text


def test_violations_are_shown_and_counted(page):
    assert "✗ 1 violation" in page.text
    assert "vegas: in flight 9 above the limit 8 at 12.4 s" in page.text


def test_the_line_of_a_closed_section_compares_us_with_the_best_rival(board, page):
    """A yardstick is no rival."""
    scores = {r["controller"]: r["score"] for r in board["scenarios"][0]["results"]}
    rival = max(NAMES[2:], key=scores.__getitem__)
    assert scores["fixed"] > scores[rival]
    assert f"shedproxy {scores['shedproxy']:.3f}best rival {rival} {scores[rival]:.3f}" in page.text


def test_charts_come_with_their_numbers(board, page):
    assert len(page.data) == len(board["scenarios"])
    data = json.loads(page.data[0])
    assert [key["name"] for key in data["keys"]][3:] == NAMES[1:2] + NAMES[:1] + NAMES[2:4]
    assert {chart["title"] for chart in data["charts"]} >= {"Refused", "p99 latency", "Queue"}


def test_a_scenario_with_nothing_but_a_name_is_still_shown():
    page = Page(scenario_sections([{"name": "bare", "results": []}], [], frozenset()))
    assert "bare" in page.text
    assert page.data == []
