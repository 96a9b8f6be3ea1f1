"""A change counts when it is more than noise, and a loss when it is above the bound besides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.sample_report import sample_calibration

from shedproxy.calibration.comparison import (
    Comparison,
    Difference,
    Judgement,
    Result,
    compare,
    judge,
    overall,
)
from shedproxy.calibration.results import Calibration, Confidence, Interval, Slo
from shedproxy.core import Nanos

BASE = sample_calibration()


def with_capacity(value: float, half: float) -> Calibration:
    interval = Interval(value=value, low=value - half, high=value + half)
    return replace(BASE, findings=replace(BASE.findings, capacity_rps=interval))


def figure(comparison: Comparison, name: str) -> Difference:
    return next(each for each in comparison.differences if each.name == name)


def line(before: Calibration, after: Calibration, name: str, bound: float = 0.1) -> Judgement:
    lines = judge(compare(before, after), max_regression=bound, after=after)
    return next(each for each in lines if each.name == name)


def test_a_report_against_itself_is_no_change() -> None:
    comparison = compare(BASE, BASE)
    assert not any(each.is_certain for each in comparison.differences)
    assert comparison.obstacles == comparison.remarks == ()
    lines = judge(comparison, max_regression=0.1, after=BASE)
    assert overall(lines, is_strict=False) is Result.PASSED


def test_errors_of_a_ratio_add_up_in_squares() -> None:
    """3 % and 4 % are 5 %."""
    change = figure(compare(with_capacity(100, 3), with_capacity(100, 4)), "capacity").change
    assert change is not None
    assert (change.value, change.low, change.high) == pytest.approx((0, -0.0488, 0.0513), abs=1e-3)


@pytest.mark.parametrize(
    ("after", "half", "result"),
    [
        (100.0, 2.0, Result.PASSED),
        (92.0, 2.0, Result.PASSED),
        (80.0, 2.0, Result.FAILED),
        (120.0, 2.0, Result.PASSED),
        (85.0, 40.0, Result.BLIND),
        (100.0, 20.0, Result.BLIND),
    ],
)
def test_a_loss_fails_when_it_is_sure_and_above_the_bound(
    after: float, half: float, result: Result
) -> None:
    assert line(with_capacity(100, 2), with_capacity(after, half), "capacity").result is result


def test_latency_is_lost_when_it_grows() -> None:
    slower = replace(
        BASE.findings.routes[0], baseline=Interval(value=17e6, low=16.8e6, high=17.2e6)
    )
    after = replace(BASE, findings=replace(BASE.findings, routes=(slower,)))
    found = line(BASE, after, "latency without load, all routes")
    assert found.result is Result.FAILED
    assert "lost 21.4%" in found.text


def test_what_the_report_lacks_is_unknown_and_what_the_base_lacks_is_not_asked() -> None:
    without = replace(BASE, findings=replace(BASE.findings, capacity_rps=None))
    assert line(BASE, without, "capacity").result is Result.UNKNOWN
    lines = judge(compare(without, BASE), max_regression=0.1, after=BASE)
    assert "capacity" not in {each.name for each in lines}


def test_goodput_that_is_gone_is_a_loss_and_not_a_figure_that_is_missing() -> None:
    gone = tuple(
        replace(run, goodput_rps=0.0, goodput_ratio=0.0)
        if run.is_shedding and run.load_ratio == 3
        else run
        for run in BASE.verification
    )
    found = line(BASE, replace(BASE, verification=gone), "goodput at 3 x")
    assert found.result is Result.FAILED
    assert found.text.startswith("lost 100.0%")


def test_thresholds_that_did_not_hold_fail() -> None:
    bad = replace(BASE, verdict=replace(BASE.verdict, is_verified=False))
    assert line(BASE, bad, "thresholds verified").result is Result.FAILED


def test_other_objectives_and_inconclusive_reports_are_no_basis() -> None:
    slo = Slo(percentile=0.95, latency_ns=Nanos(1), error_ratio=0.0)
    other = replace(BASE, plan=replace(BASE.plan, slo=slo))
    assert "the objectives differ" in compare(BASE, other).obstacles[0]
    vague = replace(BASE, verdict=replace(BASE.verdict, confidence=Confidence.INCONCLUSIVE))
    assert "the base is inconclusive" in compare(vague, BASE).obstacles[0]
    assert line(BASE, other, "comparable").result is Result.UNKNOWN


def test_other_circumstances_are_remarked() -> None:
    moved = replace(
        BASE,
        provenance=replace(BASE.provenance, machine=(("cores", "64"), ("load", "0.9"))),
        plan=replace(BASE.plan, engine="locust", classes=()),
    )
    assert len(compare(BASE, moved).remarks) == 3


def test_builds_of_the_service_are_told_apart_where_they_are_named() -> None:
    def of(build: str, load: str = "0.1") -> Calibration:
        machine = (*BASE.provenance.machine[:-1], ("load", load))
        made = replace(BASE.provenance, target_build=build, machine=machine)
        return replace(BASE, provenance=made)

    assert compare(of("7"), of("7", load="2.0")).remarks == compare(of(""), of("")).remarks == ()
    assert compare(of("7"), of("8")).remarks == ("another build of the service: 7, then 8",)
    assert compare(of(""), of("8")).remarks == (
        "perhaps another build of the service: one is of 8, the other does not say",
    )


def test_the_goodput_of_a_run_without_windows_stands_alone() -> None:
    runs = tuple(replace(run, windows=()) for run in BASE.verification)
    before = figure(compare(replace(BASE, verification=runs), BASE), "goodput at 3 x").before
    assert before is not None
    assert before.low == before.value == before.high


@pytest.mark.parametrize(
    ("results", "plain", "strict"),
    [
        ([Result.PASSED], Result.PASSED, Result.PASSED),
        ([Result.PASSED, Result.BLIND], Result.PASSED, Result.UNKNOWN),
        ([Result.PASSED, Result.UNKNOWN], Result.UNKNOWN, Result.UNKNOWN),
        ([Result.UNKNOWN, Result.FAILED], Result.FAILED, Result.FAILED),
        ([], Result.UNKNOWN, Result.UNKNOWN),
    ],
)
def test_the_worst_decides(results: list[Result], plain: Result, strict: Result) -> None:
    lines = [Judgement(name="x", result=result, text="") for result in results]
    assert overall(lines, is_strict=False) is plain
    assert overall(lines, is_strict=True) is strict
