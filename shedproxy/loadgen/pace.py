"""A rate that is never exceeded, for loads that send as soon as something comes back.

A leaky bucket as a meter (ITU-T I.371, the virtual scheduling form): empty at the start, so that
the sends of any time since then are no more than the rate times it, and one.
"""

from __future__ import annotations

from shedproxy.core import NS_PER_S, Instant

__all__ = ["Pace"]


class Pace:
    """Tells when the next may be sent. What was not used is kept, as long as it is little."""

    __slots__ = ("_due_at", "_gap_ns", "_slack_ns")

    def __init__(self, rate_rps: float, *, burst_count: int, begin_at: Instant) -> None:
        """At most `burst_count` (1 or more) are sent at once."""
        self._gap_ns = NS_PER_S / rate_rps
        self._slack_ns = (burst_count - 1) * self._gap_ns
        self._due_at = begin_at + self._slack_ns

    @property
    def free_at(self) -> Instant:
        """From when on one may be sent."""
        return Instant(round(self._due_at - self._slack_ns))

    def take(self, now: Instant) -> None:
        """One is sent."""
        self._due_at = max(self._due_at, now) + self._gap_ns
