"""The verdict says who is first, by how much, and what went wrong, whoever that is."""

from __future__ import annotations

from typing import Any

import pytest

from shedproxy.cli.scoreboard_verdict import by_score, read_verdict


def row(name: str, score: float | None, half: float | None = None, **more: Any) -> dict[str, Any]:
    ends = {} if half is None else {"low": score - half, "high": score + half}
    return {"controller": name, "score": score, **ends, **more}


def scenario(name: str, *results: dict[str, Any], title: str | None = None) -> dict[str, Any]:
    return {"name": name, "title": title, "results": list(results)}


def board(*scenarios: dict[str, Any], overall: list[dict[str, Any]] | None = None) -> dict:
    return {"scenarios": list(scenarios), "overall": overall}


def test_the_headline_names_the_first_and_its_lead():
    rows = [row("shedproxy", 0.973, 0.005), row("vegas", 0.908, 0.008)]
    verdict = read_verdict(board(overall=rows))
    assert verdict.headline == (
        "shedproxy is first of 2: 0.973 (0.968 to 0.978), 0.065 ahead of vegas."
    )
    assert verdict.remarks == (
        "vegas has 0.908 (0.900 to 0.916): the intervals of the first two do not overlap.",
    )


def test_overlapping_intervals_are_told():
    rows = [row("shedproxy", 0.973, 0.005), row("vegas", 0.970, 0.008)]
    assert "first two overlap" in read_verdict(board(overall=rows)).remarks[0]


def test_a_difference_that_cannot_be_read_is_no_lead():
    rows = [row("a", 0.9004), row("b", 0.9001)]
    assert "level with b" in read_verdict(board(overall=rows)).headline


def test_the_others_win_as_plainly_as_we_do():
    rows = [row("vegas", 0.97), row("aimd", 0.96), row("shedproxy", 0.93)]
    verdict = read_verdict(board(overall=rows))
    assert verdict.headline.startswith("vegas is first of 3: 0.970, 0.010 ahead of aimd.")
    assert verdict.remarks == ("shedproxy takes place 3 of 3: 0.930, 0.040 behind vegas.",)


def test_a_yardstick_takes_no_place_and_is_not_hidden():
    rows = [row("fixed", 0.98, is_yardstick=True), row("shedproxy", 0.97), row("vegas", 0.9)]
    verdict = read_verdict(board(overall=rows))
    assert verdict.headline.startswith("shedproxy is first of 2:")
    assert verdict.remarks == (
        "fixed is a yardstick and takes no place: 0.980, 0.010 ahead of shedproxy.",
    )
    assert [standing.place for standing in verdict.standings] == [None, 1, 2]
    assert verdict.yardsticks == {"fixed"}


def test_a_yardstick_takes_no_place_in_one_scenario_either():
    results = [row("fixed", 0.98, is_yardstick=True), row("shedproxy", 0.97), row("vegas", 0.9)]
    verdict = read_verdict(board(scenario("s", *results)))
    assert verdict.headline == "shedproxy is first of 2: 0.970, 0.070 ahead of vegas."
    assert verdict.yardsticks == {"fixed"}


def test_yardsticks_alone_have_scores_and_no_first():
    verdict = read_verdict(board(scenario("s", row("fixed", 0.98, is_yardstick=True))))
    assert verdict.headline == "Only yardsticks were run, and they take no place."
    assert verdict.remarks == ("fixed has 0.980.",)


def test_one_scenario_has_the_intervals_of_its_scores():
    results = [
        row("a", 0.9, score_low=0.89, score_high=0.91),
        row("b", 0.5, score_low=0.45, score_high=0.55),
    ]
    verdict = read_verdict(board(scenario("s", *results)))
    assert verdict.headline == "a is first of 2: 0.900 (0.890 to 0.910), 0.400 ahead of b."
    assert verdict.remarks == (
        "b has 0.500 (0.450 to 0.550): the intervals of the first two do not overlap.",
    )


def test_one_scenario_ranks_by_its_own_scores():
    verdict = read_verdict(board(scenario("s", row("aimd", 0.5), row("none", None), row("b", 0.9))))
    assert [standing.controller for standing in verdict.standings] == ["b", "aimd", "none"]
    assert verdict.headline == "b is first of 2: 0.900, 0.400 ahead of aimd."


@pytest.mark.parametrize(
    ("scores", "headline"),
    [
        ([0.9], "a scores 0.900."),
        ([None], "This scenario has no score: what is expected of it says how it went."),
    ],
)
def test_one_controller_has_nobody_to_lead(scores, headline):
    results = [row("a", score) for score in scores]
    assert read_verdict(board(scenario("s", *results))).headline == headline


