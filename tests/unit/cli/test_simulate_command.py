"""`shedproxy simulate` runs what is named, shows it, and fails where an expectation does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shedproxy.cli import main, scenario_files, simulate_command

OVERLOAD = """
title = "Twice the capacity"
duration_s = 15
unscored_arrivals = 200
[[client]]
load = 2
[[expect]]
metric = "goodput_ratio"
at_least = {bound}
by = "fixed"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of two in the folder one is in: `met` and `missed` by the fixed limit."""
    monkeypatch.chdir(tmp_path)
    suite = tmp_path / scenario_files.SUITE
    suite.mkdir(parents=True)
    (suite / "met.toml").write_text(OVERLOAD.format(bound=0.5))
    (suite / "missed.toml").write_text(OVERLOAD.format(bound=2))
    (suite / "few.toml").write_text('controllers = ["vegas"]\n' + OVERLOAD.format(bound=0.5))
    return tmp_path


def simulate(*arguments: str) -> Any:
    return CliRunner().invoke(main.app, ["simulate", "--jobs", "1", *arguments])


def board_of(*arguments: str) -> dict[str, Any]:
    result = simulate(*arguments, "--json")
    assert result.exit_code in {0, 1}, result.output
    board: dict[str, Any] = json.loads(result.stdout)
    return board


def test_a_scenario_is_run_under_the_controllers_named_and_shown() -> None:
    result = simulate("met", "--controller", "fixed", "--controller", "none", "--seeds", "2")
    assert result.exit_code == 0
    assert "Twice the capacity" in result.stdout
    table = result.stdout.partition("Twice the capacity")[2]
    assert table.index("fixed") < table.index("none")
    assert result.stdout.startswith("none scores"), "a yardstick takes no place"
    assert "2 of 2 runs" in result.stderr
    assert "weighted mean" not in result.stdout


def test_an_expectation_that_is_not_met_is_a_failure() -> None:
    result = simulate("missed", "--controller", "fixed", "--seeds", "1")
    assert result.exit_code == 1
    assert "goodput_ratio >= 2" in " ".join(result.stdout.split())
    assert simulate("missed", "--controller", "none", "--seeds", "1").exit_code == 0


def test_a_suite_has_an_overall_score_and_says_by_which_rules() -> None:
    result = simulate("--suite", "--controller", "fixed", "--controller", "none", "--seeds", "1")
    assert result.exit_code == 1
    assert "weighted mean" in " ".join(result.stdout.split())
    board = board_of("--suite", "--controller", "fixed", "--controller", "none", "--seeds", "1")
    assert [row["controller"] for row in board["overall"]] == ["fixed", "none"]
    assert {scenario["name"] for scenario in board["scenarios"]} == {"met", "missed"}


def test_the_board_says_how_it_was_made() -> None:
    board = board_of("met", "--controller", "fixed", "--seeds", "2", "--sample", "30")
    assert board["seeds"] == [1, 2]
    assert board["tool"] == "shedproxy simulate"
    (scenario,) = board["scenarios"]
    assert scenario["series"]["seed"] == 1
    assert len(scenario["series"]["t_s"]) == 30


def test_files_and_folders_and_generated_ones_may_be_named(folder: Path) -> None:
    (folder / "own.toml").write_text(OVERLOAD.format(bound=0.5))
    board = board_of(
        "own.toml", "met", "missed", "--generated", "1", "--controller", "fixed",
        "--seeds", "1",
    )  # fmt: skip
    names = [scenario["name"] for scenario in board["scenarios"]]
    assert names == ["own", "met", "missed", "generated-0001"]
    assert board["generated"]["count"] == 1


def test_one_of_the_generated_is_run_again_by_its_name(folder: Path) -> None:
    arguments = ("--generator-seed", "7", "--controller", "fixed", "--seeds", "1", "--json")
    alone = json.loads(simulate("generated-0002", *arguments).stdout)
    among = json.loads(simulate("--generated", "2", *arguments).stdout)
    assert alone["scenarios"][0] | {"series": None} == among["scenarios"][1] | {"series": None}
    assert "generated" not in alone
    assert "no scenario generated-2" in str(simulate("generated-2").exception)


def test_many_generated_scenarios_have_no_course_over_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def nothing(work: Any, processes: int) -> Iterator[Any]:
        seen.append(work)
        yield from ()

    monkeypatch.setattr(simulate_command, "_results", nothing)
    for count in ("10", "11"):
        simulate("met", "--generated", count, "--controller", "fixed", "--seeds", "1", "--json")
    few, many = ({job.scenario.name: job.with_series for job in work} for work in seen)
    assert all(few.values())
    assert [name for name, has_series in many.items() if has_series] == ["met"]


def test_a_pattern_stands_for_all_of_the_suite_that_match(folder: Path) -> None:
    board = board_of("m*", "few", "--controller", "fixed", "--controller", "vegas", "--seeds", "1")
    assert [scenario["name"] for scenario in board["scenarios"]] == ["met", "missed", "few"]
    result = simulate("x*")
    assert "no scenario in" in str(result.exception)
    assert "simulate --list" in str(result.exception)


def test_a_list_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_command, "_results", None)
    everything = simulate("--list")
    assert everything.exit_code == 0
    assert "3 scenarios" in everything.stdout
    some = simulate("m*", "--list", "--json")
    assert [one["name"] for one in json.loads(some.stdout)] == ["met", "missed"]


def test_a_page_is_written(folder: Path) -> None:
    result = simulate("met", "--controller", "fixed", "--seeds", "1", "--html", "page.html")
    assert result.exit_code == 0
    assert "written: page.html" in result.stderr
    assert "Twice the capacity" in (folder / "page.html").read_text()
    bad = simulate("met", "--controller", "fixed", "--seeds", "1", "--html", ".")
    assert "cannot write ." in str(bad.exception)
    assert "Twice the capacity" in bad.stdout, "what was measured is not lost"


def test_several_processes_find_the_same() -> None:
    arguments = ("met", "--controller", "fixed", "--seeds", "2")
    apart = CliRunner().invoke(main.app, ["simulate", "--jobs", "2", *arguments, "--json"])
    assert apart.exit_code == 0
    assert json.loads(apart.stdout)["scenarios"] == board_of(*arguments)["scenarios"]


def test_an_interruption_shows_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = simulate_command._results

    def interrupted(work: Any, processes: int) -> Iterator[Any]:
        yield next(iter(complete(work, processes)))
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate_command, "_results", interrupted)
    result = simulate("met", "--controller", "fixed", "--seeds", "3")
    assert result.exit_code == 130
    assert "Twice the capacity" in result.stdout
    assert "1 of 3 runs" in result.stderr


def test_an_interruption_before_the_first_result_shows_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(work: Any, processes: int) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(simulate_command, "_results", interrupted)
    result = simulate("met", "--controller", "fixed")
    assert (result.exit_code, result.stdout) == (130, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a scenario (--list shows them)"),
        (["met", "--controller", "vegs"], "did you mean vegas?"),
        (["met", "--controller", "xyz"], "there are: shedproxy"),
        (["met", "--seeds", "0"], "--seeds"),
        (["few", "--controller", "aimd"], "no scenario is open to any of these"),
        (["met", "--html", "no/page.html"], "there is no folder no"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(arguments: list[str], words: str) -> None:
    result = simulate(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_an_expectation_of_nobody_is_an_error(folder: Path) -> None:
    (folder / "own.toml").write_text(OVERLOAD.format(bound=1).replace("fixed", "fxied"))
    result = simulate("own.toml")
    assert "there is no controller fxied" in str(result.exception)


def test_all_are_run_unless_some_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from shedproxy.simulator.registry import CONTROLLERS

    seen: list[Any] = []

    def nothing(work: Any, processes: int) -> Iterator[Any]:
        seen.extend(work)
        yield from ()

    monkeypatch.setattr(simulate_command, "_results", nothing)
    simulate("met", "--seeds", "2")
    simulate("met", "--controller", "vegas", "--controller", "all", "--seeds", "1", "--check")
    assert [job.controllers for job in seen] == [tuple(CONTROLLERS)] * 3
    assert [job.is_checked for job in seen] == [False, False, True]


def test_another_seed_of_the_generator_draws_fresh_scenarios() -> None:
    def generated(*arguments: str) -> dict[str, Any]:
        return board_of("--generated", "1", "--controller", "fixed", "--seeds", "1", *arguments)

    first, second, again = (
        generated(), generated("--generator-seed", "7"), generated("--generator-seed", "7")
    )  # fmt: skip
    assert first["generated"]["seed"] == 1
    assert second["generated"]["seed"] == 7
    assert second["scenarios"] == again["scenarios"]
    assert second["scenarios"][0]["oracle"] != first["scenarios"][0]["oracle"]
    text = simulate(
        "--generated", "1", "--generator-seed", "7", "--controller", "fixed", "--seeds", "1"
    ).stdout
    assert "1 generated scenarios, drawn from seed 7" in text


def test_the_table_says_where_ours_is_behind_the_best() -> None:
    result = simulate("met", "--controller", "shedproxy", "--controller", "none", "--seeds", "1")
    words = " ".join(result.stdout.split())
    assert "Margin of shedproxy to the best of none: within 1 point on 1 of 1 named" in words
    assert "not run: aimd, gradient2, vegas, envoy-gradient, cinnamon" in words


def test_refusals_alone_are_counted_over_all_seeds() -> None:
    result = simulate("met", "--controller", "shedproxy", "--seeds", "2", "--refusals")
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "Refusals only" in words
    assert "same queue at the true limit, all seeds together: shedproxy +" in words
    assert board_of("met", "--controller", "fixed", "--seeds", "1", "--check")["checked"] is True
    board = board_of("missed", "--controller", "fixed", "--seeds", "1", "--refusals")
    (found,) = board["scenarios"][0]["results"]
    assert found["pooled"]["false_refusal_excess"]["requests"] > 5_000
    assert found["expectations"] == [], "goodput is not measured"


def test_a_table_of_one_scenario_says_where_the_rules_are() -> None:
    result = simulate("met", "--controller", "fixed", "--seeds", "1")
    assert "loadtests/README.md, Scoring rules" in " ".join(result.stdout.split())
