"""Clients that hold a slot and do not move: readers of an answer, senders of a body.

With nobody waiting they may take the time that the timeouts give them. While others wait for a slot
of the same cell, who has not kept the minimum rate for `STALL_NS` is ended, least moved first, and
no more of them than others wait. Pure bookkeeping: time is an argument, ending is the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant

__all__ = ["LOOK_NS", "STALL_NS", "Holder", "Stalls"]

STALL_NS = 1500 * NS_PER_MS
"""Without progress for so long, while others wait, a client loses its slot."""
LOOK_NS = 250 * NS_PER_MS
"""Between two looks."""


class Holder(Protocol):
    """A client whose request may hold a slot."""

    @property
    def held_cell(self) -> str | None:
        """The cell of which it holds a slot now; None: of none."""

    @property
    def is_awaited(self) -> bool:
        """Whether it is the client that has to move: to read on, or to send on."""

    @property
    def moved(self) -> int:
        """Bytes of its exchange that it has read and sent; never falls."""

    def end_stalled(self) -> None:
        """End its exchange."""


class _Mark:
    __slots__ = ("at", "moved")

    def __init__(self, moved: int, at: Instant) -> None:
        self.moved = moved
        self.at = at


class Stalls:
    """Watches clients; asks `waiting` how many wait for a slot of a cell."""

    __slots__ = ("_look_at", "_marks", "_waiting")

    def __init__(self, waiting: Callable[[str], int]) -> None:
        self._waiting = waiting
        self._marks: dict[Holder, _Mark] = {}
        self._look_at = 0

    def __len__(self) -> int:
        return len(self._marks)

    def watch(self, holder: Holder, now: Instant) -> None:
        """Look at it from now on; harmless when it is watched already."""
        if holder not in self._marks:
            self._marks[holder] = _Mark(holder.moved, now)

    def forget(self, holder: Holder) -> None:
        """Its exchange is over."""
        self._marks.pop(holder, None)

    def turn(self, now: Instant, *, rate_min: int) -> None:
        """Let time pass; `rate_min` is in bytes per second."""
        if not self._marks or now < self._look_at:
            return
        self._look_at = now + LOOK_NS
        least = max(1, rate_min * STALL_NS // NS_PER_S)
        stalled: dict[str, list[tuple[int, Holder]]] = {}
        for holder, mark in self._marks.items():
            moved = holder.moved
            if not holder.is_awaited or moved - mark.moved >= least:
                mark.moved = moved
                mark.at = now
            elif now - mark.at >= STALL_NS:
                cell = holder.held_cell
                if cell is not None:
                    stalled.setdefault(cell, []).append((moved, holder))
        for cell, holders in stalled.items():
            # Counted before the first goes: each end may let one of them run.
            count = self._waiting(cell)
            for _, holder in sorted(holders, key=_moved)[:count]:
                if holder.held_cell is not None:
                    holder.end_stalled()


def _moved(entry: tuple[int, Holder]) -> int:
    return entry[0]
