"""A run over time, in equal steps."""

from __future__ import annotations

import json

import pytest
from harness.worlds import oracle, ours, run_world, steady

from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.series import run_series, shared_series

SCENARIO = steady(2.0, arrivals=8_000)
COUNT = 40


def test_every_column_is_as_long_as_there_are_steps() -> None:
    world = run_world(SCENARIO, ours, sample_count=COUNT)
    columns = shared_series(world) | run_series(world)
    assert {len(column) for column in columns.values()} == {COUNT}
    assert json.loads(json.dumps(columns)) == columns


def test_rates_add_up_to_the_counts() -> None:
    world = run_world(SCENARIO, ours, sample_count=COUNT)
    step_s = SCENARIO.duration_s / COUNT
    series = run_series(world)
    assert sum(series["goodput_rps"]) * step_s == pytest.approx(world.tally.served, rel=1e-3)
    assert sum(series["refused_rps"]) * step_s == pytest.approx(world.tally.refused, rel=1e-3)
    shared = shared_series(world)
    assert sum(shared["offered_rps"]) * step_s == pytest.approx(world.tally.offered, rel=1e-3)
    assert shared["capacity_rps"] == [200] * COUNT
    assert shared["t_s"][-1] == pytest.approx(SCENARIO.duration_s, rel=1e-3)


def test_what_a_controller_has_not_is_missing() -> None:
    without = run_series(run_world(SCENARIO, lambda *_: NoControl(), sample_count=COUNT))
    assert without["limit"] == [None] * COUNT
    assert without["baseline_ms"] is None
    with_all = run_series(run_world(SCENARIO, ours, sample_count=COUNT))
    assert with_all["baseline_ms"][-1] == pytest.approx(20, rel=0.5)


def test_a_step_without_answers_has_no_latency() -> None:
    scenario = steady(0.5, arrivals=100, requests=50)
    series = run_series(run_world(scenario, oracle, sample_count=COUNT))
    assert series["p99_ms"][0] > 0
    assert series["p99_ms"][-1] is None
