"""The supervisor's own stalls: an alarm that its loop puts off, again and again.

When the loop does not, the alarm's signal finds the main thread where it is, and C code of the
interpreter's own (`faulthandler`) writes down the stack, as a worker does that is asked for its.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
from collections.abc import Callable
from typing import Any

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import Nanos, milliseconds, to_milliseconds, to_seconds
from shedproxy.supervisor.stack_file import LOGGED_FRAMES, StackFile
from shedproxy.supervisor.stall_places import STOPPED, StallPlaces, place_of

__all__ = ["OwnStalls"]

_PERIOD = milliseconds(50)
"""Between two looks."""
_WAITING = ("select (", "poll (", "epoll_wait (")
"""Innermost frames of a loop that has nothing to do: then the process, or its host, stood still."""


class OwnStalls:
    """Watches the loop that it runs on.

    Args:
        bound: a loop that did not turn for longer has stalled; 0: nothing is looked at.
        report: takes an event and its facts.
    """

    def __init__(
        self,
        *,
        bound: Callable[[], Nanos],
        report: Callable[[str, dict[str, Any]], None],
        clock: Clock = monotonic_now,
    ) -> None:
        self._bound = bound
        self._report = report
        self._clock = clock
        self.places = StallPlaces()

    async def run(self) -> None:
        """Look until cancelled."""
        stacks = StackFile.create()
        faulthandler.register(signal.SIGALRM, stacks.fd, all_threads=False)
        try:
            while True:
                before, bound = self._clock(), self._bound()
                signal.setitimer(signal.ITIMER_REAL, to_seconds(bound and Nanos(bound + _PERIOD)))
                await asyncio.sleep(to_seconds(_PERIOD))
                late_ns = Nanos(self._clock() - before - _PERIOD)
                if bound and late_ns > bound:
                    self._note(late_ns, stacks.read())
                    stacks.clear()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.unregister(signal.SIGALRM)
            stacks.close()

    def _note(self, length_ns: Nanos, stack: tuple[str, ...]) -> None:
        if stack and stack[0].startswith(_WAITING):
            self.places.count(STOPPED)
            return
        self.places.count(place_of(stack))
        self._report(
            "event loop stalled",
            {
                "process": "supervisor",
                "length_ms": round(to_milliseconds(length_ns), 1),
                "stack": list(stack[:LOGGED_FRAMES]),
            },
        )
