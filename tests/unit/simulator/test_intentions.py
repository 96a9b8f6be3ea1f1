"""Live clients ask for what the simulated ones ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.worlds import chance_of, ours, run_world

from shedproxy.core import NS_PER_S, Criticality
from shedproxy.simulator.intentions import client_intentions, run_out
from shedproxy.workload.scenario import ClientSpec, Scenario

SCENARIO = Scenario(
    duration_s=6,
    deadline_ms=500,
    client=(
        ClientSpec(
            load=0.8,
            schedule=((2, 4), (4, 1)),
            burst_every_ms=500,
            burst_ms=50,
            burst_factor=3,
            criticality=(("critical", 1), ("sheddable", 3)),
        ),
        ClientSpec(name="even", rate_rps=20, arrivals="constant", start_s=1, stop_s=3),
        ClientSpec(name="at once", arrivals="at_once", requests=30, start_s=5),
    ),
)


@pytest.mark.parametrize("seed", [1, 2])
def test_live_and_simulated_clients_ask_at_the_same_instants(seed: int) -> None:
    """To the nanosecond, and in the same classes, through steps, bursts, beginnings and ends."""
    asked = client_intentions(SCENARIO, chance_of(seed), salt=seed)
    tally = run_world(SCENARIO, ours, seed=seed).tally
    assert len(asked) > 1000
    assert [at_ns for at_ns, _ in asked] == list(tally.begun_at)
    for criticality in Criticality:
        count = sum(which is criticality for _, which in asked)
        assert count == tally.class_offered[criticality]


def test_a_run_that_runs_out_answers_or_loses_everybody() -> None:
    """Nobody comes after the end, and nobody is left hanging there."""
    steady = replace(SCENARIO, client=(ClientSpec(load=3),))
    tally = run_world(run_out(steady), ours).tally
    assert tally.offered == tally.ended
    assert max(tally.begun_at) < 6 * NS_PER_S
    assert max(tally.served_at) > 6 * NS_PER_S
    stopped = run_world(steady, ours).tally
    assert stopped.offered > stopped.ended


def test_a_client_that_stops_early_still_does() -> None:
    early = replace(SCENARIO.client[0], stop_s=2)
    longer = run_out(replace(SCENARIO, client=(early,)))
    assert longer.client[0].stop_s == 2
    assert longer.duration_s == 6.5
