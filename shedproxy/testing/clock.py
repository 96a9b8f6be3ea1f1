"""A clock that moves when it is told to."""

from __future__ import annotations

from shedproxy.core import Instant

__all__ = ["ManualClock"]


class ManualClock:
    """A `shedproxy.clock.Clock` for tests: call it for the time, `advance` it to let time pass."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now = start_ns

    def __call__(self) -> Instant:
        """Now, in integer nanoseconds."""
        return Instant(self._now)

    def advance(self, length_ns: int) -> Instant:
        """Let `length_ns` (0 or more) pass and return the new now.

        Raises:
            ValueError: time would run backwards.
        """
        if length_ns < 0:
            raise ValueError(f"time does not run backwards ({length_ns} ns)")
        self._now += length_ns
        return Instant(self._now)
