"""From findings to what a cell is told: start, floor, ceiling, baseline, waiting time. Pure.

The limit is anchored at the knee, capacity times latency without load: by Little's law so many
requests are at work when the service is busy and nobody waits inside it. A margin keeps slots from
standing idle while an answer travels; the rest of the wait belongs in the proxy's queue, where it
is ordered: as long as the SLO's latency leaves, or as bursts below capacity need. The ceiling is
where the service was measured to be saturated for sure. The floor is the upper end of the knee's
interval: fewer might leave slots idle while others are refused.
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
_WAIT_SLOS = 4
"""Who waits for longer than so many times the SLO's latency is not waiting any more."""
_CALM_LOAD = 0.8
"""Of capacity; up to here nobody is to be refused."""
_CALM_ERRORS = 1e-6
"""Share of the time that more may wait at that load than the queue takes."""
_BEGIN_SHARE = 0.75
"""Of the longest wait: with so much before them the proxy takes those who wait for an overload."""
_CV_MIN = 1.0
"""Of few latencies the scatter is known badly, and too little of it is the costly mistake."""


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
                queue_wait_ns=_queue_wait_ns(plan, findings, start),
                baseline_ns=_baseline_ns(findings.routes),
            ),
        )
    )


def _queue_wait_ns(plan: Plan, findings: Findings, start: int) -> Nanos:
    """The longer of two: what the SLO leaves, and what bursts below capacity take.

    The SLO's latency leaves what the time inside the service, with the limit full, does not take;
    its mean only: a wait cut shorter than that would refuse some whose answer was in time. Below
    capacity waits have an exponential tail (Kingman 1962: heavy traffic), so that with a queue for
    the wait that is exceeded once in a million hardly anybody meets a full one.
    """
    capacity = findings.capacity_rps
    assert capacity is not None
    left_ns = plan.slo.latency_ns - round(start / capacity.value * NS_PER_S)
    wait_ns = max(_WAIT_MIN_NS, min(_WAIT_MAX_NS, left_ns))
    laws = [route.law for route in findings.routes if route.law is not None]
    cv = max(_CV_MIN, laws[0].cv if laws else _CV_MIN)
    mean_s = (1 + cv * cv) / 2 / capacity.value / (1 - _CALM_LOAD)
    burst_ns = round(-math.log(_CALM_ERRORS) * mean_s / _BEGIN_SHARE * NS_PER_S)
    longest_ns = max(_WAIT_MAX_NS, _WAIT_SLOS * plan.slo.latency_ns)
    return Nanos(_rounded(max(wait_ns, min(longest_ns, burst_ns))))


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
