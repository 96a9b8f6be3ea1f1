"""A scenario with cells as a job of the suite."""

from __future__ import annotations

from dataclasses import replace

from harness.cell_worlds import two_cells
from harness.worlds import chance_of

from shedproxy.simulator.cells.job import run_cells
from shedproxy.simulator.suite import Job, controllers_of, expected_requests, run_job
from shedproxy.workload.scenario import ClientSpec, Expectation

FLOODED = replace(
    two_cells(
        ClientSpec(name="b", cell="b", load=0.5),
        ClientSpec(name="flood", cell="a", load=2.0),
        duration_s=2.0,
    ),
    name="flooded",
    flood=("flood",),
    expect=(Expectation(metric="same_outcomes.b", at_least=1.0),),
)


def test_the_run_without_the_flood_is_beside_it():
    figures, violations = run_cells(
        FLOODED, chance=chance_of(3), beside=chance_of(3), salt=3, is_checked=True
    )
    assert figures["same_outcomes.b"] == 1.0
    assert "same_outcomes.flood" not in figures
    assert violations == []
    calm, _ = run_cells(
        replace(FLOODED, flood=()), chance=chance_of(3), beside=chance_of(3), salt=3,
        is_checked=False,
    )  # fmt: skip
    assert "same_outcomes.b" not in calm


def test_it_is_a_job_of_ours_alone():
    assert controllers_of(FLOODED) == ("shedproxy",)
    assert controllers_of(FLOODED, ("vegas",)) == ()
    result = run_job(Job(scenario=FLOODED, seed=1, controllers=("shedproxy",)), chance_of)
    assert result.capacity_rps == 400.0
    assert result.runs["shedproxy"].score is None
    assert result.runs["shedproxy"].figures["client_served_ratio.b"] > 0.99
    assert expected_requests(FLOODED) == 2 * (100 + 400)
