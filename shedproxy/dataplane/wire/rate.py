"""The minimum rate of a request body that holds a permit. Pure: time is an argument."""

from __future__ import annotations

from shedproxy.core import NS_PER_S, Instant

__all__ = ["RATE_WINDOW_NS", "RateWatch"]

RATE_WINDOW_NS = 5 * NS_PER_S
"""The rate is looked at over windows of this length; the first is the grace."""


class RateWatch:
    """Looks at one body, window after window; one in which the proxy did not read is no fault."""

    __slots__ = ("_began_at", "_received", "was_paused")

    def __init__(self, received: int, now: Instant) -> None:
        self.restart(received, now)

    def restart(self, received: int, now: Instant) -> None:
        """Begin a window; `received` bytes have come so far."""
        self._began_at = now
        self._received = received
        self.was_paused = False

    @property
    def ends_at(self) -> int:
        """When the present window is over."""
        return self._began_at + RATE_WINDOW_NS

    def is_too_slow(self, received: int, now: Instant, *, rate_min: int) -> bool:
        """At the end of a window: did fewer than `rate_min` bytes per second come in it?

        Before the end the answer is no. At the end the next window begins.
        """
        if now < self.ends_at:
            return False
        elapsed_ns = now - self._began_at
        came = received - self._received
        was_paused = self.was_paused
        self.restart(received, now)
        return not was_paused and came * NS_PER_S < rate_min * elapsed_ns
