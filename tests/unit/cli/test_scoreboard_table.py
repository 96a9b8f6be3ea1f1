"""On a terminal the board is a verdict, a table that fits, and what went wrong."""

from __future__ import annotations

import io

import pytest
from harness.scoreboards import scoreboard
from rich.console import Console

from shedproxy.cli.scoreboard_table import render_table


def printed(board: dict, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(render_table(board))
    return out.getvalue()


def lines_with(text: str, name: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if name in line.split()[:2]]


@pytest.fixture(scope="module")
def board() -> dict:
    return scoreboard(scenario_count=6, controller_count=7)


def test_the_verdict_comes_first(board):
    first = printed(board).splitlines()[0]
    assert first.startswith("shedproxy is first of 6: 0.975")


def test_rows_carry_the_boards_numbers(board):
    text = printed(board)
    for row in board["overall"]:
        (cells,) = lines_with(text.split("\n\n")[1], row["controller"])
        assert cells[2:5] == [
            f"{row['score']:.3f}",
            f"{row['low']:.3f}-{row['high']:.3f}",
            f"{row['best_on']}/{row['scenarios']}",
        ]
        assert cells[5] == f"{100 * row['goodput_ratio']:.1f}%"
        assert cells[-1] == f"{row['recovery_s']:.2f}"


def test_a_yardstick_has_no_place(board):
    text = printed(board).split("\n\n")[1]
    assert lines_with(text, "fixed")[0][0] == "-"
    assert lines_with(text, "shedproxy")[0][0] == "1"


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_nothing_is_cut_at_any_width(board, width):
    """Columns that do not fit are left out, by name; no cell is shortened or wrapped."""
    text = printed(board, width)
    table = text.split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= width
    assert "…" not in text
    rows = [line for line in table if line[:1] in {"-", "1", "2", "3", "4", "5", "6"}]
    assert len(rows) == 7
    assert ("Not shown" in text) is (width < 140)


def test_what_went_wrong_is_listed(board):
    text = printed(board)
    met = [e["is_met"] for s in board["scenarios"] for r in s["results"] for e in r["expectations"]]
    assert f"Expectations met: {sum(met)} of {len(met)}" in text
    assert "mixes-6x15ms-2: vegas, in flight 9 above the limit 8 at 12.4 s" in text
    assert "Another beats shedproxy: 2 of 6" in text


def test_several_scenarios_have_a_line_each_with_the_scores_of_all(board):
    table = printed(board).split("\n\n")[2].splitlines()
    best_first = [row["controller"] for row in board["overall"]]
    assert table[0].split() == ["Scenario", "Met", *best_first]
    for line, scenario in zip(table[1:], board["scenarios"], strict=True):
        scores = {result["controller"]: result["score"] for result in scenario["results"]}
        met = [e["is_met"] for r in scenario["results"] for e in r["expectations"]]
        assert line.split() == [
            scenario["name"], f"{sum(met)}/{len(met)}", *(f"{scores[n]:.3f}" for n in best_first),
        ]  # fmt: skip


def test_of_one_controller_the_lines_have_its_figures():
    board = scoreboard(scenario_count=2, controller_count=2)
    del board["scenarios"][0]["results"][0]
    board["scenarios"][1]["results"][0]["score"] = None  # of one that was run elsewhere only
    board["overall"] = [row for row in board["overall"] if row["controller"] == "shedproxy"]
    table = printed(board).split("\n\n")[2].splitlines()
    for line, scenario in zip(table[-2:], board["scenarios"], strict=True):
        result = scenario["results"][-1]
        goodput = result["goodput_ratio"]["median"]
        cells = line.split()
        assert cells[0] == scenario["name"]
        assert cells[2:4] == [f"{result['score']:.3f}", f"{100 * goodput:.1f}%"]


def test_without_a_score_there_is_no_column_of_scores():
    results = [{"controller": name, "score": None} for name in ("shedproxy", "aimd")]
    text = printed({"scenarios": [{"name": "s", "results": results}], "measured": "refusals"})
    assert lines_with(text, "Controller") == [["Controller"]]
    assert lines_with(text, "aimd") == [["aimd"]]


def test_a_suite_has_too_many_scenarios_for_lines():
    text = printed(scoreboard(scenario_count=41))
    assert "Each of the 41 scenarios is in --html and --json." in text


def test_of_one_scenario_expectations_that_were_met_are_listed_too():
    expectations = [{"text": "p99_ms <= 9", "actual": 8.5, "is_met": True}]
    result = {"controller": "shedproxy", "score": 0.5, "expectations": expectations}
    one = {"name": "s", "results": [result]}
    assert "  met: shedproxy, expected p99_ms <= 9, got 8.5" in printed({"scenarios": [one]})
    assert "  met:" not in printed({"scenarios": [one, {**one, "name": "t"}]})


def test_no_violation_is_told_only_where_it_was_looked_for():
    one = {"name": "s", "results": [{"controller": "a", "score": 0.5}]}
    assert "Violations: none" in printed({"scenarios": [one], "checked": True})
    assert "Violations" not in printed({"scenarios": [one], "checked": False})


def test_a_long_list_ends_with_how_many_more():
    unmet = [{"text": f"x >= {i}", "actual": 0.5, "is_met": False} for i in range(13)]
    result = {"controller": "shedproxy", "score": 0.5, "expectations": unmet}
    text = printed({"scenarios": [{"name": "s", "results": [result]}]})
    assert "Expectations met: 0 of 13" in text
    assert text.count("  s: shedproxy, expected") == 10
    assert "  and 3 more" in text


def test_a_single_scenario_has_a_table_of_its_own():
    board = scoreboard(scenario_count=1)
    text = printed(board)
    scenario = board["scenarios"][0]
    table = text.partition(scenario["title"])[2]
    for result in scenario["results"]:
        (cells,) = lines_with(table, result["controller"])
        assert cells[1] == f"{result['score']:.3f}"
        assert cells[-1] == f"{result['completions']['median']:,.0f}"


def test_names_are_not_markup():
    text = printed(
        {"scenarios": [{"name": "[red]s", "results": [{"controller": "[b]", "score": 1.0}]}]}
    )
    assert "[red]s" in text
    assert "[b]" in text


def test_a_score_of_one_scenario_has_its_interval_over_the_seeds():
    results = [
        {"controller": "shedproxy", "score": 0.95, "score_low": 0.94, "score_high": 0.96},
        {"controller": "none", "score": 0.5, "score_low": None, "score_high": None},
    ]
    text = printed({"scenarios": [{"name": "s", "results": results}]})
    assert lines_with(text, "Controller") == [["Controller", "Score", "Interval"]]
    assert lines_with(text, "none") == [["none", "0.500", "-"]]
    assert ["shedproxy", "0.950", "0.940-0.960"] in lines_with(text, "shedproxy")
