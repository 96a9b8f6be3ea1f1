"""What observe mode says it would have refused is what enforce mode refuses, in the same world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from harness.worlds import run_world, steady

from shedproxy.core import Instant, Mode, Permit, Verdict
from shedproxy.simulator.controllers.ours import OurControl, our_policy
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import BackendSpec, EventSpec, Scenario

DIFFERENCE_MAX = 0.01
UNSCORED = 1_000


class Shadow(OurControl):
    """Counts what it was asked and what it would have refused."""

    __slots__ = ("asked", "would_refuse")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked = self.would_refuse = 0

    def arrive(self, *arguments: Any, **more: Any) -> Any:
        self.asked += 1
        decision = super().arrive(*arguments, **more)
        if isinstance(decision, Permit) and self.asked > UNSCORED:
            self.would_refuse += decision.would_reject is not None
        return decision

    def release(self, *arguments: Any, **more: Any) -> Sequence[Verdict]:
        return super().release(*arguments, **more)


def refused_ratio(scenario: Scenario, mode: Mode, seed: int) -> float:
    def make(world: World, now: Instant, index: int) -> Shadow:
        return Shadow(replace(our_policy(scenario, with_profile=False), mode=mode), now=now)

    world = run_world(scenario, make, seed=seed)
    control = world.proxies[0].controller
    assert isinstance(control, Shadow)
    tally = world.tally
    if mode is Mode.ENFORCE:
        return tally.refused / tally.ended
    assert tally.refused == 0
    return control.would_refuse / (control.asked - UNSCORED)


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize(
    ("load", "more"),
    [
        (0.3, {}),
        (0.9, {}),
        (0.5, {"burst_every_ms": 500.0, "burst_ms": 50.0, "burst_factor": 4.0}),
        (0.7, {"event": (EventSpec(at_s=5, what="pauses", for_s=0.05, every_s=1),)}),
    ],
)
def test_shadow_and_enforcement_refuse_alike_while_there_is_room(
    load: float, more: dict[str, Any], cancels: bool
) -> None:
    """Gate G19: less than 1 % apart, on a service that is not overloaded, at every seed."""
    backend = BackendSpec(slots=8, service_ms=10, cancels=cancels)
    scenario = steady(load, arrivals=5_000, backend=backend, unscored_arrivals=UNSCORED, **more)
    for seed in (1, 2):
        enforced = refused_ratio(scenario, Mode.ENFORCE, seed)
        assert abs(enforced - refused_ratio(scenario, Mode.OBSERVE, seed)) < DIFFERENCE_MAX


def test_in_overload_shadow_tells_of_another_world() -> None:
    """Where nobody is refused the backend is slower, and so there is more to refuse: shadow says
    that it would act, not how much.
    """
    scenario = steady(
        2.0, arrivals=8_000, backend=BackendSpec(slots=8, service_ms=10), unscored_arrivals=UNSCORED
    )
    enforced = refused_ratio(scenario, Mode.ENFORCE, 1)
    assert enforced == pytest.approx(0.5, abs=0.05)
    assert refused_ratio(scenario, Mode.OBSERVE, 1) > enforced
