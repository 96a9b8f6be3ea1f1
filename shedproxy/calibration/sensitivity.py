"""What would be different: another objective, or a limit that is wrong by a fifth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shedproxy.calibration.results import Calibration, Phase, StepState
from shedproxy.calibration.settled import arrivals_cv
from shedproxy.calibration.slo import (
    open_levels,
    percentile_ns,
    rate_within,
    waitless_lengths,
)
from shedproxy.core import Nanos

__all__ = ["LimitCost", "ObjectiveRate", "limit_costs", "objective_rates"]

_OBJECTIVES = (0.5, 0.75, 1.0, 1.5, 2.0)
_LIMITS = (0.8, 1.0, 1.2, 1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveRate:
    """Up to which rate another bound on latency would be kept."""

    latency_ns: Nanos
    rate_rps: float | None
    """None: no rate that was played kept it."""
    is_bound: bool
    """False: nothing that was played broke it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCost:
    """What a limit comes to while the service is never idle."""

    limit: int
    throughput_rps: float
    mean_ns: Nanos
    """Time in the service: limit over throughput (Little's law)."""


def objective_rates(calibration: Calibration) -> list[ObjectiveRate]:
    """For bounds of half to twice the objective's; empty where no open step was played."""
    found, slo = calibration.findings, calibration.plan.slo
    levels = open_levels(calibration.steps)
    if not levels:
        return []
    ceiling_rps = found.capacity_rps.value if found.capacity_rps is not None else math.inf
    lengths = waitless_lengths(calibration.steps, found.capacity_rps)
    cv = arrivals_cv(calibration.plan.arrivals)
    slowest = max(
        (percentile_ns(level.latency, slo.percentile) for level in levels if level.latency),
        default=Nanos(0),
    )
    has_failed = any(level.error_ratio > slo.error_ratio for level in levels)
    rates = []
    for factor in _OBJECTIVES:
        latency_ns = Nanos(round(slo.latency_ns * factor))
        each = replace(slo, latency_ns=latency_ns)
        found_rps = rate_within(levels, each, lengths, ceiling_rps, arrivals_cv=cv)
        rate_rps, shown_rps = found_rps or (None, None)
        rates.append(
            ObjectiveRate(
                latency_ns=latency_ns,
                rate_rps=rate_rps,
                is_bound=has_failed or slowest > latency_ns or rate_rps != shown_rps,
            )
        )
    return rates


def limit_costs(calibration: Calibration) -> list[LimitCost]:
    """For limits of 0.8 to 1.5 of the chosen one, between measured concurrencies straight."""
    limit = calibration.verdict.limit
    points = _throughput(calibration)
    if limit is None or len(points) < 2:
        return []
    costs = []
    for each in dict.fromkeys(max(1, round(limit * factor)) for factor in _LIMITS):
        rps = _between(points, each)
        if rps:
            costs.append(
                LimitCost(limit=each, throughput_rps=rps, mean_ns=Nanos(round(each / rps * 1e9)))
            )
    return costs


def _throughput(calibration: Calibration) -> list[tuple[int, float]]:
    """(at a time, answers per second), the middle of the passes, rising."""
    levels: dict[int, list[float]] = {}
    for step in calibration.steps:
        if step.phase is Phase.CLOSED and step.concurrency and step.state is StepState.STEADY:
            levels.setdefault(step.concurrency, []).append(step.throughput_rps)
    return sorted((level, sorted(rates)[len(rates) // 2]) for level, rates in levels.items())


def _between(points: Sequence[tuple[int, float]], at: int) -> float | None:
    for (low, below), (high, above) in itertools.pairwise(points):
        if low <= at <= high:
            return below + (above - below) * (at - low) / (high - low)
    return None
