"""Figures of a run, and what others noticed of a flood."""

from __future__ import annotations

import pytest
from harness.cell_worlds import a_cell, run_cells_world, two_cells

from shedproxy.core import NS_PER_MS
from shedproxy.simulator.cells.figures import measure_cells, same_outcomes
from shedproxy.simulator.cells.outcomes import Outcome
from shedproxy.simulator.tally import End
from shedproxy.workload.scenario import ClientSpec


def test_figures_are_of_what_ended():
    world = run_cells_world(two_cells(duration_s=2.0))
    world.tally.outcomes = {
        "a": [
            Outcome(0, 1, End.SERVED, 10 * NS_PER_MS, "a", "a"),
            Outcome(0, 1, End.SERVED, 30 * NS_PER_MS, "a", "b"),
            Outcome(0, 2, End.SERVED, 5_000 * NS_PER_MS, "a", "a"),
            Outcome(0, 2, End.REFUSED, 1, "a", ""),
        ],
        "b": [Outcome(0, 3, End.FAILED, 1, "b", "b")],
    }
    found = measure_cells(world)
    assert found["client_served_ratio.a"] == 0.5
    assert (found["client_lost.a"], found["client_guests_ratio.a"]) == (1.0, pytest.approx(1 / 3))
    assert (found["served_ratio"], found["refused_ratio"], found["failed_ratio"]) == (0.4, 0.2, 0.2)
    assert found["hurt_tenants_ratio"] == pytest.approx(1 / 3)
    assert (found["goodput_rps.a"], found["goodput_rps.b"]) == (0.5, 0.5)
    assert found["client_cells.a"] == 1.0
    assert found["staleness_max_s"] == 1.0
    assert "client_p99_ms.b" not in found


def test_what_two_cells_do_not_share_is_the_same_with_and_without_a_flood():
    flood = ClientSpec(name="flood", cell="a", load=3.0)
    own = two_cells(duration_s=3.0)
    flooded = two_cells(*own.client, flood, duration_s=3.0)
    one, other = (run_cells_world(each, is_checked=False) for each in (flooded, own))
    found = same_outcomes(one, other)
    assert found["same_outcomes.b"] == found["client_p99_ratio.b"] == 1.0
    assert found["same_outcomes.a"] < 0.5


def test_hosts_that_died_and_calls_that_went_elsewhere_are_counted():
    poison = ClientSpec(name="poison", cell="a", rate_rps=5.0, poison_ms=100.0)
    scenario = two_cells(poison, cell=(a_cell(hosts=3),), duration_s=2.0)
    found = measure_cells(run_cells_world(scenario))
    assert found["deaths.a"] > found["retries.a"] > 2
    assert "hurt_tenants_ratio" not in found
