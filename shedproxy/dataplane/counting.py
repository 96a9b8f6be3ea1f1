"""Where decisions are counted and refusals recorded: the meter, the ring, and the time of day.

Wall time is the monotonic one and what lies between the two, which is looked at every tenth of a
second: asking for it costs as much as deciding.
"""

from __future__ import annotations

from typing import Final

from shedproxy.clock import wall_seconds
from shedproxy.core import (
    NS_PER_S,
    Instant,
    Lane,
    Mode,
    Outcome,
    Permit,
    Rejected,
)
from shedproxy.observability.meter import Meter
from shedproxy.observability.ring import RefusalRing

__all__ = ["Counting"]

# Before Python 3.12 a look-up of an enum's member costs more than a call: this is hot.
_CONTROL: Final = Lane.CONTROL
_SUCCESS: Final = Outcome.SUCCESS

_RETRY_AFTER_NS: Final = NS_PER_S


class Counting:
    """What is counted, by the numbers that cells have in metrics."""

    def __init__(self, meter: Meter, ring: RefusalRing, mode: Mode, now: Instant) -> None:
        self.meter = meter
        self.ring = ring
        self._mode = mode
        self._cell_index: dict[str, int] = {}
        self._fallback_index = 0
        self._has_cells = False
        """More than one: else there is nothing to look up."""
        self._wall_offset_ns = 0
        self.set_wall(now)

    def set_wall(self, now: Instant) -> None:
        """Look what time of day it is at the instant `now`."""
        self._wall_offset_ns = int(wall_seconds() * NS_PER_S) - now

    def wall_ns(self, at: Instant) -> int:
        """Nanoseconds since the epoch at an instant; as the system's clock was set just now."""
        return at + self._wall_offset_ns

    def cell_index(self, cell: str) -> int:
        """Number of a cell in metrics; unknown cells count as the policy's first."""
        if self._has_cells:
            return self._cell_index.get(cell, self._fallback_index)
        return self._fallback_index

    def _count(self, decision: Permit | Rejected) -> None:
        if type(decision) is Permit:
            self._count_permit(decision)
        else:
            assert isinstance(decision, Rejected)
            self._count_rejected(decision)

    def _count_permit(self, permit: Permit) -> None:
        request = permit.request
        cell = self.cell_index(request.cell)
        would_reject = permit.would_reject
        if would_reject is not None:
            self.meter.on_would_reject(cell, request.criticality, would_reject.reason)
            self._record(would_reject, cell)
            return
        if request.lane is _CONTROL:
            self.meter.on_bypass(cell)
            return
        self.meter.on_admitted(cell, request.criticality, permit.admitted_at - permit.arrived_at)

    def _count_rejected(self, rejected: Rejected) -> None:
        request = rejected.request
        cell = self.cell_index(request.cell)
        self.meter.on_rejected(cell, request.criticality, rejected.reason, rejected.waited_ns)
        self._record(rejected, cell)

    def _record(self, rejected: Rejected, cell: int) -> None:
        if rejected.retry_after_ns <= 0:
            rejected.retry_after_ns = _RETRY_AFTER_NS
        rejected.record_id = self.ring.record(
            rejected, cell=cell, mode=self._mode, wall_ns=self.wall_ns(rejected.at)
        )

    def _count_finished(self, permit: Permit, outcome: Outcome, status: int, now: Instant) -> None:
        request = permit.request
        if request.lane is _CONTROL:
            return
        is_in_time = permit.expires_at is None or now <= permit.expires_at
        self.meter.on_finished(
            self.cell_index(request.cell),
            request.criticality,
            status,
            now - permit.arrived_at,
            outcome is _SUCCESS and is_in_time,
        )
