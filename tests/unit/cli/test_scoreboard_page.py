"""The page tells the whole board, whatever is in it; tests/peers opens it in a browser."""

from __future__ import annotations

import copy
import json
import time

import pytest
from harness.pages import Page
from harness.scoreboards import scoreboard

from shedproxy.cli.scoreboard_page import render_scoreboard


@pytest.fixture(scope="module")
def board() -> dict:
    return scoreboard(scenario_count=5)


@pytest.fixture(scope="module")
def page(board) -> Page:
    return Page(render_scoreboard(board))


def test_it_is_a_function_of_the_board_and_leaves_that_alone(board):
    before = copy.deepcopy(board)
    assert render_scoreboard(board) == render_scoreboard(board)
    assert board == before


def test_the_verdict_comes_first(page):
    parts = ("is first of 4", "Expectations met", "more is better", "★ best of the row", "Weights")
    places = [page.text.index(part) for part in parts]
    assert places == sorted(places)


def test_sections_are_linked_from_the_head(page):
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [a["href"] for tag, a in page.elements if tag == "a" and a["href"].startswith("#")]
    assert {"#overall", "#scenarios-by-controller", "#scenarios", "#method"} < set(links)
    assert {link[1:] for link in links} <= ids, "a link that leads nowhere"


def test_the_verdict_counts(board, page):
    met = [e["is_met"] for s in board["scenarios"] for r in s["results"] for e in r["expectations"]]
    assert f"Expectations met✗ {sum(met)} of {len(met)}" in page.text
    assert "Violations✗ 1" in page.text
    assert "Generated100 seed 7" in page.text


def test_none_is_no_number_of_violations_that_were_not_looked_for():
    one = {**scoreboard(scenario_count=1), "checked": False}
    assert "Violations- without --check" in Page(render_scoreboard(one)).text
    assert "Violations0" in Page(render_scoreboard({**one, "checked": True})).text


def test_without_scores_there_is_no_matrix_of_them():
    unscored = scoreboard(scenario_count=2)
    del unscored["overall"]
    for scenario in unscored["scenarios"]:
        for result in scenario["results"]:
            result["score"] = None
    assert "Scenarios by controller" not in Page(render_scoreboard(unscored)).text


def test_a_long_list_of_failures_begins_in_the_open():
    unmet = [{"text": f"x >= {i}", "actual": 0.5, "is_met": False} for i in range(20)]
    result = {"controller": "shedproxy", "score": 0.5, "expectations": unmet}
    one = {**scoreboard(scenario_count=1), "scenarios": [{"name": "s", "results": [result]}]}
    text = Page(render_scoreboard(one)).text
    assert "Expectations not met: 20" in text
    assert text.index("x >= 11,") < text.index("8 more") < text.index("x >= 12,")


def test_the_method_is_enough_to_reproduce(board, page):
    for part in (*board["scoring"]["rules"], board["command"], board["generated"]["note"]):
        assert part in page.text
    assert "Seeds 1, 2, 3, 4, 5" in page.text
    assert "fairness15.0%" in page.text
    assert "Python 3.11.7" in page.text


def test_one_scenario_makes_a_page_of_its_own():
    one = scoreboard(scenario_count=1)
    page = Page(render_scoreboard(one))
    assert page.text.count(one["scenarios"][0]["title"]) >= 2
    assert [a["open"] for tag, a in page.elements if tag == "details"] == [None]
    assert "Overall" not in page.text
    assert "Another beats" not in page.text


def test_what_may_be_missing_is_missed_by_nobody():
    """A board with the least that the schema allows, and no value at all."""
    result = {"controller": "a", "score": None, "goodput_ratio": None}
    bare = {
        "tool": "shedproxy simulate",
        "version": "1",
        "command": "shedproxy simulate x",
        "scenarios": [{"name": "x", "results": [result], "series": None}],
        "generated": None,
    }
    page = Page(render_scoreboard(bare))
    assert "This scenario has no score" in page.text
    assert page.tables["Results of x"] == [["Controller", "Score ↑"], ["a", "-"]]


def test_text_from_a_board_is_never_markup(board):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    bad = copy.deepcopy(board)
    bad["command"] = bad["version"] = hostile
    bad["scoring"] = {"rules": [hostile], "weights": {hostile: 0.5}}
    for scenario in bad["scenarios"]:
        scenario.update(title=hostile, group=hostile, source=hostile, explanation=hostile)
        scenario["results"][1].update(
            expectations=[{"text": hostile, "actual": hostile, "is_met": False}],
            violations=[hostile],
        )
        scenario["series"]["controllers"][hostile] = scenario["series"]["controllers"]["vegas"]
        scenario["results"][3]["controller"] = hostile
    for row in bad["overall"]:
        row["controller"] = hostile if row["controller"] == "vegas" else row["controller"]
    for scenario in bad["scenarios"]:
        del scenario["series"]["controllers"]["vegas"]
    page = Page(render_scoreboard(bad))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert len([1 for tag, a in page.elements if tag == "script" and "type" not in a]) == 2
    assert hostile in page.text
    assert hostile in json.loads(page.data[0])["charts"][0]["lines"][3]["key"]


def test_a_full_suite_is_a_file_that_can_be_sent():
    """80 scenarios, 14 controllers, 200 points of four of them: below 5 MB, within seconds."""
    board = scoreboard(scenario_count=80, controller_count=14, points=200)
    began = time.thread_time()
    page = render_scoreboard(board)
    assert time.thread_time() - began < 10
    assert len(page.encode()) < 5_000_000
