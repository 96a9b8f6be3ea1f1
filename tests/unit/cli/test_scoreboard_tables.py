"""The tables over all scenarios show the board's numbers, and who stands out."""

from __future__ import annotations

import re

import pytest
from harness.pages import Page
from harness.scoreboards import scoreboard

from shedproxy.cli.scoreboard_tables import matrix_table, overall_table
from shedproxy.cli.scoreboard_verdict import read_verdict

NAMES = ["fixed", "shedproxy", "gradient2", "vegas", "aimd"]


@pytest.fixture(scope="module")
def board() -> dict:
    return scoreboard(scenario_count=4)


def test_every_controller_has_its_row_with_its_numbers(board):
    page = Page(overall_table(board, read_verdict(board)))
    head, *rows = page.tables["Scores over all scenarios"]
    assert head[:2] == ["Controller", "Score ↑"]
    assert len(rows) == len(board["overall"])
    for row, source in zip(rows, board["overall"], strict=True):
        assert source["controller"] in row[0]
        assert row[1] == "{score:.3f}/{low:.3f} to {high:.3f}".format(**source)
        assert row[3] == f"{100 * source['goodput_ratio']:.1f}%"
        assert row[-1] == f"{source['best_on']} of 4"


def test_places_leave_out_the_yardstick(board):
    rows = Page(overall_table(board, read_verdict(board))).tables["Scores over all scenarios"][1:]
    assert rows[0][0] == "fixed yardstick"
    assert [row[0][0] for row in rows[1:]] == ["1", "2", "3", "4"]
    assert rows[1][0] == "1shedproxy"


def test_a_board_without_an_overall_part_has_no_such_table(board):
    bare = {**board, "overall": None}
    assert overall_table(bare, read_verdict(bare)) is None


def test_columns_that_nobody_has_are_left_out(board):
    rows = [{**row, "fairness": None, "recovery_s": None} for row in board["overall"]]
    bare = {**board, "overall": rows}
    head = Page(overall_table(bare, read_verdict(bare))).tables["Scores over all scenarios"][0]
    assert "Fairness ↑" not in head
    assert "Recovery, s ↓" not in head
    assert "Goodput ↑" in head


def test_the_matrix_has_a_cell_for_each_pair(board):
    page = Page(matrix_table(board, read_verdict(board), NAMES))
    head, *rows = page.tables["Score of each controller on each scenario"]
    assert head == ["Scenario", *NAMES]
    for row, scenario in zip(rows, board["scenarios"], strict=True):
        assert row[0] == f"{scenario['title']} /{scenario['group']}"
        scores = {result["controller"]: result["score"] for result in scenario["results"]}
        assert row[1:] == [f"{scores[name]:.3f}" for name in NAMES]


def test_colour_follows_the_score_and_signs_say_what_colour_cannot():
    unmet = {"text": "x", "actual": None, "is_met": False}
    results = [
        {"controller": "fixed", "score": 1.0},
        {"controller": "shedproxy", "score": 0.97, "expectations": [unmet]},
        {"controller": "gradient2", "score": 0.39},
        {"controller": "vegas", "score": 0.6, "violations": ["one"]},
    ]
    board = {
        "scenarios": [{"name": name, "results": results} for name in ("s", "t")],
        "overall": [{"controller": n, "score": 0.5, "is_yardstick": n == "fixed"} for n in NAMES],
    }
    markup = matrix_table(board, read_verdict(board), NAMES)
    row = Page(re.findall(r"<tr data-find.*?</tr>", markup)[0])
    classes = [attributes.get("class") for tag, attributes in row.elements if tag == "td"]
    assert classes == ["h7", "h6 best failed", "h0", "h2 failed", None]
    assert row.text.endswith("-"), "a controller that did not run has no score"


def test_the_scale_explains_every_colour(board):
    page = Page(matrix_table(board, read_verdict(board), NAMES))
    scale = [a["class"] for tag, a in page.elements if tag == "li"]
    assert scale == [f"h{step}" for step in range(8)]
    assert "below 0.4" in page.text
    assert "0.98 and up" in page.text


def test_one_scenario_needs_no_matrix(board):
    one = {**board, "scenarios": board["scenarios"][:1]}
    assert matrix_table(one, read_verdict(one), NAMES) is None
