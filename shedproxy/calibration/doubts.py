"""What a calibration doubts about itself: each doubt put to the test, with what was compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shedproxy.calibration.estimates import t_quantile, trend
from shedproxy.calibration.measurement import Phase, Plan, Step, StepState
from shedproxy.calibration.results import Check, Findings
from shedproxy.core import NS_PER_S

__all__ = ["all_checks"]

_LITTLE_MAX = 0.05
_AGREE_MAX = 0.05
_WIDTH_MAX = 0.03
_ENDS_ERRORS = 4.0
_DRIFT_MAX = 0.03
_SURE = 0.99
"""Of a difference, before a calibration is called wrong for it; of few passes chance makes many."""


def all_checks(steps: Sequence[Step], plan: Plan, findings: Findings) -> tuple[Check, ...]:
    """Those that the steps have data for."""
    checks = (
        _little(steps),
        _a_a(steps, findings),
        _open_closed(steps, findings),
        _width(findings),
        _drift(steps, findings),
        _samples(plan, findings),
        _generator(steps),
    )
    return tuple(check for check in checks if check is not None)


def _little(steps: Sequence[Step]) -> Check | None:
    """Concurrency as counted against rate times latency: clocks and books."""
    worst, where = 0.0, None
    for step in steps:
        if step.state is StepState.STEADY and step.latency is not None and step.in_flight > 0.5:
            product = step.throughput_rps * step.latency.mean_ns / NS_PER_S
            off = abs(step.in_flight / product - 1) - _ends_ratio(step) if product else 1.0
            off = max(0.0, off)
            if where is None or off > worst:
                worst, where = off, step
    if where is None:
        return None
    return Check(
        name="little",
        is_passed=worst <= _LITTLE_MAX,
        measured=worst,
        allowed=_LITTLE_MAX,
        text=f"requests in flight differ from rate times latency by {worst:.1%} at most",
    )


def _ends_ratio(step: Step) -> float:
    """By how much, relative, what is in flight at both ends of a step can part the two sides.

    An end cuts through requests that are as old as the rest of a renewal process (Feller 1971):
    their age has the second moment m3 / (3 m1), of few very long ones far more than the mean.
    """
    assert step.latency is not None
    count, mean = step.latency.count, step.latency.mean_ns
    # A bucket's bound lies half a bucket above its middle.
    cubes = math.fsum(held * (bound / 1.015 / mean) ** 3 for bound, held in step.latency.histogram)
    age = math.sqrt(cubes / count / 3)
    return (2 * step.in_flight + _ENDS_ERRORS * age * math.sqrt(2 * step.in_flight)) / count


def _pairs(steps: Sequence[Step], findings: Findings) -> list[list[Step]]:
    passes: dict[int, list[Step]] = {}
    for step in steps:
        if (
            step.phase is Phase.CLOSED
            and step.concurrency == findings.capacity_in_flight
            and step.state is not StepState.VOID
        ):
            passes.setdefault(step.pass_number, []).append(step)
    return [pair for _, pair in sorted(passes.items())]


def _a_a(steps: Sequence[Step], findings: Findings) -> Check | None:
    """The two equal steps of each pass: a difference between them is the noise of the bench."""
    pairs = [pair for pair in _pairs(steps, findings) if len(pair) == 2]
    if len(pairs) < 3 or findings.capacity_rps is None:
        return None
    gaps = [pair[1].throughput_rps - pair[0].throughput_rps for pair in pairs]
    mean = math.fsum(gaps) / len(gaps)
    error = math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
    off = abs(mean) / findings.capacity_rps.value
    allowed = max(0.01, t_quantile(_SURE, len(gaps) - 1) * error / findings.capacity_rps.value)
    return Check(
        name="a-a",
        is_passed=off <= allowed,
        measured=off,
        allowed=allowed,
        text=f"equal steps of a pass differ by {off:.1%} on average",
    )


def _open_closed(steps: Sequence[Step], findings: Findings) -> Check | None:
    """Throughput of open steps beyond capacity is capacity too."""
    capacity = findings.capacity_rps
    if capacity is None:
        return None
    over = [
        step
        for step in steps
        if step.phase is Phase.OPEN
        and step.state is not StepState.VOID
        and (step.planned_rps or 0) > 1.05 * capacity.value
    ]
    count = sum(step.offered_count for step in over)
    if count < 200:
        return None
    rate = math.fsum(step.throughput_rps for step in over) / len(over)
    off = abs(rate / capacity.value - 1)
    # Of some hundred answers the count itself is uncertain.
    allowed = _AGREE_MAX + 3.0 / math.sqrt(count)
    return Check(
        name="open-closed",
        is_passed=off <= allowed,
        measured=off,
        allowed=allowed,
        text=f"open steps beyond capacity end {rate:.0f}/s, closed ones {capacity.value:.0f}/s",
    )


def _width(findings: Findings) -> Check | None:
    capacity = findings.capacity_rps
    if capacity is None:
        return None
    width = (capacity.high - capacity.low) / 2 / capacity.value
    return Check(
        name="repeats",
        is_passed=width <= _WIDTH_MAX,
        measured=width,
        allowed=_WIDTH_MAX,
        text=f"repeats leave capacity uncertain by {width:.1%}",
    )


def _drift(steps: Sequence[Step], findings: Findings) -> Check | None:
    """Capacity from pass to pass: a service that warms up or tires is not one number."""
    means = [
        math.fsum(step.throughput_rps for step in pair) / len(pair)
        for pair in _pairs(steps, findings)
    ]
    line = trend(means)
    if line is None or findings.capacity_rps is None:
        return None
    total = line.slope * (len(means) - 1) / findings.capacity_rps.value
    chance = t_quantile(_SURE, len(means) - 2) * abs(total / line.t_value) if total else 0.0
    allowed = max(_DRIFT_MAX, chance)
    return Check(
        name="drift",
        is_passed=abs(total) <= allowed,
        measured=abs(total),
        allowed=allowed,
        text=f"capacity moved by {total:+.1%} from the first pass to the last",
    )


def _samples(plan: Plan, findings: Findings) -> Check | None:
    latency = findings.slo_latency
    if latency is None:
        return None
    wanted = 10 / (1 - plan.slo.percentile) if plan.slo.percentile < 1 else math.inf
    return Check(
        name="samples",
        is_passed=latency.count >= wanted,
        measured=float(latency.count),
        allowed=wanted,
        text=f"{latency.count} requests stand behind the SLO's percentile (at least {wanted:.0f})",
    )


def _generator(steps: Sequence[Step]) -> Check:
    void = [step for step in steps if step.state is StepState.VOID]
    ratio = len(void) / max(1, len(steps))
    return Check(
        name="generator",
        is_passed=ratio <= 0.1,
        measured=ratio,
        allowed=0.1,
        text=f"{len(void)} of {len(steps)} steps are void"
        + (f": {void[0].reasons[0]}" if void else ""),
    )
