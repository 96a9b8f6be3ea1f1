"""The names that an expectation may use are those that runs have, and each is described."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from harness.worlds import chance_of

from shedproxy.simulator.figure_names import describe, figure_names
from shedproxy.simulator.suite import Job, run_job
from shedproxy.workload.scenario import CellSpec, ClientSpec, Expectation, Scenario
from shedproxy.workload.scenario_document import decode_scenario

ROOT = Path(__file__).resolve().parents[3]
SAVED = ROOT / "benchmarks" / "results" / "scoreboard-named.json"


def of_suite(name: str) -> Scenario:
    file = ROOT / "loadtests" / "scenarios" / f"{name}.toml"
    return decode_scenario(tomllib.loads(file.read_text()), name=name)


def test_all_that_was_measured_of_many_scenarios_has_a_name() -> None:
    nameless = {
        (scenario["name"], figure)
        for scenario in json.loads(SAVED.read_text())["scenarios"]
        for result in scenario["results"]
        for figure in (*result["figures"], *result.get("pooled", ()))
        if figure not in figure_names(of_suite(scenario["name"]))
    }
    assert nameless == set()


@pytest.mark.parametrize("name", ["cells-one-at-3x", "vector-slow-link", "skipper-chain"])
def test_all_that_is_measured_has_a_name(name: str) -> None:
    scenario = of_suite(name)
    run = run_job(Job(scenario=scenario, seed=1, controllers=("shedproxy",)), chance_of)
    assert set(run.runs["shedproxy"].figures) <= figure_names(scenario)


def test_names_end_in_whom_they_are_of() -> None:
    scenario = Scenario(
        client=(
            ClientSpec(name="a", load=1.0, criticality=(("sheddable", 1.0),)),
            ClientSpec(name="ping", rate_rps=1.0, lane="control"),
        ),
        recovers_from_s=(3.0, 9.0),
        expect=(Expectation(metric="regret", at_most=1.0),),
    )
    names = figure_names(scenario)
    assert {"client_missed.a", "recovery_s.2", "class_served_ratio.sheddable"} <= names
    assert "client_latency_max_ms.ping" in names
    assert names.isdisjoint({"recovery_s.3", "client_latency_max_ms.a", "class_served_ratio.x"})
    cells = figure_names(Scenario(client=(ClientSpec(name="a"),), cell=(CellSpec(name="b"),)))
    assert {"goodput_rps.b", "client_lost.a", "moves"} <= cells
    assert cells.isdisjoint({"goodput_ratio", "goodput_rps.a", "client_lost.b"})


def test_each_is_described_by_what_it_is_and_not_by_whom_it_is_of() -> None:
    assert describe("goodput_ratio") == "served in time, over the oracle's"
    assert describe("goodput_rps") != describe("goodput_rps.b")
    assert describe("recovery_s.2").endswith("from its first, second, ... instant")
    assert describe("server_rate_mode") == ""
    named = figure_names(Scenario(recovers_from_s=(1.0,)))
    vector = ("server_", "rtt_", "in_flight_mode", "limit_mode")
    assert [name for name in named if not describe(name) and not name.startswith(vector)] == []
