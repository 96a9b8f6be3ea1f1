"""A service that takes longer from one moment on is known to within seconds, in overload too."""

from __future__ import annotations

import pytest
from harness.worlds import ours, run_world

from shedproxy.core import seconds
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, Scenario

CHANGES_S, ENDS_S = 20.0, 50.0


@pytest.mark.parametrize(
    ("slots", "service_ms", "law", "factor"),
    [
        (16, 20.0, "constant", 1.6),
        (16, 20.0, "exponential", 2.0),
        (8, 10.0, "constant", 1.5),
        (8, 10.0, "bimodal", 2.0),
    ],
)
def test_what_takes_longer_than_it_did_is_not_cut_down_to_what_that_allowed(
    slots: int, service_ms: float, law: str, factor: float
) -> None:
    """Its latency is a queue by the old baseline, and no fall of the limit shortens it."""
    scenario = Scenario(
        name="slower",
        duration_s=ENDS_S,
        deadline_ms=1000.0,
        backend=BackendSpec(slots=slots, service_ms=service_ms, law=law),
        client=(ClientSpec(load=2.0),),
        event=(EventSpec(at_s=CHANGES_S, what="service", factor=factor),),
    )
    tally = run_world(scenario, ours).tally
    good = sum(
        latency_ns <= seconds(1) and served_at >= seconds(CHANGES_S)
        for latency_ns, served_at in zip(tally.latencies_ns, tally.served_at, strict=True)
    )
    assert good > 0.85 * slots * 1000 / (service_ms * factor) * (ENDS_S - CHANGES_S)
