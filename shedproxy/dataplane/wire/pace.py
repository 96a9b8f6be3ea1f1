"""So many per second, evenly: the generic cell rate algorithm (ITU-T I.371), a token bucket that
keeps one number. Pure: time is an argument.
"""

from __future__ import annotations

from shedproxy.core import NS_PER_S, Instant

__all__ = ["Pace"]

BURST_NS = 50_000_000
"""What was not used of this much time may be used at once."""


class Pace:
    """Lets through `rate` per second; 0: everything."""

    __slots__ = ("_due_at", "_interval_ns")

    def __init__(self, rate: int) -> None:
        self._due_at = 0
        self._interval_ns = 0
        self.set_rate(rate)

    def set_rate(self, rate: int) -> None:
        """Change the rate from now on."""
        self._interval_ns = NS_PER_S // rate if rate else 0

    def take(self, now: Instant) -> int:
        """0: one may pass, and is counted. Else the ns until one may."""
        early_ns = self._due_at - now - BURST_NS
        if early_ns > 0:
            return early_ns
        self._due_at = max(self._due_at, now) + self._interval_ns
        return 0
