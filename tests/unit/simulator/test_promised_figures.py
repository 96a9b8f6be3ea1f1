"""Figures of single experiments, on runs whose outcome is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from harness.worlds import ours, run_world, steady

from shedproxy.core import NS_PER_S
from shedproxy.simulator.controllers.fixed_limit import FixedControl
from shedproxy.simulator.promised_figures import dip_ratio, promised_figures, refusal_figures
from shedproxy.simulator.registry import oracle_factory
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import BackendSpec, ClientSpec, Expectation, Scenario


def bounding(scenario: Scenario, *metrics: str) -> Scenario:
    return replace(scenario, expect=tuple(Expectation(metric=m, at_most=1) for m in metrics))


def figures(scenario: Scenario, controller: Any) -> dict[str, float]:
    world = run_world(scenario, controller, sample_count=100)
    return promised_figures(world, run_world(scenario, oracle_factory(), sample_count=0))


class Moody(FixedControl):
    """Refuses everybody every other second, and nobody in between."""

    def arrive(self, request: Any, *, now: Any, **more: Any) -> Any:
        self.limit = 0 if now // NS_PER_S % 2 else 1000
        return super().arrive(request, now=now, **more)


def moody(world: World, now: Any, index: int) -> Moody:
    return Moody(1000)


def test_what_no_scenario_bounds_is_not_taken() -> None:
    assert figures(steady(0.5, arrivals=2_500), ours) == {}


EVEN = replace(
    steady(0.5, arrivals=10_000, backend=BackendSpec(slots=100, service_ms=50)),
    client=(ClientSpec(rate_rps=2_000, arrivals="constant"),),
)


def test_a_share_that_swings_between_all_and_nothing_is_seen_to() -> None:
    found = refusal_figures(run_world(EVEN, moody))
    assert found["refused_share_sd"] == pytest.approx(0.5, abs=0.02)
    assert found["refused_share_range"] == pytest.approx(1, abs=0.01)
    assert found["refused_settling_s"] > 5, "never"


def test_a_share_that_does_not_move_has_no_range() -> None:
    found = refusal_figures(run_world(EVEN, lambda *_: FixedControl(0)))
    assert found == {
        "refused_share_sd": 0,
        "refused_share_range": 0,
        "refused_settling_s": 0,
    }


def test_windows_begin_two_seconds_after_a_step() -> None:
    """From nobody refused to everybody at the fifth second, and each part is level in itself."""

    class Step(FixedControl):
        def arrive(self, request: Any, *, now: Any, **more: Any) -> Any:
            self.limit = 0 if now >= 5 * NS_PER_S else 1000
            return super().arrive(request, now=now, **more)

    stepped = replace(EVEN, recovers_from_s=(5.0,), duration_s=10)
    assert refusal_figures(run_world(stepped, lambda *_: Step(1)))["refused_share_range"] == 0
    late = replace(EVEN, recovers_from_s=(4.0,), duration_s=10)
    found = refusal_figures(run_world(late, lambda *_: Step(1)))
    assert 0.5 <= found["refused_settling_s"] <= 1, "a second after it was to"


def test_a_dip_is_as_deep_as_its_worst_two_thousand_answers() -> None:
    oracle_at = list(range(10_000))
    served_at = [at for at in oracle_at if not 4_000 <= at < 4_500]
    assert dip_ratio(served_at, oracle_at, [0], until=10_000) == 0.25
    assert dip_ratio(served_at, oracle_at, [5_000], until=10_000) == 0
    assert math.isnan(dip_ratio(served_at, oracle_at, [9_000], until=10_000))


@pytest.mark.parametrize("load", [1.5, 2.5])
def test_the_demand_that_is_shown_is_what_was_asked_for(load: float) -> None:
    """Not what was let in: an autoscaler sees the load through the refusals."""
    scenario = bounding(
        steady(load, arrivals=15_000, backend=BackendSpec(slots=8, service_ms=10)),
        "demand_error_ratio",
    )
    assert figures(scenario, ours)["demand_error_ratio"] <= 0.03


def test_who_shows_no_demand_has_no_error() -> None:
    scenario = bounding(steady(1.5, arrivals=5_000), "demand_error_ratio")
    assert figures(scenario, lambda *_: FixedControl(4)) == {}


def test_populations_are_compared_with_each_other() -> None:
    """One is refused half of the time, the other never."""

    class Half(FixedControl):
        turn = 0

        def arrive(self, request: Any, *, now: Any, **more: Any) -> Any:
            self.turn += 1
            self.limit = 0 if request.route == "b" and self.turn % 2 else 1000
            return super().arrive(request, now=now, **more)

    clients = (ClientSpec(name="a", load=0.2), ClientSpec(name="b", load=0.2, route="b"))
    scenario = replace(steady(0.4, arrivals=6_000), client=clients)
    found = figures(
        bounding(scenario, "clients_max_min_ratio", "oldest_served_ms"), lambda *_: Half(1)
    )
    assert found["clients_max_min_ratio"] == pytest.approx(2, rel=0.1)
    assert 0 < found["oldest_served_ms"] <= 1000


def test_a_health_check_is_answered_while_everything_else_is_refused() -> None:
    """It comes on the control lane, which no limit holds up."""
    ping = ClientSpec(
        name="ping", rate_rps=1, arrivals="constant", lane="control", service_factor=0.05
    )
    overload = steady(10, arrivals=20_000)
    found = figures(replace(overload, client=(*overload.client, ping)), ours)
    assert 0 < found["client_latency_max_ms.ping"] < 200
    world = run_world(replace(overload, client=(*overload.client, ping)), ours)
    assert world.tally.clients["ping"].served == world.tally.clients["ping"].ended > 5
