"""A cell's guests: requests that another cell had no room for, and that run here at once or not.

Between Waiting and AdmissionController; what decides is `spill`. A guest holds a slot and counts
for nothing else: it is no demand of the cell, has no share of a tenant, and teaches no limit.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.decision import Outcome, Permit
from shedproxy.core.policy import SpillPolicy
from shedproxy.core.request import RequestInfo
from shedproxy.core.spill import GUEST_PLACE, SpillBar, SpillBook
from shedproxy.core.units import Instant
from shedproxy.core.waiting import Waiting

__all__ = ["Spilling"]

_FIXED: Final = "fixed"


class Spilling(Waiting):
    """A cell that may send requests to others, or take theirs."""

    __slots__ = ()

    @property
    def spill_policy(self) -> SpillPolicy:
        """Where its requests may go."""
        return self._policy.spill

    @property
    def default_timeout_ns(self) -> int | None:
        """Time that a request has when nobody says."""
        return self._default_timeout_ns

    def begin_spill(self, now: Instant) -> None:
        """It may have guests, or be one, from now on."""
        if self.spill is None:
            self.spill = SpillBook(now=now)

    def bar_to_send(self, now: Instant) -> SpillBar:
        """What stands in the way of sending a request to another cell."""
        book = self.spill
        assert book is not None
        return book.bar_to_send(guests=self._guests(book), now=now)

    def bar_to_take(self, request: RequestInfo, now: Instant, time_left_ns: int | None) -> SpillBar:
        """What stands in the way of taking a request of another cell; NONE: nothing does."""
        # It only looks: what is asked of a cell by another must not move anything of it.
        book, limits = self.spill, self._limits
        assert book is not None
        guests = self._guests(book)
        own = self._host_in_flight() - guests
        bar = book.bar_to_take(
            limit=limits.limit, own=own, guests=guests, cost=request.cost, now=now
        )
        if bar:
            return bar
        if self._queue.length or self._level.is_overloaded or limits.is_probing:
            return SpillBar.BUSY
        if not limits.baselines.typical_ns() and self._policy.limit.algorithm != _FIXED:
            return SpillBar.UNKNOWN_ROOM
        if self._policy.class_limits[request.criticality] is not None:
            return SpillBar.BOUNDED
        if time_left_ns is not None and time_left_ns <= limits.expected_ns(request.route):
            return SpillBar.NO_TIME
        return SpillBar.NONE

    def take_guest(
        self, request: RequestInfo, now: Instant, flow_hash: int, time_left_ns: int | None
    ) -> Permit:
        """Run a request of another cell; `bar_to_take` found nothing in its way just now."""
        book = self.spill
        assert book is not None
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        book.take(request.cost, now)
        if self._share is not None:
            self._share.put_guests(book.guests)
        self._count(request, GUEST_PLACE)
        return self._start(request, flow_hash, GUEST_PLACE, now, now, expires_at)

    def _end_guest(self, permit: Permit) -> None:
        """Its slot is free. What it took to get there says nothing of this cell."""
        book = self.spill
        assert book is not None
        permit.is_sampled = True
        book.leave(permit.cost)
        if self._share is not None:
            self._share.put_guests(book.guests)

    def _learn_of_guest(self, outcome: Outcome, now: Instant) -> None:
        book = self.spill
        if book is not None and outcome is Outcome.OVERLOAD:
            book.fail(now)
