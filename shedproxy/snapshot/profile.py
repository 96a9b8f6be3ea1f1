"""What calibration measured of a cell, as far as a running proxy compares itself with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from shedproxy.core import Nanos, seconds

__all__ = ["CellProfile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProfile:
    """Of `weight` healthy upstreams together. `id` names the calibration.

    Where its knee was not seen, a profile says how old it is and no more: `capacity_rps` and
    `knee_in_flight` are 0.
    """

    cell: str = "default"
    id: str = ""
    capacity_rps: float = 0.0
    knee_in_flight: float = 0.0
    cv: float = 1.0
    """Standard deviation over mean of service times."""
    weight: int = 1
    fitted_at_s: float = 0.0
    """Seconds since the epoch."""
    expires_after_ns: Nanos = field(default_factory=lambda: seconds(30 * 86_400))

    @property
    def has_curve(self) -> bool:
        """Whether live traffic can be held against it."""
        return self.capacity_rps > 0 and self.knee_in_flight > 0
