"""Whether a cell takes a request that another has no room for: into measured headroom only.

A cell that is full may name others that take requests of some of its classes. What must not come of
it is a cascade, in which the load of one cell takes down the next (Google's SRE book, chapter 22;
balancers' spill-over that goes on into the surviving part past its knee). Hence:

1. **Own work first.** Of a cell's limit half is never lent. What is lent has to fit into the other
   half beside the cell's own peak of the last seconds, and nothing is lent while somebody waits
   there, in overload, or while a baseline is learnt. A guest never waits: it runs at once, or it is
   refused where it came from. So guests are the first to be refused, and own requests never because
   of the number of guests, as long as they are not twice as many as at their peak.
2. **Once.** A guest has a slot, and no cell lends what it was not asked for by the first.
3. **No cell is host and guest at once.** Whoever has taken a guest sends none on until it has had
   none for some time, and whoever sent one takes none for as long.
4. **Guests teach nothing.** Their latencies, failures and clients that leave say nothing of the
   host's limit; but a host whose service answers a guest that it is overloaded takes no others for
   a while.

Knows nothing of queues and requests: it is told counts and the time.
"""

from __future__ import annotations

import enum
from typing import Final

from shedproxy.core.units import NS_PER_S, Instant

__all__ = ["GUEST_PLACE", "LENT_SHARE", "WATCH_NS", "SpillBar", "SpillBook"]

LENT_SHARE: Final = 0.5
"""Of its limit, a cell's own peak and its guests may have so much together."""
WATCH_NS: Final = 5 * NS_PER_S
"""A cell is watched for so long before it takes guests; its peak is that of once to twice as long,
and it keeps to one part (host or guest) for once as long."""
GUEST_PLACE: Final = -2
"""Stands for the tenant of a guest: it has no place in the host's tables of tenants."""


class SpillBar(enum.IntEnum):
    """Why no other cell took a request. 0: it was not asked for, or is not known."""

    NONE = 0
    IS_HOST = 1
    """Its own cell has guests, or had some just now: nothing goes on from there."""
    IS_GUEST = 2
    """The other cell sends requests away itself."""
    UNKNOWN_ROOM = 3
    """The other cell has not been watched for long enough, or knows no latency without load."""
    BUSY = 4
    """Somebody waits in the other cell, it is overloaded, or learns its baseline."""
    NO_ROOM = 5
    """Its own peak, its guests and this one are more than half of its limit."""
    FAILED = 6
    """Its service said that it is overloaded, to a guest."""
    BOUNDED = 7
    """The other cell has a bound for this class, which is for its own."""
    NO_TIME = 8
    """Its work would take longer than the request has time."""

    @property
    def label(self) -> str:
        """The word used in status and explanations."""
        return self.name.lower()


class SpillBook:
    """What one cell remembers of its guests, of what it sent away, and of its own peak."""

    __slots__ = (
        "_failed_until",
        "_former_peak",
        "_guest_until",
        "_host_until",
        "_looked_at",
        "_peak",
        "_since",
        "_turned_at",
        "guests",
        "sent_count",
        "taken_count",
    )

    def __init__(self, *, now: Instant) -> None:
        self.guests = 0
        """Slots that requests of other cells hold here."""
        self.sent_count = 0
        """Requests that others took, since ever."""
        self.taken_count = 0
        """Requests of others that were taken, since ever."""
        self._guest_until = self._host_until = self._failed_until = now
        self._watch_anew(0, now)

    def _watch_anew(self, own: int, now: Instant) -> None:
        self._since = self._turned_at = self._looked_at = now
        self._peak = own
        self._former_peak = 0

    def look(self, own: int, now: Instant) -> None:
        """The cell has so much of its own in flight. Told ten times a second, or more often."""
        if now - self._looked_at > NS_PER_S:
            # Nobody looked: what is not known may have been anything.
            self._watch_anew(own, now)
            return
        self._looked_at = now
        if self.guests:
            self._host_until = Instant(now + WATCH_NS)
        if now - self._turned_at >= WATCH_NS:
            self._former_peak, self._peak = self._peak, own
            self._turned_at = now
        elif own > self._peak:
            self._peak = own

    @property
    def peak(self) -> int:
        """Most that was seen of its own in flight, of the last five to ten seconds."""
        return max(self._peak, self._former_peak)

    def room(self, limit: int, guests: int) -> int:
        """Slots that are free for guests, by what was seen; `guests` are those there are."""
        return max(0, int(limit * LENT_SHARE) - self.peak - guests)

    def bar_to_take(
        self, *, limit: int, own: int, guests: int, cost: int, now: Instant
    ) -> SpillBar:
        """What stands in the way of one more guest; NONE: it may come.

        Args:
            limit: slots of the cell.
            own: what it has of its own in flight.
            guests: slots that guests hold.
            cost: slots that this one takes.
            now: the instant.
        """
        self.look(own, now)
        if now < self._guest_until:
            return SpillBar.IS_GUEST
        if now < self._failed_until:
            return SpillBar.FAILED
        if now - self._since < WATCH_NS:
            return SpillBar.UNKNOWN_ROOM
        if cost > self.room(limit, guests):
            return SpillBar.NO_ROOM
        return SpillBar.NONE

    def bar_to_send(self, *, guests: int, now: Instant) -> SpillBar:
        """What stands in the way of sending one away."""
        return SpillBar.IS_HOST if guests or now < self._host_until else SpillBar.NONE

    def send(self, now: Instant) -> None:
        """One was taken by another cell."""
        self.sent_count += 1
        self._guest_until = Instant(now + WATCH_NS)

    def take(self, cost: int, now: Instant) -> None:
        """A guest is in."""
        self.taken_count += 1
        self.guests += cost
        self._host_until = Instant(now + WATCH_NS)

    def leave(self, cost: int) -> None:
        """A guest's slot is free."""
        self.guests -= cost

    def fail(self, now: Instant) -> None:
        """The service told a guest that it is overloaded."""
        self._failed_until = Instant(now + WATCH_NS)
