"""The product's own Shedder as one controller among others, unchanged."""

from __future__ import annotations

import math

from shedproxy.core import (
    CellPolicy,
    Criticality,
    Instant,
    LimitPolicy,
    Policy,
    QueuePolicy,
    Shedder,
    SpillPolicy,
    milliseconds,
)
from shedproxy.simulator.controllers.protocol import Reading
from shedproxy.workload.scenario import CellSpec, ProfileSpec, Scenario

__all__ = ["OurControl", "our_policy"]


class OurControl(Shedder):
    """A Shedder that shows its reading; everything else is inherited."""

    __slots__ = ()

    def reading(self) -> Reading:
        """Of its first cell, the others added where that makes sense."""
        cells = self.stats().cells
        first = cells[0]
        return Reading(
            limit=float(sum(cell.limit for cell in cells)),
            in_flight=sum(cell.in_flight for cell in cells),
            queue_length=sum(cell.queue_length for cell in cells),
            refused_share=first.shed_share,
            baseline_ns=first.baseline_ns,
        )

    def demand_ratio(self) -> float:
        """Demand over capacity of its first cell, as exported; NaN before capacity is known."""
        cell = self.stats().cells[0]
        return cell.offered_rps / cell.capacity_rps if cell.capacity_rps else math.nan


def our_policy(scenario: Scenario, *, with_profile: bool) -> Policy:
    """Defaults; with a profile what calibration would have written, and nothing else.

    Cells have the profiles that they are said to have.
    """
    queue = QueuePolicy()
    if scenario.queue_length_max is not None:
        queue = QueuePolicy(length_max=scenario.queue_length_max)
    if scenario.cell:
        return Policy(cells=tuple(_cell_policy(cell, queue) for cell in scenario.cell))
    limit = _limit_policy(scenario.profile if with_profile else None)
    names = list(dict.fromkeys(client.cell for client in scenario.client))
    return Policy(cells=tuple(CellPolicy(name=name, limit=limit, queue=queue) for name in names))


def _limit_policy(profile: ProfileSpec | None, weight: int = 0) -> LimitPolicy:
    if profile is None:
        return LimitPolicy()
    baseline_ms = profile.baseline_ms
    return LimitPolicy(
        initial=profile.start,
        minimum=profile.minimum,
        maximum=profile.maximum,
        baseline_ns=None if baseline_ms is None else milliseconds(baseline_ms),
        weight=weight,
    )


def _cell_policy(cell: CellSpec, queue: QueuePolicy) -> CellPolicy:
    classes = [Criticality.parse(word) for word in cell.spill_classes]
    return CellPolicy(
        name=cell.name,
        limit=_limit_policy(cell.profile, cell.backend.hosts if cell.profile else 0),
        queue=queue,
        spill=SpillPolicy(
            to=cell.spill_to, classes=tuple(found for found in classes if found is not None)
        ),
    )


def make_ours(scenario: Scenario, *, now: Instant, with_profile: bool = False) -> OurControl:
    """One for a scenario's proxy."""
    return OurControl(our_policy(scenario, with_profile=with_profile), now=now)
