"""Small worlds of cells for tests."""

from __future__ import annotations

from typing import Any

from harness.worlds import chance_of
from shedproxy.simulator.cells.world import CellWorld
from shedproxy.workload.scenario import BackendSpec, CellSpec, ClientSpec, ProfileSpec, Scenario

__all__ = ["PROFILE", "a_cell", "run_cells_world", "two_cells"]

PROFILE = ProfileSpec(start=20, baseline_ms=20.0)


def a_cell(name: str = "a", *, hosts: int = 1, slots: int = 4, **more: Any) -> CellSpec:
    """A cell whose hosts take 20 ms, exponentially."""
    return CellSpec(name=name, backend=BackendSpec(hosts=hosts, slots=slots), **more)


def two_cells(*clients: ClientSpec, **more: Any) -> Scenario:
    """Cells a and b, four slots each; half a load on each unless clients are given."""
    own = (ClientSpec(name="a", cell="a", load=0.5), ClientSpec(name="b", cell="b", load=0.5))
    values = {"duration_s": 5.0, "cell": (a_cell("a"), a_cell("b"))} | more
    return Scenario(client=clients or own, **values)


def run_cells_world(scenario: Scenario, *, seed: int = 1, is_checked: bool = True) -> CellWorld:
    """A run, every rule looked at after every event."""
    world = CellWorld(scenario, chance=chance_of(seed), salt=seed, is_checked=is_checked)
    world.run()
    return world
