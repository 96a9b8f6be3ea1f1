"""What runs are compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.worlds import chance_of, erlang_c, steady

from shedproxy.core import NS_PER_MS
from shedproxy.simulator.references import calm_scenario, run_references
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, Scenario


def test_the_references_meet_the_same_requests() -> None:
    references = run_references(steady(2.0, arrivals=2_000), 1, chance_of, sample_count=10)
    oracle, queue_oracle = references.oracle.tally, references.queue_oracle.tally
    assert oracle.begun_at == queue_oracle.begun_at
    assert oracle.served > 0.9 * oracle.offered / 2
    assert queue_oracle.refused > 0


def test_calm_latency_is_that_of_a_queue_at_four_fifths() -> None:
    """M/M/4: the longest hundredth of wait plus service is about 160 ms."""
    references = run_references(steady(3.0, arrivals=2_000), 1, chance_of, sample_count=10)
    assert references.p99_calm_ns is not None
    waits = erlang_c(4, 0.8)
    assert 20 * 4.6 < references.p99_calm_ns / NS_PER_MS < 20 * 4.6 + waits * 25 * 4.6


def test_calm_is_without_anything_that_happens() -> None:
    busy = Scenario(
        client=(ClientSpec(load=3.0, schedule=((1, 2),), attempts=3, tenants=5, burst_factor=2.0),),
        event=(EventSpec(at_s=1, what="outage", for_s=1),),
        backend=BackendSpec(slots=7),
        deadline_ms=500,
    )
    calm = calm_scenario(busy)
    assert calm is not None
    assert (calm.backend, calm.deadline_ms, calm.event) == (busy.backend, 500, ())
    assert calm.client == (ClientSpec(name="all", load=0.8),)


def test_scenarios_that_differ_in_load_only_share_their_calm() -> None:
    scenario = Scenario(name="a", client=(ClientSpec(load=3.0),))
    other = replace(scenario, name="b", client=(ClientSpec(name="x", rate_rps=7.0),))
    assert calm_scenario(scenario) == calm_scenario(other)


def test_a_mix_of_work_stays_one() -> None:
    """Routes keep their shares of the work; a closed population counts as one capacity."""
    scenario = Scenario(
        client=(
            ClientSpec(name="quick", load=1.0),
            ClientSpec(name="slow", rate_rps=40.0, service_factor=10.0, law="constant"),
            ClientSpec(name="closed", arrivals="closed", users=9, service_factor=2.0),
        )
    )
    calm = calm_scenario(scenario)
    assert calm is not None
    loads = {client.name: client.load for client in calm.client}
    # 40/s of ten times the work are two capacities of 200/s.
    assert loads == pytest.approx({"quick": 0.2, "slow": 0.4, "closed": 0.2})
    assert [client.service_factor for client in calm.client] == [1, 10, 2]


def test_a_backend_without_a_bound_has_no_calm() -> None:
    knee = Scenario(backend=BackendSpec(kind="knee"), client=(ClientSpec(rate_rps=5.0),))
    assert calm_scenario(knee) is None
    short = replace(knee, duration_s=0.1)
    assert run_references(short, 1, chance_of, sample_count=10).p99_calm_ns is None
