"""What must hold in a world of cells, besides what holds in every world: looked at as it happens.

A call is worked on by the hosts of its own cell, or of one that this cell spills to, and then only
if it may; hosts that take guests send nothing on; half of no limit is lent; a key is worked for by
one cell at a time, guests excepted, whatever moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.core import LENT_SHARE
from shedproxy.simulator.call import Call
from shedproxy.simulator.checkers import Checkers

if TYPE_CHECKING:
    from shedproxy.simulator.cells.world import CellWorld

__all__ = ["CellRules"]


class CellRules(Checkers):
    """Watches one world of cells."""

    def __init__(self, world: CellWorld) -> None:
        super().__init__(world)
        self._cells = world
        self._spec = {cell.name: cell for cell in world.scenario.cell}

    def on_submit(self, call: Call, cell: str) -> None:
        """The hosts of a cell get a call."""
        home, world = call.info.cell, self._cells
        if call.source.spec.cell not in self._spec:
            owner = world.router.owner(call.flow_hash)
            if home != owner:
                self.report(f"a call of {owner} was offered to {home}")
            elsewhere = {
                other
                for other in world.router.cells_at_work(call.flow_hash)
                if other != home and other not in self._spec[home].spill_to
            }
            if elsewhere:
                self.report(f"{home} and {', '.join(sorted(elsewhere))} work for one key")
        if cell != home:
            self._check_guest(call, home, cell)

    def _check_guest(self, call: Call, home: str, cell: str) -> None:
        spec = self._spec[home]
        if cell not in spec.spill_to or call.info.criticality.label not in spec.spill_classes:
            self.report(f"a {call.info.criticality.label} call of {home} went to {cell}")
        if call.info.is_pinned:
            self.report(f"a call of a key that is pinned to {home} went to {cell}")
        stats = {found.name: found for found in self._cells.shedder.stats().cells}
        if stats[home].guests:
            self.report(f"{home} has {stats[home].guests} guests, and sent one on to {cell}")
        host = stats[cell]
        if host.queue_length or host.in_flight > int(host.limit * LENT_SHARE):
            self.report(
                f"{cell} took a guest with {host.in_flight} of {host.limit} in flight"
                f" and {host.queue_length} waiting"
            )
