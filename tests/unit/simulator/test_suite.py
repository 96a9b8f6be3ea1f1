"""A job runs every controller on the same requests as the references."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from harness.worlds import chance_of, steady

from shedproxy.core import Instant, Permit, RequestInfo
from shedproxy.simulator.registry import CONTROLLERS, OURS, PROFILED
from shedproxy.simulator.suite import (
    Job,
    controllers_of,
    expected_requests,
    is_of_refusals,
    run_job,
)
from shedproxy.workload.scenario import (
    BackendSpec,
    ClientSpec,
    Expectation,
    ProfileSpec,
    Scenario,
)

OVERLOAD = steady(2.0, arrivals=5_000, unscored_arrivals=500)


def test_a_job_measures_and_scores_each_controller() -> None:
    job = Job(scenario=replace(OVERLOAD, name="x"), seed=3, controllers=(OURS, "none"))
    result = run_job(job, chance_of)
    assert (result.scenario, result.seed, result.capacity_rps) == ("x", 3, 200)
    assert list(result.runs) == [OURS, "none"]
    ours, none = result.runs.values()
    assert ours.score is not None
    assert none.score is not None
    assert none.score < 0.5 < ours.score
    assert ours.parts["goodput"] == pytest.approx(ours.figures["goodput_ratio"], abs=0.02)
    assert result.oracle["goodput_ratio"] == 1
    assert result.series is None
    assert ours.violations == []


def test_equal_jobs_give_equal_results() -> None:
    job = Job(scenario=OVERLOAD, seed=3, controllers=(OURS,), with_series=True)
    first, second = (run_job(job, chance_of) for _ in range(2))
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == first


def test_courses_are_kept_where_they_are_wanted() -> None:
    job = Job(scenario=OVERLOAD, seed=1, controllers=("fixed",), with_series=True, sample_count=20)
    result = run_job(job, chance_of)
    assert result.series is not None
    assert result.series.keys() == {"t_s", "offered_rps", "capacity_rps", "oracle"}
    assert len(result.runs["fixed"].series["goodput_rps"]) == 20


def test_checkers_watch_when_they_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from shedproxy.simulator.controllers.fixed_limit import FixedControl

    def admit(self: FixedControl, request: RequestInfo, *, now: Instant, **_: Any) -> Permit:
        return self.admit(request, now=now)

    monkeypatch.setattr(FixedControl, "arrive", admit)
    scenario = replace(OVERLOAD, duration_s=0.5)
    job = Job(scenario=scenario, seed=1, controllers=("fixed",))
    assert run_job(job, chance_of).runs["fixed"].violations == []
    watched = run_job(replace(job, is_checked=True), chance_of).runs["fixed"].violations
    assert "in flight above the limit 4" in watched[0]


def test_figures_of_vector_are_taken_where_a_scenario_bounds_one() -> None:
    scenario = Scenario(
        duration_s=2,
        backend=BackendSpec(kind="knee", service_ms=100.0, law="constant"),
        client=(ClientSpec(rate_rps=20.0),),
        controllers=("vector-arc",),
        expect=(Expectation(metric="server_in_flight_max", at_most=5, by=("vector-arc",)),),
    )
    figures = run_job(Job(scenario=scenario, seed=1, controllers=("vector-arc",)), chance_of).runs
    assert {"server_in_flight_max", "rtt_mean_s", "limit_mode"} <= figures[
        "vector-arc"
    ].figures.keys()
    plain = replace(scenario, expect=())
    figures = run_job(Job(scenario=plain, seed=1, controllers=("vector-arc",)), chance_of).runs
    assert "server_in_flight_max" not in figures["vector-arc"].figures


def test_refusals_alone_are_those_of_a_whole_job() -> None:
    """At half the cost: the same counts, no score, no course, nothing of an oracle."""
    job = Job(scenario=OVERLOAD, seed=3, controllers=(OURS,))
    whole = run_job(job, chance_of).runs[OURS]
    result = run_job(replace(job, only_refusals=True), chance_of)
    alone = result.runs[OURS]
    assert alone.counts == whole.counts
    assert alone.figures.items() <= whole.figures.items()
    assert all(map(is_of_refusals, alone.figures))
    assert not is_of_refusals("goodput_ratio")
    assert (alone.score, alone.parts, result.oracle, result.series) == (None, {}, {}, None)


def test_all_run_where_a_scenario_is_open_to_all() -> None:
    profiled = replace(OVERLOAD, profile=ProfileSpec(start=4))
    assert controllers_of(profiled) == tuple(CONTROLLERS)
    assert controllers_of(OVERLOAD) == tuple(CONTROLLERS), "a profile follows from the truth"
    unbounded = replace(OVERLOAD, backend=BackendSpec(kind="knee"))
    assert PROFILED not in controllers_of(unbounded)
    assert controllers_of(OVERLOAD, ("vegas", OURS)) == ("vegas", OURS)


def test_a_scenario_may_be_of_few_and_ours_are_among_them() -> None:
    closed = replace(OVERLOAD, controllers=("vector-arc",), profile=ProfileSpec(start=4))
    assert controllers_of(closed) == (OURS, PROFILED, "vector-arc")
    assert controllers_of(closed, ("aimd",)) == ()


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (ClientSpec(load=2.0), 12_000),
        (ClientSpec(rate_rps=10.0, requests=50), 50),
        (ClientSpec(load=2.0, service_factor=2.0, cost=2), 3_000),
        (ClientSpec(load=2.0, calls_per_task=4), 12_000),
        (ClientSpec(load=1.0, schedule=((15, 3),)), 12_000),
        (ClientSpec(load=1.0, start_s=10, stop_s=20), 2_000),
        (ClientSpec(load=1.0, burst_every_ms=100, burst_ms=20, burst_factor=6.0), 12_000),
        (ClientSpec(arrivals="closed", users=2, think_ms=80), 600),
        (ClientSpec(arrivals="closed", users=500), 6_000),
        (ClientSpec(arrivals="at_once", requests=70), 70),
    ],
)  # fmt: skip
def test_the_cost_of_a_run_is_known_before(client: ClientSpec, expected: float) -> None:
    """30 s of a backend that can do 200/s."""
    assert expected_requests(Scenario(client=(client,))) == pytest.approx(expected)
