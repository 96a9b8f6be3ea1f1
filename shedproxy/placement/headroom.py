"""Whether a cell still carries its demand when a whole zone is gone.

A zone is survived with capacity that is there already, not with what would have to be started
during the incident: evenly over `a` zones, demand x a / (a - 1). Unevenly, what counts is what is
left without the largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ZoneHeadroom", "zone_headroom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneHeadroom:
    """Rates per second; `largest` is the zone whose loss hurts most."""

    largest: str
    capacity_rps: float
    left_rps: float
    demand_rps: float
    needed_rps: float
    """Capacity that would be enough, spread over zones as it is."""

    @property
    def is_enough(self) -> bool:
        """Whether what is left carries the demand."""
        return self.left_rps >= self.demand_rps


def zone_headroom(
    hosts_by_zone: Mapping[str, int], *, host_rps: float, demand_rps: float
) -> ZoneHeadroom | None:
    """The head-room of hosts that are alike; None where there are no two zones to speak of."""
    if len(hosts_by_zone) < 2:
        return None
    hosts = sum(hosts_by_zone.values())
    largest = max(sorted(hosts_by_zone), key=lambda zone: hosts_by_zone[zone])
    left = hosts - hosts_by_zone[largest]
    return ZoneHeadroom(
        largest=largest,
        capacity_rps=hosts * host_rps,
        left_rps=left * host_rps,
        demand_rps=demand_rps,
        needed_rps=demand_rps * hosts / left if left else float("inf"),
    )
