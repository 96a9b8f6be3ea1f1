"""A flood is shed as soon after an idle time as it is from a cold start."""

from __future__ import annotations

import pytest
from harness.worlds import ours, run_world

from shedproxy.workload.scenario import BackendSpec, ClientSpec, Scenario

SECONDS = 10.0


def late_share(*, slots: int, service_ms: float, load: float, idle_s: float, seed: int) -> float:
    """Of the answers of ten seconds of overload, those that took over three services.

    One request, then nothing for so long, then the flood.
    """
    scenario = Scenario(
        name="flood",
        duration_s=idle_s + SECONDS,
        deadline_ms=1000.0,
        backend=BackendSpec(slots=slots, service_ms=service_ms, law="constant"),
        client=(
            ClientSpec(name="first", arrivals="at_once", requests=1),
            ClientSpec(name="flood", load=load, start_s=idle_s),
        ),
    )
    latencies_ns = run_world(scenario, ours, seed=seed).tally.latencies_ns
    return sum(ns > 3e6 * service_ms for ns in latencies_ns) / len(latencies_ns)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [1.5, 3.0])
@pytest.mark.parametrize(("slots", "service_ms"), [(4, 20.0), (4, 5.0), (16, 40.0)])
def test_who_is_served_waits_no_longer_for_what_was_not_asked_for_before(
    slots: int, service_ms: float, load: float, seed: int
) -> None:
    """Demand is remembered for seconds; those in which there was none are none of the flood."""
    what = {"slots": slots, "service_ms": service_ms, "load": load, "seed": seed}
    cold = late_share(**what, idle_s=0.1)
    assert late_share(**what, idle_s=10.0) < 2 * cold + 0.02
