"""The clients of a scenario as `shedproxy simulate` has them at a seed."""

from __future__ import annotations

import random

from shedproxy.loadgen.scenario_player import Intention
from shedproxy.simulator.clients import Chance
from shedproxy.simulator.intentions import client_intentions, run_out
from shedproxy.workload.scenario import Scenario

__all__ = ["chance_of", "intentions", "run_out"]


def chance_of(seed: int) -> Chance:
    """Streams of chance by name, as `shedproxy simulate` has them."""
    return lambda name: random.Random(f"{seed}/{name}")


def intentions(scenario: Scenario, seed: int) -> list[Intention]:
    """What open clients ask for at a seed, in time."""
    return client_intentions(scenario, chance_of(seed), salt=seed)
