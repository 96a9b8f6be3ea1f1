"""Whether a queue that grows is an overload already, or may still be a burst.

A burst of a tenth of a second is what the long queue is for. It touches two periods of that length
at most, so demand clearly above capacity in three in a row is none. Pauses of the service do not
matter here: nobody asks for more because nothing ends, and pace is measured without them.

Overloads come in trains, too: periodic jobs, clients that come back together. Soon after the last
one a queue that grows is taken for the next. It is the queue's length that wastes the time of
those who wait until that is known, so what is rare may wait, and what comes back may not.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.units import NS_PER_MS, NS_PER_S, Instant

__all__ = ["LOAD_MIN", "Surge"]

LOAD_MIN: Final = 1.15
"""Demand over capacity that is clearly above 1."""
_PERIOD_NS: Final = 100 * NS_PER_MS
"""A burst is no longer than that."""
_PERIOD_ENDS: Final = 64
"""And a period no shorter than so many ends of work: chance moves their count by an eighth."""
_IN_A_ROW: Final = 3
"""A burst that begins within a period ends in the next."""
_TRAIN: Final = 4
"""The next of a train comes within so many times what the last one took: then there is overload for
a fifth of the time or more,"""
_TRAIN_MAX_NS: Final = 60 * NS_PER_S
"""and no later than that."""


class Surge:
    """Told of every period of the shed level; constant time and memory."""

    __slots__ = ("_began_at", "_count", "_limit", "_offered", "_since", "_waiting", "_wary_until")

    def __init__(self, *, now: Instant) -> None:
        self._since = now
        self._offered = 0
        self._waiting = 0
        """Slots waited for when the present period began."""
        self._limit = 0
        """Slots when the row began."""
        self._count = 0
        """Periods in a row with demand above capacity."""
        self._began_at = now
        self._wary_until = now

    @property
    def lasts(self) -> bool:
        """Demand has been above capacity for longer than a burst takes."""
        return self._count >= _IN_A_ROW

    def is_wary(self, now: Instant) -> bool:
        """Whether the last overload is so recent that the next may be another of a train."""
        return now < self._wary_until

    def add(self, offered: int, *, waiting: int, pace_rps: float, limit: int, now: Instant) -> None:
        """So many slots were asked for since the last time; `limit` is how many there are.

        Those of them that nobody waits for now have been given, whatever the pace was before: of
        clients that ask in step with our own loop only the last few wait, and are waited for in the
        time that the loop takes to read what the others ask.
        """
        self._offered += offered
        elapsed_ns = now - self._since
        if elapsed_ns < _PERIOD_NS or elapsed_ns * pace_rps < _PERIOD_ENDS * NS_PER_S:
            return
        given = self._offered - (waiting - self._waiting)
        # What more slots than before can do is not known yet.
        if self._offered <= LOAD_MIN * max(given, pace_rps * elapsed_ns / NS_PER_S):
            self._count = 0
        elif self._count and limit <= self._limit:
            self._count += 1
        else:
            self._count, self._limit = 1, limit
        self._since, self._offered, self._waiting = now, 0, waiting

    def begin(self, now: Instant) -> None:
        """Overload has begun."""
        self._began_at = now

    def end(self, now: Instant) -> None:
        """It is over."""
        self._wary_until = Instant(now + min(_TRAIN * (now - self._began_at), _TRAIN_MAX_NS))
