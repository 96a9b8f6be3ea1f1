"""The suite of `loadtests/scenarios`: every file reads, says where it is from, and can be run."""

from __future__ import annotations

import runpy
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from harness.worlds import chance_of, ours, run_world

from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.controllers.vector_arc import VectorArcControl
from shedproxy.simulator.figure_names import figure_names
from shedproxy.simulator.scoring import RULES, WEIGHTS, check_expectation
from shedproxy.simulator.suite import Job, run_job
from shedproxy.simulator.vector_figures import VectorFigures
from shedproxy.simulator.world import World
from shedproxy.workload.curve import RateCurve
from shedproxy.workload.scenario import ClientSpec, Scenario
from shedproxy.workload.scenario_document import decode_scenario

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "loadtests" / "scenarios").glob("*.toml"))
SUITE = {
    file.stem: decode_scenario(tomllib.loads(file.read_text()), name=file.stem) for file in FILES
}

GROUPS = {
    "Overload", "Below capacity", "Drift", "Steps and faults", "Metastability", "Priorities",
    "Tasks, deadlines and sessions", "Fairness", "Mixed and quick work", "Many proxies",
    "Vector's tests", "Other projects' tests", "Cells and zones",
}  # fmt: skip
SOURCES = {
    "AWS Builders' Library": 10, "Aperture": 4, "BBR": 1, "Breakwater": 189, "Cinnamon": 10,
    "DAGOR": 29, "Envoy": 4, "Facebook": 1, "Google SRE book": 3, "Kubernetes": 5, "Linkerd": 1,
    "Metastable failures": 13, "Netflix": 8, "Open versus closed": 4, "Palantir dialogue": 3,
    "Protego": 1, "Skipper": 2, "Universal Scalability Law": 2, "Vector": 13, "brpc": 1,
    "failsafe-go": 3, "jfrz38": 7, "folly": 2, "tripwire": 2,
}  # fmt: skip
"""Families of published experiments, and how many scenarios of each there are at least."""

ARRIVALS_MAX = 175_000
"""What one run may cost."""


def test_suite_is_a_suite() -> None:
    assert len(SUITE) >= 60


@pytest.mark.parametrize("name", SUITE)
def test_scenario_says_what_it_is(name: str) -> None:
    """Its name is its file's; a reader learns what it shows, from where, and what is expected."""
    scenario = SUITE[name]
    assert scenario.name == name
    assert scenario.title
    assert len(scenario.explanation) > 80
    assert scenario.source
    assert scenario.group in GROUPS
    assert scenario.expect


def test_what_is_expected_is_a_figure_of_the_scenario() -> None:
    unknown = {
        (name, expectation.metric)
        for name, scenario in SUITE.items()
        for expectation in scenario.expect
        if expectation.metric not in figure_names(scenario)
    }
    assert unknown == set()


def test_recovery_is_expected_from_some_instant() -> None:
    expecting = {
        name
        for name, scenario in SUITE.items()
        if any(expectation.metric.startswith("recovery_s") for expectation in scenario.expect)
    }
    assert len(expecting) > 15
    assert expecting <= {name for name, scenario in SUITE.items() if scenario.recovers_from_s}


def test_every_family_of_experiments_is_there() -> None:
    found = {
        family: sum(family in scenario.source for scenario in SUITE.values()) for family in SOURCES
    }
    assert {family: count for family, count in found.items() if count < SOURCES[family]} == {}
    assert {scenario.group for scenario in SUITE.values()} == GROUPS


def arrivals(scenario: Scenario, client: ClientSpec) -> float:
    """How many requests an open population intends to send; 0 for closed ones."""
    rate_rps = client.rate_rps or 0.0
    if client.load is not None:
        backends = [cell.backend for cell in scenario.cell if client.cell in {cell.name, "default"}]
        capacity = sum(map(capacity_rps, backends or [scenario.backend]))
        rate_rps = client.load * capacity / client.service_factor
    curve = RateCurve(
        rate_rps,
        schedule=client.schedule,
        is_ramp=client.ramp,
        start_s=client.start_s,
        stop_s=client.stop_s,
    )
    now, count, end = 0.0, 0.0, scenario.duration_s * 1e9
    while now < end:
        rate, until = curve.at(now)
        count += rate * (min(until, end) - now) / 1e9
        now = until
    return count if client.requests is None else min(count, client.requests)


def test_runs_are_affordable() -> None:
    costs = {
        name: sum(arrivals(scenario, client) for client in scenario.client)
        for name, scenario in SUITE.items()
    }
    assert {name: cost for name, cost in costs.items() if cost > ARRIVALS_MAX} == {}


