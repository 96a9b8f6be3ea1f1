"""Virtual time: a heap of what happens next. Equal seeds give equal runs, to the event."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from shedproxy.core import Instant

__all__ = ["Engine"]

Action = Callable[[Any], None]


class Engine:
    """A clock that jumps to the next event. What is due at one instant runs in the order set."""

    __slots__ = ("_heap", "_serial", "after_event", "now")

    def __init__(self) -> None:
        self.now = Instant(0)
        self._heap: list[tuple[int, int, Action, Any]] = []
        self._serial = 0
        self.after_event: Callable[[], None] | None = None
        """Called after every event: the checkers."""

    def at(self, when: int, action: Action, argument: Any) -> None:
        """Run `action(argument)` at `when`, or now if that has passed."""
        self._serial = serial = self._serial + 1
        heappush(self._heap, (when, serial, action, argument))

    def run(self, until: int) -> None:
        """Let time pass up to and including `until`."""
        heap = self._heap
        check = self.after_event
        while heap and heap[0][0] <= until:
            when, _, action, argument = heappop(heap)
            if when > self.now:
                self.now = Instant(when)
            action(argument)
            if check is not None:
                check()
        self.now = Instant(max(self.now, until))
