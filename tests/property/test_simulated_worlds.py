"""Random worlds keep the rules: whatever the backend, the load and what happens."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from harness.worlds import run_world

from shedproxy.simulator.checkers import Checkers
from shedproxy.simulator.generator import generate_scenario
from shedproxy.simulator.registry import CONTROLLERS, OURS, controller_factory
from shedproxy.workload.scenario import EventSpec, ProxySpec, Scenario

ARRIVALS = 2_500


def generated(number: int) -> Scenario:
    """A short one, in which a proxy stalls and restarts besides."""
    rng = random.Random(f"property {number}")
    scenario = generate_scenario(number, rng)
    share = ARRIVALS / 21_000
    events = tuple(
        replace(
            event,
            at_s=event.at_s * share,
            for_s=event.for_s * share,
            until_s=None if event.until_s is None else event.until_s * share,
        )
        for event in scenario.event
    )
    duration_s = scenario.duration_s * share
    return replace(
        scenario,
        duration_s=duration_s,
        unscored_arrivals=0,
        recovers_from_s=(),
        event=(
            *events,
            EventSpec(at_s=duration_s * 0.4, what="stall_proxy", for_s=duration_s * 0.02),
            EventSpec(at_s=duration_s * 0.6, what="restart_proxy"),
        ),
        proxy=ProxySpec(
            count=rng.choice((1, 1, 3)),
            noise_us=rng.choice((0.0, 50.0)),
            upstream_timeout_ms=rng.choice((None, 3 * scenario.backend.service_ms)),
        ),
    )


@pytest.mark.parametrize("number", range(24))
def test_ours_keeps_every_rule(number: int) -> None:
    world = run_world(generated(number), controller_factory(OURS), make_checkers=Checkers)
    assert isinstance(world.checkers, Checkers)
    assert world.checkers.violations == []
    assert world.tally.calls_begun > 100


@pytest.mark.parametrize("name", [name for name in (*CONTROLLERS, "oracle") if name != OURS])
def test_every_other_controller_keeps_the_rules_too(name: str) -> None:
    number = 100 + len(name)
    world = run_world(generated(number), controller_factory(name), make_checkers=Checkers)
    assert isinstance(world.checkers, Checkers)
    assert world.checkers.violations == []
