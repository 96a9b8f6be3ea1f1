"""The backends of all cells, as one: each call goes to the hosts of the cell that admitted it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shedproxy.simulator.call import Call
from shedproxy.simulator.cells.fleet import Fleet

__all__ = ["Sites"]


class Sites:
    """Looks like one backend.

    Args:
        fleets: the hosts of each cell, by its name.
        on_submit: told of each call and the cell whose hosts get it.
    """

    def __init__(
        self, fleets: Mapping[str, Fleet], *, on_submit: Callable[[Call, str], None]
    ) -> None:
        self.fleets = fleets
        self._on_submit = on_submit

    def submit(self, call: Call) -> None:
        """A call leaves the proxy; its permit says for which cell."""
        assert call.permit is not None, "a call that nobody admitted"
        call.cell = call.permit.request.cell
        self._on_submit(call, call.cell)
        self.fleets[call.cell].submit(call)

    def stop(self, call: Call) -> None:
        """Its client left, and the work stops with that."""
        self.fleets[call.cell].stop(call)

    @property
    def inside(self) -> int:
        """Calls at all hosts."""
        return sum(fleet.inside for fleet in self.fleets.values())

    @property
    def busy_ns(self) -> int:
        """Work done so far, for whomever."""
        return sum(fleet.busy_ns for fleet in self.fleets.values())

    def capacity_now_rps(self) -> float:
        """What all cells together can do."""
        return sum(fleet.capacity_now_rps() for fleet in self.fleets.values())
