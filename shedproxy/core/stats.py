"""Read-outs of a Shedder: frozen, made when somebody asks."""

from __future__ import annotations

from dataclasses import dataclass

from shedproxy.core.limits.protocol import LimitChange
from shedproxy.core.policy import Mode
from shedproxy.core.units import Nanos

__all__ = ["CellStats", "ShedderStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStats:
    """One cell now. Counts are slots (cost), rates per second."""

    name: str
    in_flight: int
    class_in_flight: tuple[int, int, int, int]
    """By Criticality: slots in flight, and what waiters and streams would take. Class limits are
    compared with these."""
    limit: int
    """Our part of it, where workers share one."""
    host_limit: int
    """All of it."""
    host_in_flight: int
    """Of all workers that share the limit."""
    queue_length: int
    residents: int
    zombies: int
    """Permits of clients that left while the upstream may still be at work (part of in_flight)."""
    control_in_flight: int
    shed_rank: int
    """Ranks (0..4095: criticality x 1 024 + cohort) below this are refused on arrival."""
    shed_share: float
    """Share of demand that is below the shed level, 0..1."""
    pressure: float
    """0 idle .. 1 saturated."""
    baseline_ns: Nanos
    """Largest trusted no-load latency of the cell's routes; 0: none yet."""
    offered_rps: float
    capacity_rps: float
    """Slots whose work ends per second while somebody waits; 0: nobody ever had to."""
    last_change: LimitChange | None
    guests: int = 0
    """Slots that requests of other cells hold here."""
    guest_room: int = 0
    """Slots that were free for more of them when it was looked last."""
    sent_count: int = 0
    """Requests that other cells took, since the cell was made."""
    taken_count: int = 0
    """Requests of other cells that were taken, since then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedderStats:
    """The whole shedder now."""

    mode: Mode
    is_draining: bool
    cells: tuple[CellStats, ...]
