"""What the driver publishes of every cell, ten times a second, as numbers in the meter's slots."""

from __future__ import annotations

from collections.abc import Mapping

from shedproxy.core import CellStats, LimitChange, ShedderStats
from shedproxy.observability.meter import Meter
from shedproxy.observability.metric import Gauge, SpillSide

__all__ = ["CellGauges"]


class CellGauges:
    """Writes to one meter; remembers what was counted."""

    __slots__ = ("_last_changes", "_meter", "_spilled")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._last_changes: dict[str, LimitChange] = {}
        self._spilled: dict[str, tuple[int, int]] = {}
        """Requests sent away and taken, as counted so far."""

    def clear(self, index: int) -> None:
        """A cell is no more: nobody publishes its present again."""
        for gauge in Gauge:
            self._meter.set_gauge(index, gauge, 0)

    def publish(self, stats: ShedderStats, index_of: Mapping[str, int]) -> None:
        """Write the present; `index_of` says the number of each cell."""
        meter = self._meter
        for cell in stats.cells:
            index = index_of[cell.name]
            change = cell.last_change
            if change is not None and change is not self._last_changes.get(cell.name):
                self._last_changes[cell.name] = change
                meter.on_limit_change(index, change.cause)
            self._count_spilled(cell, index)
            for gauge, value in (
                (Gauge.IN_FLIGHT, cell.in_flight),
                (Gauge.LIMIT, cell.limit),
                (Gauge.QUEUE_LENGTH, cell.queue_length),
                (Gauge.RESIDENTS, cell.residents),
                (Gauge.ZOMBIES, cell.zombies),
                (Gauge.CONTROL_IN_FLIGHT, cell.control_in_flight),
                (Gauge.SHED_RANK, cell.shed_rank),
                (Gauge.SHED_SHARE_PPM, int(cell.shed_share * 1e6)),
                (Gauge.PRESSURE_PPM, int(cell.pressure * 1e6)),
                (Gauge.BASELINE_NS, cell.baseline_ns),
                (Gauge.LIMIT_CAUSE, 0 if change is None else change.cause + 1),
                (Gauge.DEMAND, round(cell.offered_rps)),
                (Gauge.HOST_LIMIT, cell.host_limit),
                (Gauge.HOST_IN_FLIGHT, cell.host_in_flight),
                (Gauge.CAPACITY, round(cell.capacity_rps)),
                (Gauge.GUESTS, cell.guests),
                (Gauge.GUEST_ROOM, cell.guest_room),
            ):
                meter.set_gauge(index, gauge, value)
            for criticality, count in enumerate(cell.class_in_flight):
                meter.set_gauge(index, Gauge.SHEDDABLE + criticality, count)

    def _count_spilled(self, cell: CellStats, index: int) -> None:
        counts = (cell.sent_count, cell.taken_count)
        sent, taken = self._spilled.get(cell.name, (0, 0))
        if counts == (sent, taken):
            return
        self._spilled[cell.name] = counts
        # A cell that was removed and has come back begins to count anew.
        self._meter.on_spilled(index, SpillSide.SENT, max(0, counts[0] - sent))
        self._meter.on_spilled(index, SpillSide.TAKEN, max(0, counts[1] - taken))
