"""A service that does most with one request at a time is asked for one at a time."""

from __future__ import annotations

import pytest
from harness.worlds import ours, run_world

from shedproxy.workload.scenario import BackendSpec, ClientSpec, Scenario

SECONDS = 40.0
ONE_AT_BEST = BackendSpec(kind="usl", slots=1, service_ms=5.0, alpha=0.05, beta=0.95)


def goodput(backend: BackendSpec, *, load: float, seed: int, law: str) -> float:
    """Answers over what the service can do, at `load` times that; the cold start is in it."""
    scenario = Scenario(
        name="retrograde",
        duration_s=SECONDS,
        deadline_ms=1000.0,
        backend=BackendSpec(
            **{
                name: getattr(backend, name)
                for name in ("kind", "slots", "service_ms", "alpha", "beta")
            },
            law=law,
        ),
        client=(ClientSpec(load=load),),
    )
    world = run_world(scenario, ours, seed=seed)
    deadline_ns = 1_000_000_000
    served = sum(latency_ns <= deadline_ns for latency_ns in world.tally.latencies_ns)
    return served / (SECONDS * 1000 * backend.slots / backend.service_ms)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("law", ["constant", "uniform", "exponential"])
@pytest.mark.parametrize("load", [1.5, 3.0])
def test_of_a_service_that_does_a_third_less_with_two_most_is_had(
    load: float, law: str, seed: int
) -> None:
    """Eight at once, where the limit begins, do a seventh of what one does."""
    assert goodput(ONE_AT_BEST, load=load, seed=seed, law=law) > 0.75


@pytest.mark.parametrize("slots", [1, 2])
def test_looking_for_one_costs_a_service_of_one_slot_or_two_next_to_nothing(slots: int) -> None:
    backend = BackendSpec(slots=slots, service_ms=5.0)
    assert goodput(backend, load=2.0, seed=1, law="constant") > 0.98
    assert goodput(backend, load=2.0, seed=1, law="exponential") > 0.93
