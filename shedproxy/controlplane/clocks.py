"""How far the clocks of hosts and of other control planes are from ours, as what they write says.

What is written at a time that has not come was written by a clock that is ahead, by that much at
least. A report that is new since the last look was not sent long before that look, or the clock is
behind. Nobody's safety hangs on clocks: a key has one owner whatever they say, and what is watched
is measured, not read off a clock. But a hold, a shift of a zone and a token end by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shedproxy.snapshot import StatusReport

__all__ = ["CONTROL_PLANE", "ClockWatch"]

CONTROL_PLANE = "another control plane"
_UNDER_WAY_S = 10.0
"""A report may take so long to the store: twice what an instance gives it by default."""


class ClockWatch:
    """What is known of them.

    Args:
        apart_s: clocks that are further apart are told of.
        report: takes an event and its facts.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        apart_s: float,
        report: Callable[[str, dict[str, Any]], None],
        wall: Callable[[], float],
    ) -> None:
        self._apart_s = apart_s
        self._report = report
        self._wall = wall
        self._looked_at_s: float | None = None
        self.apart: dict[str, float] = {}
        """By whose it is: seconds that it is ahead of ours, below 0 behind; without who agrees."""

    def look(self, reports: Mapping[str, StatusReport], before: Mapping[str, StatusReport]) -> None:
        """Note what hosts say, beside what they said at the last look."""
        now_s, since_s = self._wall(), self._looked_at_s
        for name, said in reports.items():
            former = before.get(name)
            is_new = former is None or (former.boot_id, former.heartbeat) != (
                said.boot_id, said.heartbeat
            )  # fmt: skip
            if is_new and said.sent_at_s:
                # Of the first report nobody knows how old it is.
                least_s = since_s if former is not None else None
                self.saw(f"host {name}", said.sent_at_s, since_s=least_s)
        for name in [name for name in self.apart if name.startswith("host ")]:
            if name.removeprefix("host ") not in reports:
                del self.apart[name]
        self._looked_at_s = now_s

    def saw(self, whose: str, at_s: float, *, since_s: float | None = None) -> None:
        """Something that is there now was written at this time of that clock.

        Args:
            whose: clock it is.
            at_s: what it said.
            since_s: it was not there then, by ours; None: nobody looked.
        """
        apart_s = max(0.0, at_s - self._wall())
        if since_s is not None and not apart_s:
            apart_s = min(0.0, at_s + _UNDER_WAY_S - since_s)
        if abs(apart_s) <= self._apart_s:
            if self.apart.pop(whose, 0.0):
                self._report("clock agrees", {"whose": whose})
            return
        if whose not in self.apart:
            self._report("clock differs", {"whose": whose, "ahead_s": round(apart_s, 1)})
        self.apart[whose] = round(apart_s, 1)
