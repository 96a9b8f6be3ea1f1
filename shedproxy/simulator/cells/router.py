"""What the proxy does with keys: looks them up in the last table it got, and holds those that move.

The work of a key is what waits, or has a permit that was not given back; it is counted for keys
that move, from what is under way when their table comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shedproxy.core import CellTable, Instant, MovePhase, RequestInfo
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.cells.plane import Report

__all__ = ["Router"]

_CELL_MASK = 0xFF
_PHASE_SHIFT = 16
_PURGE_MIN = 1_024


class Router:
    """Of one proxy.

    Args:
        table: to look keys up in, until another comes.
        names: cells that a client may name itself.
        offer: takes a call that has a cell.
        on_held: told by how much what is held has grown.
    """

    def __init__(
        self,
        table: bytes,
        names: frozenset[str],
        *,
        offer: Callable[[Call], None],
        on_held: Callable[[int], None],
    ) -> None:
        self._table = CellTable(table)
        self._names = names
        self._offer = offer
        self._on_held = on_held
        self._infos: dict[tuple[RequestInfo, str, bool], RequestInfo] = {}
        self._present: dict[Call, int] = {}
        """Calls by their key, those that are over left out now and then."""
        self._purge_at = _PURGE_MIN
        self.held: list[Call] = []
        self.pulled_at = Instant(0)
        """When it heard from the control plane last."""

    def offer(self, call: Call) -> None:
        """A client's request: to the cell that it names, or that its key leads to."""
        if call.info.cell in self._names:
            self._offer(call)
            return
        key = call.flow_hash
        self._present[call] = key
        if len(self._present) > self._purge_at:
            self._present = {one: its for one, its in self._present.items() if not _is_over(one)}
            self._purge_at = max(_PURGE_MIN, 2 * len(self._present))
        self._place(call, key)

    def _place(self, call: Call, key: int) -> None:
        place = self._table.find(key)
        if place >> _PHASE_SHIFT == MovePhase.HELD:
            self.held.append(call)
            self._on_held(1)
            return
        is_pinned = place > _CELL_MASK or self._table.is_pinned(key)
        call.info = self._in_cell(call.info, self._table.names[place & _CELL_MASK], is_pinned)
        self._offer(call)

    def _in_cell(self, info: RequestInfo, cell: str, is_pinned: bool) -> RequestInfo:
        known = self._infos.get((info, cell, is_pinned))
        if known is None:
            known = replace(info, cell=cell, is_pinned=is_pinned)
            self._infos[info, cell, is_pinned] = known
        return known

    def leave(self, call: Call) -> None:
        """The client of a call that is held has gone."""
        self.held.remove(call)
        self._on_held(-1)

    def take(self, table: bytes, now: Instant) -> None:
        """Another table, or the same one again: who was held may have a cell now."""
        self.pulled_at = now
        if CellTable(table).version == self._table.version:
            return
        self._table = CellTable(table)
        held, self.held = self.held, []
        self._on_held(-len(held))
        for call in held:
            self._place(call, call.flow_hash)

    @property
    def version(self) -> int:
        """Of the table."""
        return self._table.version

    def owner(self, key: int) -> str:
        """The cell that works for a key, whether or not it moves."""
        return self._table.names[self._table.find(key) & _CELL_MASK]

    def report(self, moving: frozenset[int]) -> Report:
        """What is under way of keys that move."""
        work = dict.fromkeys(moving, 0)
        for call, key in self._present.items():
            if key in work and not _is_over(call) and call not in self.held:
                work[key] += 1
        return Report(self.version, work)

    def cells_at_work(self, key: int) -> set[str]:
        """The cells that have a permit out for a key."""
        return {
            call.permit.request.cell
            for call, its in self._present.items()
            if its == key and call.permit is not None
        }


def _is_over(call: Call) -> bool:
    return call.permit is None and call.state >= CallState.ANSWERED
