"""Wait for a condition instead of for a time: poll it, with a bound.

The bound is generous because it is only reached by a failure; a test that passes is as fast as the
thing it waits for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shedproxy.clock import monotonic_now
from shedproxy.core import Instant, seconds

__all__ = ["eventually", "eventually_async"]

_T = TypeVar("_T")
_PAUSE_MIN_S = 0.001
_PAUSE_MAX_S = 0.05


def eventually(
    condition: Callable[[], _T], *, within_s: float = 30.0, what: str = "the condition"
) -> _T:
    """Call `condition` until it returns something true, and return that.

    An exception of the condition counts as "not yet"; the last one is the cause of the failure.

    Raises:
        AssertionError: the condition was not true within `within_s` seconds.
    """
    attempt = _Attempt(within_s, what)
    while True:
        error: Exception | None = None
        try:
            if value := condition():
                return value
        except Exception as caught:  # noqa: BLE001 - "not yet", reported when time is up
            error = caught
        attempt.missed(error)
        time.sleep(attempt.pause_s())  # noqa: TID251 - the one place that waits for tests


async def eventually_async(
    condition: Callable[[], _T | Awaitable[_T]],
    *,
    within_s: float = 30.0,
    what: str = "the condition",
) -> _T:
    """The same on an event loop that goes on running; `condition` may be a coroutine function.

    Raises:
        AssertionError: the condition was not true within `within_s` seconds.
    """
    attempt = _Attempt(within_s, what)
    while True:
        error: Exception | None = None
        try:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
        except Exception as caught:  # noqa: BLE001 - "not yet", reported when time is up
            error = caught
        attempt.missed(error)
        await asyncio.sleep(attempt.pause_s())


class _Attempt:
    """The bound of one wait, and the pauses in it."""

    def __init__(self, within_s: float, what: str) -> None:
        self._within_s = within_s
        self._what = what
        self._ends_at = Instant(monotonic_now() + seconds(within_s))
        self._pause_s = _PAUSE_MIN_S

    def missed(self, error: Exception | None) -> None:
        """Note that the condition did not hold; raise when time is up."""
        if monotonic_now() >= self._ends_at:
            message = f"{self._what} did not come true within {self._within_s} s"
            raise AssertionError(message) from error

    def pause_s(self) -> float:
        """Pauses double from 1 ms to 50 ms."""
        pause = self._pause_s
        self._pause_s = min(pause * 2, _PAUSE_MAX_S)
        return pause
