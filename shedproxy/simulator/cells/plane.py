"""The control plane of a simulated world: it holds the mapping of keys to cells, and moves keys.

A move is what the product's book does, in its plainest form: the key is marked; when the data plane
says that it looks in that table, the key is held; when it says that it holds and that nothing of
the key is at work, the key is the other cell's. Every step is another version of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shedproxy.core import MovePhase, build_cell_table, motion_place
from shedproxy.placement import spread_buckets

__all__ = ["ControlPlane", "Report"]


class Report(NamedTuple):
    """What a data plane says of itself."""

    version: int
    """Of the table that it looks keys up in."""
    work: Mapping[int, int]
    """Requests of keys that move (by their hash) that may be at work."""


class _Move:
    """One key on its way."""

    def __init__(self, key: int, target: int, version: int) -> None:
        self.key = key
        self.target = target
        self.phase = MovePhase.MARKED
        self.since = version
        """The table that says so."""


class ControlPlane:
    """One mapping.

    Args:
        names: of the cells.
        weights: of each, in the keys that are spread.
    """

    def __init__(self, names: Sequence[str], weights: Sequence[int]) -> None:
        self._names = tuple(names)
        self._buckets = spread_buckets(weights)
        self._pins: dict[int, int] = {}
        self._moves: dict[int, _Move] = {}
        self.moves_done = 0
        self.version = 0
        self.table = b""
        self._publish()

    def order(self, key: int, target: str) -> None:
        """A key is to be moved to a cell."""
        if key not in self._moves:
            self._moves[key] = _Move(key, self._names.index(target), self.version + 1)
            self._publish()

    def hear(self, report: Report) -> None:
        """A data plane has reported: moves go on as far as that allows."""
        moved = False
        for key, move in list(self._moves.items()):
            if report.version < move.since:
                continue
            if move.phase == MovePhase.MARKED:
                move.phase, move.since, moved = MovePhase.HELD, self.version + 1, True
            elif not report.work.get(key, 0):
                del self._moves[key]
                self._pins[key] = move.target
                self.moves_done += 1
                moved = True
        if moved:
            self._publish()

    @property
    def moving(self) -> frozenset[int]:
        """Keys that are on their way."""
        return frozenset(self._moves)

    def _publish(self) -> None:
        self.version += 1
        pins = dict(self._pins)
        for key, move in self._moves.items():
            owner = self._pins.get(key, self._buckets[key >> 50])
            pins[key] = motion_place(owner, move.target, move.phase)
        self.table = build_cell_table(self._names, self._buckets, pins, version=self.version)
