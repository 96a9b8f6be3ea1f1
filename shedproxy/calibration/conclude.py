"""What was measured becomes a whole calibration: findings, thresholds, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shedproxy.calibration.derive import derive_thresholds
from shedproxy.calibration.fit import fit_findings
from shedproxy.calibration.measurement import Plan
from shedproxy.calibration.profile_file import profile_changes
from shedproxy.calibration.results import (
    Calibration,
    Provenance,
    RefusalCost,
    ResidentsFit,
    VerificationRun,
)
from shedproxy.calibration.run import Measured
from shedproxy.calibration.verdict import judge
from shedproxy.workload import RandomSource

__all__ = ["conclude"]


def conclude(
    plan: Plan,
    measured: Measured,
    provenance: Provenance,
    *,
    rng: RandomSource,
    verification: Sequence[VerificationRun] = (),
    refusal: RefusalCost | None = None,
    residents: ResidentsFit | None = None,
) -> Calibration:
    """The calibration; its changes are those of an empty settings file."""
    findings = fit_findings(measured.steps, plan, rng=rng, routes=measured.routes)
    findings = replace(
        findings,
        refusal=refusal,
        refusal_cost=None if refusal is None else refusal.ratio,
        residents=residents,
    )
    thresholds = derive_thresholds(findings, plan)
    if thresholds is not None and residents is not None and residents.limit is not None:
        cells = tuple(replace(cell, resident_limit=residents.limit) for cell in thresholds.cells)
        thresholds = replace(thresholds, cells=cells)
    calibration = Calibration(
        plan=plan,
        provenance=provenance,
        steps=tuple(measured.steps),
        findings=findings,
        thresholds=thresholds,
        verification=tuple(verification),
        verdict=judge(
            findings,
            plan,
            thresholds,
            verification=verification,
            stopped_by=measured.stopped_by,
        ),
    )
    if thresholds is None:
        return calibration
    changes = profile_changes(calibration, "")
    return replace(calibration, thresholds=replace(thresholds, changes=changes))
