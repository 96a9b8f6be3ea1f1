"""Clients that hold a slot and move slowly or not at all: readers of an answer, senders of a body.

With nobody waiting they may take the time that the timeouts give them. While others wait for a slot
of the same cell, no more of them than others wait are ended: first those that have not kept the
minimum rate for `STALL_NS`, then those below the contended rate on average, the slowest first. The
average is over the time in which they were awaited while they held the slot: time that the proxy or
the upstream took is not theirs. Pure bookkeeping: time is an argument, ending is the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant

__all__ = ["LOOK_NS", "STALL_NS", "Holder", "Stalls"]

STALL_NS = 1500 * NS_PER_MS
"""Without progress for so long, while others wait, a client loses its slot. It may be so far behind
the contended rate, too."""
LOOK_NS = 250 * NS_PER_MS
"""Between two looks."""
_CREDIT_NS = 2 * LOOK_NS
"""Most time that one look counts: what is longer, the loop stood still."""


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
        """Bytes that it has read and sent; only how they grow counts."""

    def end_stalled(self) -> None:
        """End its exchange."""


class _Mark:
    """What is known of one holder."""

    __slots__ = ("awaited_ns", "began", "looked_at", "moved", "still_ns")

    def __init__(self, moved: int, at: Instant, still_ns: int) -> None:
        self.began = moved
        self.awaited_ns = still_ns
        """How long it has been awaited, and had moved `began` before."""
        self.moved = moved
        self.still_ns = still_ns
        """How long it has been awaited since it had moved so much, hardly moving."""
        self.looked_at = at


class Stalls:
    """Watches clients; asks `waiting` how many wait for a slot of a cell."""

    __slots__ = ("_look_at", "_marks", "_waiting")

    def __init__(self, waiting: Callable[[str], int]) -> None:
        self._waiting = waiting
        self._marks: dict[Holder, _Mark] = {}
        self._look_at = 0

    def __len__(self) -> int:
        return len(self._marks)

    def watch(self, holder: Holder, now: Instant, still_ns: int = 0) -> None:
        """Look at it from now on; harmless when it is watched already.

        `still_ns` is how long it had not moved before.
        """
        if holder not in self._marks:
            self._marks[holder] = _Mark(holder.moved, now, still_ns)

    def forget(self, holder: Holder) -> None:
        """Its exchange is over."""
        self._marks.pop(holder, None)

    def turn(self, now: Instant, *, rate_min: int, contended_rate_min: int) -> None:
        """Let time pass; rates are in bytes per second, and 0 asks for none."""
        if not self._marks or now < self._look_at:
            return
        self._look_at = now + LOOK_NS
        least = max(1, rate_min * STALL_NS // NS_PER_S)
        slow: dict[str, list[tuple[bool, int, Holder]]] = {}
        for holder, mark in self._marks.items():
            passed_ns = min(now - mark.looked_at, _CREDIT_NS)
            mark.looked_at = now
            cell = holder.held_cell
            if cell is None:
                continue
            moved = holder.moved
            if not holder.is_awaited:
                mark.moved = moved
                mark.still_ns = 0
                continue
            mark.awaited_ns += passed_ns
            if moved - mark.moved >= least:
                mark.moved = moved
                mark.still_ns = 0
            else:
                mark.still_ns += passed_ns
            came = (moved - mark.began) * NS_PER_S
            is_moving = mark.still_ns < STALL_NS
            if not is_moving or came < contended_rate_min * (mark.awaited_ns - STALL_NS):
                rate = came // mark.awaited_ns
                slow.setdefault(cell, []).append((is_moving, rate, holder))
        for cell, holders in slow.items():
            # Counted before the first goes: each end may let one of them run.
            count = self._waiting(cell)
            for _, _, holder in sorted(holders, key=_speed)[:count]:
                if holder.held_cell is not None:
                    holder.end_stalled()


def _speed(entry: tuple[bool, int, Holder]) -> tuple[bool, int]:
    return entry[:2]
