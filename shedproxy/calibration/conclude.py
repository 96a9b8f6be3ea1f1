"""What was measured becomes a whole calibration: findings, thresholds, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shedproxy.calibration.derive import derive_thresholds
from shedproxy.calibration.fit import fit_findings
from shedproxy.calibration.measurement import Plan
from shedproxy.calibration.profile_file import profile_changes
from shedproxy.calibration.results import Calibration, Provenance, VerificationRun
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
) -> Calibration:
    """The calibration; its changes are those of an empty settings file."""
    findings = fit_findings(measured.steps, plan, rng=rng, routes=measured.routes)
    thresholds = derive_thresholds(findings, plan)
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
