"""From a calibration to what a forecast needs to know: a station with its capacity and its law.

Slots are capacity times the mean latency without load (Little's law), rounded; the service time is
then what makes the capacity exact, and what the latency is longer than that is taken for the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from shedproxy.calibration.results import (
    Calibration,
    CellThresholds,
    LawFit,
    Percentiles,
    RouteFit,
)
from shedproxy.core import NS_PER_MS, Criticality, LimitPolicy, QueuePolicy
from shedproxy.simulator.forecast import CellModel
from shedproxy.workload.laws import LAWS, coefficient_of_variation
from shedproxy.workload.scenario import Law

__all__ = ["CellLoad", "cell_models", "class_mix", "law_of_scatter", "share_loads", "station_of"]

_CLOSE = 0.08
"""A law whose Kolmogorov-Smirnov distance is larger is not taken: what was recorded is."""
_ALIKE, _ALIKE_RATIO = 0.1, 0.25
"""Nor is one whose cv is further from the measured one: that distance says little of a long tail,
which is what percentiles are made of."""
_RECORDED = 200
_CEILING = 1000
"""Where none was found: the default of the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLoad:
    """A cell, and what is offered to it."""

    model: CellModel
    offered_rps: float


def class_mix(calibration: Calibration) -> list[tuple[Criticality, float]]:
    """Classes by weight, as they were played; critical alone where none were named."""
    named = [(Criticality.parse(share.name), share.ratio) for share in calibration.plan.classes]
    mix = [(criticality, ratio) for criticality, ratio in named if criticality is not None]
    return mix or [(Criticality.CRITICAL, 1.0)]


def cell_models(calibration: Calibration) -> list[CellModel] | None:
    """The cells of a calibration; None where capacity or latency without load is unknown.

    Several cells have the capacity in parts, by what they start with.
    """
    found, thresholds = calibration.findings, calibration.thresholds
    route = next((each for each in found.routes if each.name == "*"), None)
    if found.capacity_rps is None or route is None or not route.mean.value:
        return None
    cells = thresholds.cells if thresholds else ()
    cells = cells or (CellThresholds(name="default", start=8, floor=1, ceiling=_CEILING),)
    whole = sum(cell.start for cell in cells)
    law, cv, recorded = _law_of(route)
    return [
        replace(
            station_of(
                cell.name,
                capacity_rps=found.capacity_rps.value * cell.start / whole,
                mean_ms=route.mean.value / NS_PER_MS,
                law=law,
                cv=cv,
            ),
            recorded_ms=recorded,
            limit=LimitPolicy(
                initial=cell.start,
                minimum=cell.floor,
                maximum=cell.ceiling or _CEILING,
                baseline_ns=cell.baseline_ns,
            ),
            queue=_queue_of(cell),
            deadline_ms=calibration.plan.deadline_ns / NS_PER_MS,
            objective_ms=calibration.plan.slo.latency_ns / NS_PER_MS,
        )
        for cell in cells
    ]


def station_of(
    name: str,
    *,
    capacity_rps: float,
    mean_ms: float,
    law: Law = "exponential",
    cv: float | None = None,
) -> CellModel:
    """A station of this capacity whose answers take `mean_ms` without load; limits are defaults."""
    slots = max(1, round(capacity_rps * mean_ms / 1000))
    service_ms = 1000 * slots / capacity_rps
    return CellModel(
        name=name,
        slots=slots,
        service_ms=service_ms,
        law=law,
        cv=cv,
        network_ms=max(0.0, mean_ms - service_ms),
        limit=LimitPolicy(),
        queue=QueuePolicy(),
        deadline_ms=max(1000.0, 20 * service_ms),
    )


def _law_of(route: RouteFit) -> tuple[Law, float | None, tuple[float, ...]]:
    fit = route.law
    if fit is not None and fit.distance <= _CLOSE and _has_its_cv(fit):
        return cast("Law", fit.name), fit.cv if fit.name == "lognormal" else None, ()
    recorded = _recorded(route.latency)
    return ("recorded", None, recorded) if recorded else ("exponential", None, ())


def law_of_scatter(cv: float) -> tuple[Law, float | None]:
    """A law, and its cv where it takes one, where nothing but the cv is known."""
    for name in ("constant", "exponential"):
        if _is_alike(cv, coefficient_of_variation(name)):
            return name, None
    return "lognormal", cv


def _has_its_cv(fit: LawFit) -> bool:
    if fit.name not in LAWS or fit.name == "recorded":
        return False
    return fit.name == "lognormal" or _is_alike(fit.cv, coefficient_of_variation(fit.name))


def _is_alike(cv: float, own: float) -> bool:
    return abs(cv - own) <= max(_ALIKE, _ALIKE_RATIO * own)


def _recorded(latency: Percentiles | None) -> tuple[float, ...]:
    """As many lengths, evenly along the distribution."""
    if latency is None:
        return ()
    values: list[float] = []
    passed, total = 0, sum(count for _, count in latency.histogram)
    for bound_ns, count in latency.histogram:
        passed += count
        while len(values) + 0.5 <= passed * _RECORDED / total and len(values) < _RECORDED:
            values.append(bound_ns / NS_PER_MS)
    return tuple(values)


def _queue_of(cell: CellThresholds) -> QueuePolicy:
    if cell.queue_wait_ns is None:
        return QueuePolicy()
    return QueuePolicy(wait_max_ns=cell.queue_wait_ns)


def share_loads(
    models: Sequence[CellModel], offered_rps: float, *, lost: Sequence[str] = ()
) -> list[CellLoad]:
    """Every cell that is left with its part of the load, by capacity.

    Raises:
        ValueError: a lost cell is none of them, or none is left.
    """
    names = [model.name for model in models]
    for name in lost:
        if name not in names:
            raise ValueError(f"there is no cell {name!r}; there are: {', '.join(names)}")
    left = [model for model in models if model.name not in lost]
    if not left:
        raise ValueError("no cell is left to take over")
    capacity = sum(model.capacity_rps for model in left)
    return [
        CellLoad(model=model, offered_rps=offered_rps * model.capacity_rps / capacity)
        for model in left
    ]
