"""Every controller can be called as a proxy calls it."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
from harness.worlds import run_world

from shedproxy.simulator.controllers.protocol import Controller, Reading
from shedproxy.simulator.registry import CONTROLLERS, controller_factory
from shedproxy.workload.scenario import Scenario

BY_KEYWORD = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
CALLS = ("arrive", "release", "leave_zombie", "abandon", "next_tick_at", "tick", "reading")


@pytest.mark.parametrize("name", [*CONTROLLERS, "oracle"])
def test_it_takes_every_call_of_the_protocol(name: str) -> None:
    world = run_world(replace(Scenario(), duration_s=0.001), controller_factory(name))
    control = world.proxies[0].controller
    for call in CALLS:
        wanted = inspect.signature(getattr(Controller, call)).parameters.values()
        taken = inspect.signature(getattr(control, call)).parameters
        assert [p.name for p in wanted if p.name != "self"] == list(taken)
        # By keyword, as the world calls; one that is quicker by position may allow that as well.
        assert all(taken[p.name].kind in BY_KEYWORD for p in wanted if p.name != "self")
        assert all(taken[p.name].default == p.default for p in wanted if p.name != "self")
    assert isinstance(control.reading(), Reading)