def test_example_of_the_readme_is_a_scenario() -> None:
    text = (ROOT / "loadtests" / "README.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    assert decode_scenario(tomllib.loads(example)).name == "steps-example"


def test_readme_has_the_rules_of_scoring_as_they_are() -> None:
    text = " ".join((ROOT / "loadtests" / "README.md").read_text().split())
    assert [rule for rule in RULES if rule not in text] == []
    for name, weight in WEIGHTS.items():
        assert f"{name} {weight:.0%}".replace("%", " %") in text


def test_generated_files_are_what_the_generator_writes() -> None:
    """`python -m loadtests.make_grid` after a change to it, and no file of a family by hand."""
    make_grid = runpy.run_path(str(ROOT / "loadtests" / "make_grid.py"))
    generated = dict(make_grid["files"]())
    assert len(generated) > 100
    for stem, text in generated.items():
        assert (ROOT / "loadtests" / "scenarios" / f"{stem}.toml").read_text() == text
    for family in (
        "overload-4x",
        "dagor-m1-",
        "cinnamon-",
        "breakwater-exponential",
        "plateau-",
        "pid-",
    ):
        assert {n for n in SUITE if n.startswith(family)} <= set(generated)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("overload-4x5ms-exponential-3x", 3.0),
        ("healthy-closed-8-users", 0.3),
        ("dagor-m2-750", 3.0),
        ("fairness-noisy-neighbour", 10.0),
        ("priority-four-classes-3x", 3.0),
        ("proxies-20", 2.0),
        ("meta-spike-1-retry", 3.0),
    ],
)
def test_scenario_runs(name: str, seconds: float) -> None:
    """The beginning of it: requests come and most of what capacity allows is answered in time."""
    scenario = replace(SUITE[name], duration_s=seconds, unscored_arrivals=0)
    tally = run_world(scenario, ours).tally
    capacity = capacity_rps(scenario.backend) * seconds
    assert tally.offered > 100
    assert tally.calls_served > 0.5 * min(tally.offered, capacity)


@pytest.mark.parametrize("name", [name for name in SUITE if name.startswith("cells-")])
def test_worlds_of_cells_are_as_expected(name: str) -> None:
    """In whole, at one seed: they are short, and nobody else's figures are needed."""
    result = run_job(Job(scenario=SUITE[name], seed=1, controllers=("shedproxy",)), chance_of)
    figures = result.runs["shedproxy"].figures
    for expectation in SUITE[name].expect:
        assert check_expectation(expectation, [figures[expectation.metric]]).is_met, expectation


@pytest.mark.parametrize("name", [n for n in SUITE if n.endswith("-with-ceiling")])
def test_with_a_ceiling_ours_keeps_the_server_of_vector_full_and_no_fuller(name: str) -> None:
    """Vector's own input, and bounds on the one that is told the profile."""
    scenario = SUITE[name]
    assert scenario.client[0].requests == 500
    assert {expectation.by for expectation in scenario.expect} == {("shedproxy-profile",)}
    job = Job(scenario=scenario, seed=1, controllers=("shedproxy-profile",))
    figures = run_job(job, chance_of).runs["shedproxy-profile"].figures
    assert figures["completions"] == 500
    for expectation in scenario.expect:
        assert check_expectation(expectation, [figures[expectation.metric]]).is_met, expectation


def vector_arc(world: World, *_: object) -> VectorArcControl:
    """As in Vector, where `concurrency` is a number: a limit that does not move."""
    profile = world.scenario.profile
    if profile is None or profile.minimum != profile.maximum:
        return VectorArcControl()
    return VectorArcControl(initial=profile.start, maximum=profile.start, decrease_ratio=1.0)


@pytest.mark.parametrize(
    "name", [n for n in SUITE if n.startswith("vector-") and not n.endswith("-ceiling")]
)
def test_limiter_of_vector_stays_within_the_ranges_of_vector(name: str) -> None:
    """What Vector accepts from its own is met by ours of it, on a server like its own."""
    scenario = SUITE[name]
    world = run_world(scenario, vector_arc, make_checkers=VectorFigures, sample_count=0)
    assert world.tally.served == scenario.client[0].requests
    assert isinstance(world.checkers, VectorFigures)
    figures = world.checkers.figures()
    for expectation in scenario.expect:
        value = figures[expectation.metric]
        assert expectation.by == ("vector-arc",)
        assert expectation.at_least is None or value >= expectation.at_least, expectation.metric
        assert expectation.at_most is None or value <= expectation.at_most, expectation.metric
