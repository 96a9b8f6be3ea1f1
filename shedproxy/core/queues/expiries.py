"""The waiters of a queue by when they have waited long enough.

Most come with the same longest wait, so that who came later leaves later: they stand in line,
linked to each other, and leave from anywhere in it in O(1). Who has less time than one that came
before, because of a deadline or a shorter queue, is kept in a heap beside the line; entries of
those that left stay there until they come up, or outnumber the waiters.
"""

from __future__ import annotations

import heapq
from typing import Final

from shedproxy.core.decision import Ticket
from shedproxy.core.units import Instant

__all__ = ["Expiries"]

_STALE_MAX: Final = 64
"""Entries of tickets that left, kept beyond one per waiter before they are swept out."""


class Expiries:
    """Tickets whose `queue_slot` is None have left; `expires_at` does not change meanwhile."""

    __slots__ = ("_first", "_hurried", "_last")

    def __init__(self) -> None:
        self._first: Ticket | None = None
        self._last: Ticket | None = None
        self._hurried: list[tuple[Instant, int, Ticket]] = []

    def __len__(self) -> int:
        """Entries, those of tickets that left included."""
        count, ticket = len(self._hurried), self._first
        while ticket is not None:
            count += 1
            ticket = ticket.later
        return count

    def add(self, ticket: Ticket, length: int) -> None:
        """One of `length` that wait."""
        last = self._last
        if last is None:
            self._first = self._last = ticket
        elif last.expires_at <= ticket.expires_at:
            ticket.sooner = last
            last.later = self._last = ticket
        else:
            hurried = self._hurried
            heapq.heappush(hurried, (ticket.expires_at, ticket.serial, ticket))
            if len(hurried) > 2 * length + _STALE_MAX:
                self._hurried = [entry for entry in hurried if entry[2].queue_slot is not None]
                heapq.heapify(self._hurried)

    def remove(self, ticket: Ticket) -> None:
        """It has left."""
        sooner, later = ticket.sooner, ticket.later
        if sooner is None and self._first is not ticket:
            return  # it is in the heap
        ticket.sooner = ticket.later = None
        if sooner is None:
            self._first = later
        else:
            sooner.later = later
        if later is None:
            self._last = sooner
        else:
            later.sooner = sooner

    def clear(self) -> None:
        """Keep nothing of those that left: nobody waits."""
        self._hurried.clear()

    def soonest(self) -> Ticket | None:
        """Who has waited long enough first, of equals the oldest; None: nobody waits."""
        first = self._first
        hurried = self._hurried
        while hurried and hurried[0][2].queue_slot is None:
            heapq.heappop(hurried)
        if not hurried:
            return first
        other = hurried[0][2]
        if first is None or (other.expires_at, other.serial) < (first.expires_at, first.serial):
            return other
        return first
