"""From what a live proxy saw to a whole calibration: findings, thresholds and verdict.

Nothing was played, so nothing is verified, and no verdict is of high confidence: points that came
by themselves say less than steps in random order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from shedproxy.calibration.measurement import Confidence, Plan
from shedproxy.calibration.observed import ObservedFit, fit_points
from shedproxy.calibration.profile_file import profile_changes
from shedproxy.calibration.results import (
    Calibration,
    CellThresholds,
    Check,
    Findings,
    LawFit,
    ObservedLoad,
    Provenance,
    RouteFit,
    Thresholds,
    Verdict,
)
from shedproxy.core import Nanos, seconds
from shedproxy.observability.load_points import LoadPoint

__all__ = ["conclude_observed"]

_MARGIN = 1.25
_SHOWN_MAX = 1_000
_OLD_S = 86_400.0
_CHANGE_MAX = 0.12
_NO_RATE = "rate within the SLO: points are means and have no percentiles"


def conclude_observed(
    points: Sequence[LoadPoint],
    plan: Plan,
    provenance: Provenance,
    *,
    cell: str = "default",
    now_s: float,
) -> Calibration:
    """The calibration of a cell; its changes are those of an empty settings file."""
    fit = fit_points(points)
    stride = math.ceil(max(1, len(points)) / _SHOWN_MAX)
    findings, thresholds = _findings(fit), _thresholds(fit, cell)
    age_s = now_s - max((point.at_s for point in points), default=now_s)
    calibration = Calibration(
        plan=plan,
        provenance=provenance,
        steps=(),
        findings=findings,
        thresholds=thresholds,
        verification=(),
        verdict=_verdict(fit, findings, thresholds, age_s),
        observed=ObservedLoad(
            point_count=fit.point_count,
            span_ns=seconds(fit.span_s),
            upstreams=fit.upstreams,
            highest_in_flight=fit.highest_in_flight,
            highest_rps=fit.highest_rps,
            points=tuple(
                (point.in_flight, point.throughput_rps, point.latency_ms)
                for point in points[::stride]
            ),
        ),
    )
    if thresholds is None:
        return calibration
    changes = profile_changes(calibration, "")
    return replace(calibration, thresholds=replace(thresholds, changes=changes))


def _findings(fit: ObservedFit) -> Findings:
    missing = (*fit.missing, _NO_RATE) if fit.is_enough else fit.missing
    if fit.service_ns is None:
        return Findings(missing=missing)
    change = fit.changed_ratio
    return Findings(
        capacity_rps=fit.capacity_rps,
        knee_in_flight=fit.knee,
        routes=()
        if fit.knee is None
        else (
            RouteFit(
                name="*",
                baseline=fit.service_ns,
                mean=fit.service_ns,
                latency=None,
                law=LawFit(name="as seen", cv=fit.scatter, distance=1.0),
            ),
        ),
        checks=(
            Check(
                name="same service",
                is_passed=change is None,
                measured=abs((change or 1.0) - 1),
                allowed=_CHANGE_MAX,
                text="service time is the same in both halves of the time"
                if change is None
                else f"service time became {change:.2f} of what it was: fit later points only",
            ),
        ),
        missing=missing,
    )


def _thresholds(fit: ObservedFit, cell: str) -> Thresholds | None:
    weight = max(1, fit.upstreams)
    if not fit.is_enough:
        return None
    if fit.knee is None:
        carried = max(1, math.floor(fit.highest_in_flight))
        made = CellThresholds(
            name=cell, start=carried, floor=carried, ceiling=None, upstream_weight=weight
        )
    else:
        knee = fit.knee
        start = max(math.ceil(knee.value) + 1, math.ceil(_MARGIN * knee.value))
        assert fit.service_ns is not None
        made = CellThresholds(
            name=cell,
            start=start,
            floor=max(1, min(start, math.ceil(knee.value))),
            ceiling=max(start, math.ceil(2 * knee.value)),
            upstream_weight=weight,
            baseline_ns=Nanos(int(float(f"{fit.service_ns.value:.3g}"))),
        )
    return Thresholds(cells=(made,))


def _verdict(
    fit: ObservedFit, findings: Findings, thresholds: Thresholds | None, age_s: float
) -> Verdict:
    if thresholds is None:
        return Verdict(
            confidence=Confidence.INCONCLUSIVE,
            reasons=fit.missing,
            headline="not enough data for a profile",
        )
    failed = [check.text for check in findings.checks if not check.is_passed]
    reasons = [*failed, *fit.missing]
    reasons.append(
        f"nothing was played: {fit.point_count} points of live traffic, up to "
        f"{fit.highest_in_flight:.1f} in flight and {fit.highest_rps:.0f}/s"
    )
    if age_s > _OLD_S:
        reasons.append(f"the last point is {age_s / _OLD_S:.0f} days old")
    cell = thresholds.cells[0]
    if fit.capacity_rps is None:
        headline = f"at least {cell.floor} in flight; where the knee is was not seen: floor only"
    else:
        found = fit.capacity_rps
        headline = (
            f"{found.value:.0f} requests/s [{found.low:.0f}, {found.high:.0f}], as observed; "
            f"limit {cell.start}, from {cell.floor} to {cell.ceiling}"
        )
    return Verdict(
        confidence=Confidence.INCONCLUSIVE if failed else Confidence.MEDIUM,
        reasons=tuple(reasons),
        headline=headline,
        limit=cell.start,
    )
