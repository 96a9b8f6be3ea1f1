"""From steps to findings: capacity with its interval, the SLO's rate, knees, USL, doubts.

Everything is read off the steps alone, so that a report can be made again from what was written.
Units of the statistics are steps, not requests: requests of one step are not independent, steps in
random order with a drain between them are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from shedproxy.calibration.doubts import all_checks
from shedproxy.calibration.estimates import mean_interval, z_quantile
from shedproxy.calibration.knee import goodput_knee, latency_knee
from shedproxy.calibration.measurement import Interval, Phase, Plan, Step, StepState
from shedproxy.calibration.plan import saturating_concurrency
from shedproxy.calibration.results import Findings, RouteFit
from shedproxy.calibration.saturation import GAIN_MIN, closed_steps, counted_s, is_faster
from shedproxy.calibration.settled import arrivals_cv, uncrowded_steps
from shedproxy.calibration.slo import merge_percentiles, open_levels, slo_rate
from shedproxy.calibration.usl import LEVELS_MIN, fit_usl
from shedproxy.core import NS_PER_S
from shedproxy.workload import RandomSource

__all__ = ["NO_OPEN_STEPS", "fit_capacity", "fit_findings"]

NO_OPEN_STEPS = "rate within the SLO: no open step counts"
"""What is missing when nothing is known of the objective."""

_STEPS_MIN = 3
_BETTER_MIN, _BETTER_LEVEL = 0.03, 0.9999
"""By which share, and how surely, another concurrency must be faster to be taken instead: there are
half a dozen of them, and the best of equals always looks better."""
_OUTDONE_LEVEL = 0.999
"""How surely more in flight must have done more for capacity to be unknown; one comparison."""
_COLLAPSE = 0.8


def fit_findings(
    steps: Sequence[Step],
    plan: Plan,
    *,
    rng: RandomSource,
    routes: Sequence[RouteFit] = (),
) -> Findings:
    """Everything that the steps say, and what they do not."""
    missing: list[str] = []
    capacity, concurrency = fit_capacity(steps)
    if capacity is None:
        missing.append(
            f"capacity: it takes {_STEPS_MIN} sound steps of a service that is never idle"
        )
    slo = slo_rate(
        steps, plan.slo, capacity=capacity, rng=rng, arrivals_cv=arrivals_cv(plan.arrivals)
    )
    if slo is None:
        missing.append(_slo_missing(steps, plan))
    closed = [
        step
        for step in steps
        if step.phase in {Phase.IDLE, Phase.CLOSED}
        and step.state is not StepState.VOID
        and step.throughput_rps > 0
    ]
    usl = fit_usl([(float(step.concurrency or 1), step.throughput_rps) for step in closed], rng=rng)
    if usl is None:
        missing.append(f"USL: it takes {LEVELS_MIN} concurrencies")
    findings = Findings(
        capacity_rps=capacity,
        capacity_in_flight=concurrency,
        slo_rps=slo.rate_rps if slo else None,
        slo_in_flight=slo.in_flight if slo else None,
        slo_latency=slo.latency if slo else None,
        slo_is_bound=slo.is_bound if slo else True,
        knee_in_flight=_knee_in_flight(capacity, steps),
        knees=tuple(
            knee
            for knee in (goodput_knee(steps, rng=rng), latency_knee(steps, plan.slo, rng=rng))
            if knee is not None
        ),
        usl=usl,
        routes=tuple(routes),
        missing=tuple(missing),
        collapse_rps=_collapse(steps, capacity),
    )
    return replace(findings, checks=all_checks(steps, plan, findings))


def fit_capacity(steps: Sequence[Step]) -> tuple[Interval | None, int | None]:
    """Throughput of a service that is never idle, at the concurrency that the search found.

    Chosen before these steps were played, so that no luck of theirs is in the choice; another
    concurrency is taken only where it is clearly faster.
    """
    planned = saturating_concurrency(steps)
    by_level: dict[int, list[Step]] = {}
    for step in closed_steps(steps):
        assert step.concurrency is not None
        by_level.setdefault(step.concurrency, []).append(step)
    if planned is None or len(by_level.get(planned, ())) < _STEPS_MIN:
        return None, None
    best = planned
    for level in sorted(by_level):
        if level != planned and is_faster(
            by_level[level], by_level[planned], level=_BETTER_LEVEL, least=_BETTER_MIN
        ):
            faster = _mean(by_level[level]) > _mean(by_level[best])
            best = level if faster else best
    if len(by_level[best]) < _STEPS_MIN or _may_be_idle(by_level, best):
        return None, None
    chosen = by_level[best]
    rates, lengths = [step.throughput_rps for step in chosen], [counted_s(step) for step in chosen]
    return mean_interval(rates, weights=lengths), best


def _may_be_idle(by_level: Mapping[int, Sequence[Step]], level: int) -> bool:
    """Whether all that had more in flight, taken together, did more: the knee was missed."""
    above = [step for more, steps in by_level.items() if more > level for step in steps]
    return bool(above) and is_faster(
        above, by_level[level], level=_OUTDONE_LEVEL, least=GAIN_MIN - 1
    )


def _mean(steps: Sequence[Step]) -> float:
    return math.fsum(step.throughput_rps for step in steps) / len(steps)


def _knee_in_flight(capacity: Interval | None, steps: Sequence[Step]) -> Interval | None:
    """Capacity times latency without waiting, which few in flight show as well as one."""
    alone = uncrowded_steps(steps, capacity.value) if capacity else []
    if capacity is None or not alone:
        return None
    mean_ns, error_ns = _merged_mean(alone)
    value = capacity.value * mean_ns / NS_PER_S
    of_capacity = (capacity.high - capacity.low) / 2 / capacity.value
    half = value * math.hypot(
        of_capacity, z_quantile((1 + capacity.level) / 2) * error_ns / mean_ns
    )
    return Interval(
        value=value, low=max(0.0, value - half), high=value + half, level=capacity.level
    )


def _merged_mean(steps: Sequence[Step]) -> tuple[float, float]:
    """Mean latency of the answers of all steps, in ns, and its standard error by their scatter."""
    merged = merge_percentiles([step.latency for step in steps])
    assert merged is not None
    mean = float(merged.mean_ns)
    # A bucket's bound lies half a bucket above its middle.
    square = math.fsum(count * (bound / 1.015) ** 2 for bound, count in merged.histogram)
    variance = max(0.0, square / merged.count - mean * mean)
    return mean, math.sqrt(variance / merged.count)


def _slo_missing(steps: Sequence[Step], plan: Plan) -> str:
    if not open_levels(steps):
        return NO_OPEN_STEPS
    return (
        f"rate within the SLO: not even the lowest rate played kept p{100 * plan.slo.percentile:g} "
        f"and errors within it"
    )


def _collapse(steps: Sequence[Step], capacity: Interval | None) -> float | None:
    if capacity is None:
        return None
    for level in open_levels(steps):
        if level.rate_rps > capacity.high and level.throughput_rps < _COLLAPSE * capacity.value:
            return level.rate_rps
    return None
