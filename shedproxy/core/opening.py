"""How slots open again after a time with few of them: one after another, at the service's pace.

Work that begins at once ends at once, if all of it takes equally long, and as each end lets another
begin, it does so for as long as there is more than enough to do. Whoever is admitted at the head of
such a bunch waits inside the service for nearly a whole turn. Begun evenly over one turn, work also
ends so, and a free slot is never further away than it has to be. So after a dip the slots open over
one turn, and those that were in use meanwhile are taken back as they end, to open in their turn.
"""

from __future__ import annotations

from shedproxy.core.limits.probe import ALIKE
from shedproxy.core.limits.target import target_ns
from shedproxy.core.units import Instant
from shedproxy.core.window import WindowSummary

__all__ = ["Opening", "opening_after"]


def opening_after(
    dip: WindowSummary, *, limit: int, in_flight: int, now: Instant
) -> Opening | None:
    """How `limit` slots open after a dip's last window; None: at once, bunches would not last.

    They do not where single latencies scatter.
    """
    if in_flight >= limit or dip.baseline_scatter > ALIKE:
        return None
    turn_ns = target_ns(dip.baseline_mean_ns, dip.baseline_error)
    return Opening(limit, in_flight=in_flight, turn_ns=turn_ns, now=now)


class Opening:
    """Slots of a limit that open from `now` on, one each `turn_ns / limit`."""

    __slots__ = ("_began_at", "_former", "_turn_ns", "limit")

    def __init__(self, limit: int, *, in_flight: int, turn_ns: int, now: Instant) -> None:
        """Begin with `in_flight` slots in use, of `limit`; all are open after `turn_ns`."""
        self.limit = limit
        """Slots at the end."""
        self._former = in_flight
        self._turn_ns = max(1, turn_ns)
        self._began_at = now

    def end(self, admitted_at: Instant) -> None:
        """Work that was admitted at that instant has ended."""
        if admitted_at < self._began_at and self._former > 0:
            self._former -= 1

    def open_at(self, now: Instant) -> int:
        """Slots that are open, those included that are in use since before."""
        return min(self.limit, self._former + self._opened(now))

    def next_at(self, now: Instant) -> Instant:
        """When the next one opens."""
        # Rounded up: a moment before it is due it would be asked for in vain.
        return Instant(self._began_at - -self._opened(now) * self._turn_ns // self.limit)

    def is_over(self, now: Instant) -> bool:
        """Whether all are open, whatever ends."""
        return self._opened(now) >= self.limit

    def _opened(self, now: Instant) -> int:
        return (now - self._began_at) * self.limit // self._turn_ns + 1
