"""Times in which the service stood still: a collection of garbage, a frozen disk, a lost leader.

Nothing ends for a while and then it goes on as before. What was under way took as long as that,
which says nothing of how many the service can work for; and how fast it is between two pauses is
not told by a rate that counts them. A gap between two ends is one of these only if several were
under way in it, which those show that were admitted before it and end soon after it. Who ends much
later was long, whatever the gap was.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.units import Instant

__all__ = ["Standstill"]

_SERVICES: Final = 8
"""Nothing has ended for so many mean latencies,"""
_UNDER_WAY: Final = 4
"""of so many under way: where service times are exponential chance does that once in exp(32)."""
_APART: Final = 4
"""It is an event, and no service that works in bunches and has become slower, if so many times as
long passed without one."""
_UNKNOWN_NS: Final = 1 << 62
_NEVER: Final = Instant(-1)


class Standstill:
    """Told of every answer, and of other ends that are the service's doing; not of clients that
    leave. Two comparisons where there is nothing to see.
    """

    __slots__ = ("_ended_at", "_gap_from", "_gap_to", "_left", "_long_ns", "since", "until")

    def __init__(self, *, now: Instant) -> None:
        self._ended_at = now
        self._long_ns = _UNKNOWN_NS
        self._gap_from = _NEVER
        self._gap_to = now
        self._left = _UNDER_WAY
        """How many more that were under way in the gap have to show it."""
        self.since = now
        """When the last standstill began: the end of work before it."""
        self.until = now
        """And when something ended again."""

    def fit(self, rtt_mean_ns: int) -> None:
        """Work takes so long now, on average."""
        self._long_ns = _SERVICES * rtt_mean_ns

    def is_in_doubt(self, now: Instant) -> bool:
        """Whether there was a gap just now, and those are awaited that may show what it was."""
        return self._gap_from >= 0 and (now - self._gap_to) * _SERVICES < self._long_ns

    def end(self, now: Instant) -> None:
        """Work ended that says nothing of how long it was under way."""
        self.show(now, now)

    def show(self, admitted_at: Instant, now: Instant) -> bool:
        """Work ended that was admitted then; whether it makes a standstill known."""
        last_at, self._ended_at = self._ended_at, now
        gap_ns = now - last_at
        if gap_ns > self._long_ns:
            is_event = last_at - self._gap_to >= _APART * gap_ns
            self._gap_from, self._gap_to = last_at if is_event else _NEVER, now
            self._left = _UNDER_WAY
        if admitted_at > self._gap_from:
            return False
        if now - self._gap_to > self._long_ns:
            # Nobody could tell it from a time in which the others had nothing to do.
            self._gap_from = _NEVER
            return False
        self._left -= 1
        if self._left:
            return False
        self.since, self.until = self._gap_from, self._gap_to
        self._gap_from = _NEVER
        return True
