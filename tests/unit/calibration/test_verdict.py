"""The answer, and how far to believe it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.calibrations import HEALTH, a_plan, latency

from shedproxy.calibration.derive import derive_thresholds
from shedproxy.calibration.fit import NO_OPEN_STEPS
from shedproxy.calibration.measurement import Confidence, Interval
from shedproxy.calibration.results import Check, Findings, VerificationRun
from shedproxy.calibration.verdict import is_verified, judge

FOUND = Findings(
    capacity_rps=Interval(value=200, low=196, high=204),
    capacity_in_flight=8,
    knee_in_flight=Interval(value=4.1, low=4.0, high=4.2),
    slo_rps=Interval(value=180, low=170, high=185),
    slo_latency=latency(20),
)
THRESHOLDS = derive_thresholds(FOUND, a_plan())


def run(ratio: float, **changes: object) -> VerificationRun:
    values: dict[str, object] = {
        "load_ratio": ratio, "is_shedding": True, "offered_rps": 200 * ratio, "goodput_rps": 199,
        "goodput_ratio": 0.99, "offered_count": 9000, "served_count": 9000, "refused_count": 0,
        "failed_count": 0, "latency": None, "refusal": None, "health": HEALTH,
    }  # fmt: skip
    return VerificationRun(**(values | changes))


def test_without_a_doubt_confidence_is_high() -> None:
    verdict = judge(FOUND, a_plan(), THRESHOLDS, verification=[run(0.8), run(1.5), run(3)])
    assert verdict.confidence is Confidence.HIGH
    assert verdict.is_verified
    assert verdict.headline.startswith("200 requests/s [196, 204], 180/s within")
    assert verdict.limit == 6


@pytest.mark.parametrize(
    ("name", "confidence"),
    [("samples", Confidence.MEDIUM), ("drift", Confidence.INCONCLUSIVE)],
)
def test_a_doubt_that_holds_is_told_and_lowers_confidence(name, confidence) -> None:
    check = Check(name=name, is_passed=False, measured=1, allowed=0, text="so it is")
    verdict = judge(replace(FOUND, checks=(check,)), a_plan(), THRESHOLDS)
    assert verdict.confidence is confidence
    assert verdict.reasons == ("so it is",)
    assert verdict.is_verified is None


@pytest.mark.parametrize(
    ("missing", "is_met"),
    [
        ((NO_OPEN_STEPS,), None),
        (("rate within the SLO: not even the lowest rate played kept p99",), False),
    ],
)
def test_an_objective_is_broken_by_what_was_measured_only(missing, is_met) -> None:
    found = replace(FOUND, slo_rps=None, slo_latency=None, missing=missing)
    assert judge(found, a_plan(), THRESHOLDS).slo_is_met is is_met
    assert judge(FOUND, a_plan(), THRESHOLDS).slo_is_met is True


def test_too_little_is_no_answer() -> None:
    verdict = judge(Findings(missing=("capacity: too few",)), a_plan(), None, stopped_by="why")
    assert verdict.confidence is Confidence.INCONCLUSIVE
    assert verdict.reasons == ("why", "capacity: too few")
    assert verdict.limit is None


def test_a_wide_interval_is_no_answer_either() -> None:
    wide = replace(FOUND, capacity_rps=Interval(value=200, low=170, high=230))
    assert judge(wide, a_plan(), THRESHOLDS).confidence is Confidence.INCONCLUSIVE


@pytest.mark.parametrize("last", [(), (run(3, is_void=True),)])
def test_what_was_proved_at_some_loads_only_is_not_called_verified(last) -> None:
    verdict = judge(FOUND, a_plan(), THRESHOLDS, verification=[run(0.8), run(1.5), *last])
    assert verdict.is_verified is None
    assert verdict.confidence is Confidence.MEDIUM
    assert verdict.reasons == ("no sound run through the proxy at 3x: not verified there",)


def test_thresholds_that_do_not_hold_are_said_first() -> None:
    assert is_verified([run(3, goodput_ratio=0.8)]) is False
    assert is_verified([run(0.8, refused_count=1)]) is False
    bare = run(3, goodput_ratio=0.8, is_shedding=False)
    assert is_verified([run(0.8), run(1.5), bare, run(3)]) is True
    # Few answers are no excuse: a run is to be long enough.
    assert is_verified([run(3, goodput_ratio=0.949, served_count=100)]) is False
    missed = [run(0.8, refused_count=2), run(3, goodput_ratio=0.8)]
    verdict = judge(FOUND, a_plan(), THRESHOLDS, verification=missed)
    assert verdict.reasons[0].endswith("promise: 2 refused at 0.8x, goodput 80.0% at 3x")