def test_several_scenarios_without_an_overall_part_have_no_first():
    several = board(scenario("s", row("a", 0.9)), scenario("t", row("a", 0.8)))
    verdict = read_verdict(several)
    assert verdict.headline == "There is no score over all scenarios."
    assert verdict.standings == ()


def test_what_was_not_met_is_listed_with_what_was_measured():
    expectations = [
        {"text": "goodput_ratio >= 0.98", "actual": 0.91234567, "is_met": False},
        {"text": "recovery_s <= 1", "actual": None, "is_met": False},
        {"text": "inversion_ratio <= 0", "actual": 0.0, "is_met": True},
    ]
    verdict = read_verdict(
        board(scenario("s", row("shedproxy", 0.9, expectations=expectations), title="Title"))
    )
    assert (verdict.met_count, verdict.expectation_count) == (1, 3)
    assert [kept.text for kept in verdict.kept] == ["expected inversion_ratio <= 0, got 0"]
    assert [(f.scenario, f.title, f.controller, f.text) for f in verdict.failures] == [
        ("s", "Title", "shedproxy", "expected goodput_ratio >= 0.98, got 0.9123"),
        ("s", "Title", "shedproxy", "expected recovery_s <= 1, not measured"),
    ]


def test_violations_of_anybody_are_listed():
    verdict = read_verdict(board(scenario("s", row("vegas", 0.9, violations=["one", "two"]))))
    assert [(f.controller, f.text) for f in verdict.violations] == [
        ("vegas", "one"),
        ("vegas", "two"),
    ]


def test_a_board_says_whether_violations_were_looked_for():
    assert read_verdict({**board(scenario("s", row("a", 0.9))), "checked": True}).is_checked
    assert not read_verdict(board(scenario("s", row("a", 0.9)))).is_checked


def test_where_another_is_better_the_greatest_gap_comes_first():
    verdict = read_verdict(
        board(
            scenario("won", row("shedproxy", 0.9), row("vegas", 0.8), row("fixed", 1.0)),
            scenario("lost", row("shedproxy", 0.90), row("vegas", 0.95), row("aimd", 0.91)),
            scenario("level", row("shedproxy", 0.9001), row("vegas", 0.9004)),
            scenario("far", row("shedproxy", 0.1), row("aimd", 0.7)),
            scenario("absent", row("vegas", 0.1), row("aimd", 0.7)),
            overall=[row("fixed", 1.0, is_yardstick=True), row("shedproxy", 0.7)],
        )
    )
    assert [(loss.scenario, loss.best) for loss in verdict.losses] == [
        ("far", "aimd"),
        ("lost", "vegas"),
    ]
    assert verdict.compared_count == 4, "on one of them ours was not run"


def test_results_without_a_score_come_last():
    ordered = by_score([row("a", None), row("b", 0.0), row("c", 0.5)])
    assert [result["controller"] for result in ordered] == ["c", "b", "a"]


def lead(first, second, low):
    return {"first": first, "second": second, "difference": 0.02, "low": low, "high": 0.03}


def test_who_was_told_the_capacity_is_compared_with_those_that_were_too():
    rows = [row("codel-lifo", 0.92, knows_capacity=True), row("shedproxy", 0.91), row("vegas", 0.7)]
    leads = {
        "lead": lead("codel-lifo", "shedproxy", -0.01),
        "lead_unaware": lead("shedproxy", "vegas", 0.01),
        "lead_aware": lead("shedproxy-profile", "codel-lifo", 0.01),
    }
    verdict = read_verdict({**board(overall=rows), **leads})
    assert verdict.remarks[:3] == (
        "codel-lifo less shedproxy, in pairs: +0.0200 (-0.0100 to +0.0300), not clear of 0.",
        (
            "Of those that have to find out what the service can do: shedproxy less vegas, in"
            " pairs: +0.0200 (+0.0100 to +0.0300), clear of 0."
        ),
        (
            "Of those that were told, yardsticks among them: shedproxy-profile less codel-lifo, in"
            " pairs: +0.0200 (+0.0100 to +0.0300), clear of 0."
        ),
    )
    assert [standing.knows_capacity for standing in verdict.standings] == [True, False, False]


def test_a_lead_is_told_once():
    one = lead("shedproxy", "vegas", 0.01)
    rows = [row("shedproxy", 0.91), row("vegas", 0.7)]
    remarks = read_verdict({**board(overall=rows), "lead": one, "lead_unaware": one}).remarks
    assert sum("in pairs" in remark for remark in remarks) == 1
