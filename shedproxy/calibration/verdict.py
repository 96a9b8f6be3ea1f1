"""The answer in a sentence, and how far to believe it, with reasons. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.calibration.fit import NO_OPEN_STEPS
from shedproxy.calibration.measurement import Confidence, Plan
from shedproxy.calibration.results import Findings, Thresholds, Verdict, VerificationRun

__all__ = ["GOODPUT_MIN", "LOAD_RATIOS", "is_verified", "judge"]

LOAD_RATIOS = (0.8, 1.5, 3.0)
"""Of capacity: at each of them thresholds are proved."""
GOODPUT_MIN = 0.95
"""Of capacity, shedding on, beyond it."""
_WIDTH_HIGH, _WIDTH_MAX = 0.03, 0.10


def is_verified(runs: Sequence[VerificationRun]) -> bool | None:
    """Goodput beyond capacity kept, nobody refused below it.

    One broken promise is enough for no; for yes it takes a sound run at each of `LOAD_RATIOS`.
    """
    if any(map(_broken, _sound(runs))):
        return False
    return None if _unproved(runs) else True


def _sound(runs: Sequence[VerificationRun]) -> list[VerificationRun]:
    return [run for run in runs if run.is_shedding and not run.is_void]


def _unproved(runs: Sequence[VerificationRun]) -> list[float]:
    return [ratio for ratio in LOAD_RATIOS if ratio not in {run.load_ratio for run in _sound(runs)}]


def _broken(run: VerificationRun) -> str:
    """Which promise a run with shedding broke, or ""."""
    if run.load_ratio > 1:
        kept = run.goodput_ratio
        return f"goodput {kept:.1%} at {run.load_ratio:g}x" if kept < GOODPUT_MIN else ""
    return f"{run.refused_count} refused at {run.load_ratio:g}x" if run.refused_count else ""


def _slo_is_met(findings: Findings) -> bool | None:
    if findings.slo_rps is not None:
        return True
    # Steps that count for nothing have not broken the objective.
    return None if not findings.missing or NO_OPEN_STEPS in findings.missing else False


def judge(
    findings: Findings,
    plan: Plan,
    thresholds: Thresholds | None,
    *,
    verification: Sequence[VerificationRun] = (),
    stopped_by: str = "",
) -> Verdict:
    """Weigh everything that was found and doubted."""
    capacity = findings.capacity_rps
    verified = is_verified(verification)
    if capacity is None or thresholds is None:
        return Verdict(
            confidence=Confidence.INCONCLUSIVE,
            reasons=tuple(dict.fromkeys(filter(None, (stopped_by, *findings.missing)))),
            headline="not enough data for a capacity",
            is_verified=verified,
        )
    reasons = [check.text for check in findings.checks if not check.is_passed]
    reasons += [stopped_by] if stopped_by else []
    reasons += findings.missing
    if verification and (unproved := _unproved(verification)):
        at = ", ".join(f"{ratio:g}x" for ratio in unproved)
        reasons.append(f"no sound run through the proxy at {at}: not verified there")
    width = (capacity.high - capacity.low) / 2 / capacity.value
    failed = {check.name for check in findings.checks if not check.is_passed}
    confidence = Confidence.HIGH if not reasons and width <= _WIDTH_HIGH else Confidence.MEDIUM
    if width > _WIDTH_MAX or failed & {"little", "a-a", "generator", "drift"}:
        confidence = Confidence.INCONCLUSIVE
    if verified is False:
        confidence = Confidence.INCONCLUSIVE
        broken = map(_broken, _sound(verification))
        reasons.insert(
            0,
            "the proxy with these thresholds did not do what they promise: "
            + ", ".join(filter(None, broken)),
        )
    if not reasons:
        reasons = [f"every check passed; capacity is known to {width:.1%}"]
    cell = thresholds.cells[0]
    text = f"{capacity.value:.0f} requests/s [{capacity.low:.0f}, {capacity.high:.0f}]"
    if findings.slo_rps is not None:
        text += f", {findings.slo_rps.value:.0f}/s within {plan.slo.text or 'the SLO'}"
    return Verdict(
        confidence=confidence,
        reasons=tuple(reasons),
        headline=f"{text}; limit {cell.start}, from {cell.floor} to {cell.ceiling}",
        limit=cell.start,
        slo_is_met=_slo_is_met(findings),
        is_verified=verified,
    )
