"""The one reader of the clocks. Everything else is told what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from shedproxy.core import Instant

__all__ = ["Clock", "monotonic_now", "wall_seconds"]

Clock = Callable[[], Instant]
"""Returns now on the monotonic timeline, in integer nanoseconds; never runs backwards."""


monotonic_now: Clock = time.monotonic_ns  # type: ignore[assignment]  # Instant is an int at run time


wall_seconds: Callable[[], float] = time.time  # noqa: TID251 - the one reader
"""Returns seconds since the epoch, for log lines and expiry dates shown to people.

It decides one thing only: how long ago a trusted peer's X-Request-Start was.
"""
