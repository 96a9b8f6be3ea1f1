"""From findings to what a cell is told: start, floor, ceiling, baseline, waiting time. Pure.

The limit is anchored at the knee, capacity times latency without load: by Little's law so many
requests are at work when the service is busy and nobody waits inside it. A margin keeps slots from
standing idle while an answer travels; the rest of the wait belongs in the proxy's queue, where it
is ordered. The ceiling is where the service was measured to be saturated for sure. The floor is the
upper end of the knee's interval: fewer might leave slots idle while others are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shedproxy.calibration.measurement import Plan
from shedproxy.calibration.results import CellThresholds, Findings, RouteFit, Thresholds
from shedproxy.core import NS_PER_S, Nanos, milliseconds

__all__ = ["derive_thresholds"]

_MARGIN = 1.25
_ALIKE = 1.5
"""Routes whose latencies differ by no more than this share a baseline."""
_WAIT_MIN_NS, _WAIT_MAX_NS = milliseconds(10), milliseconds(500)


def derive_thresholds(
    findings: Findings, plan: Plan, *, cell: str = "default", weight: int = 1
) -> Thresholds | None:
    """What to tell the cell; None when capacity or the latency without load is unknown."""
    knee, capacity = findings.knee_in_flight, findings.capacity_rps
    if knee is None or capacity is None or findings.capacity_in_flight is None:
        return None
    start = max(math.ceil(knee.value) + 1, math.ceil(_MARGIN * knee.value))
    ceiling = max(start, math.ceil(2 * knee.value), findings.capacity_in_flight)
    if findings.usl is not None and findings.usl.peak_in_flight is not None:
        peak = max(1, math.floor(findings.usl.peak_in_flight.value))
        start, ceiling = min(start, peak), min(ceiling, peak)
    return Thresholds(
        cells=(
            CellThresholds(
                name=cell,
                start=start,
                floor=max(1, min(start, math.ceil(knee.high))),
                ceiling=ceiling,
                upstream_weight=weight,
                queue_wait_ns=_queue_wait_ns(plan, start / capacity.value),
                baseline_ns=_baseline_ns(findings.routes),
            ),
        )
    )


def _queue_wait_ns(plan: Plan, inside_s: float) -> Nanos:
    """What the SLO's latency leaves once the time inside the service, with the limit full, is off.

    Its mean only: a wait cut shorter than that would refuse some whose answer was in time.
    """
    left_ns = plan.slo.latency_ns - round(inside_s * NS_PER_S)
    return Nanos(max(_WAIT_MIN_NS, min(_WAIT_MAX_NS, _rounded(max(1, left_ns)))))


def _baseline_ns(routes: Sequence[RouteFit]) -> Nanos | None:
    """One for all routes, if they are alike: a cell has one."""
    means = [route.mean.value for route in routes if route.name != "*"]
    if means and max(means) > _ALIKE * min(means):
        return None
    overall = next((route for route in routes if route.name == "*"), None)
    return None if overall is None else Nanos(_rounded(overall.mean.value))


def _rounded(length: float) -> int:
    """Three digits: more would be a pretence."""
    unit = int(10 ** max(0, math.floor(math.log10(length)) - 2))
    return max(1, round(length / unit)) * unit
