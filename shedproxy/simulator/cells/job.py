"""One scenario with cells at one seed: the run, and the one without the flood beside it."""

from __future__ import annotations

from dataclasses import replace

from shedproxy.simulator.cells.figures import measure_cells, same_outcomes
from shedproxy.simulator.cells.world import CellWorld
from shedproxy.simulator.clients import Chance
from shedproxy.workload.scenario import Scenario

__all__ = ["run_cells"]


def run_cells(
    scenario: Scenario, *, chance: Chance, beside: Chance, salt: int, is_checked: bool
) -> tuple[dict[str, float], list[str]]:
    """Figures, and rules that were broken.

    Args:
        scenario: with cells.
        chance: streams by name.
        beside: the same streams once more, for the run without the flood.
        salt: of the hashes of tenants.
        is_checked: whether rules are looked at.
    """
    world = CellWorld(scenario, chance=chance, salt=salt, is_checked=is_checked)
    world.run()
    figures = measure_cells(world)
    if scenario.flood:
        calm = replace(
            scenario,
            client=tuple(one for one in scenario.client if one.name not in scenario.flood),
            flood=(),
        )
        without = CellWorld(calm, chance=beside, salt=salt)
        without.run()
        figures |= same_outcomes(world, without)
    return figures, [] if world.rules is None else world.rules.violations
