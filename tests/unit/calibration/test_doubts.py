"""Doubts are raised where there is reason, and not where there is none."""

from __future__ import annotations

from dataclasses import replace

from harness.calibrations import a_plan, closed_step, latency, open_step

from shedproxy.calibration.doubts import all_checks
from shedproxy.calibration.measurement import Interval, StepState
from shedproxy.calibration.results import Check, Findings
from shedproxy.core import milliseconds

FOUND = Findings(
    capacity_rps=Interval(value=200, low=197, high=203),
    capacity_in_flight=8,
    slo_latency=latency(20, count=3000),
)
SOUND = [
    closed_step(8, 200 + shift, pass_number=number) for number in (1, 2, 3, 4) for shift in (-1, 1)
] + [open_step(240, p99_ms=900, throughput=201, state=StepState.OVERLOADED)]


def checks(steps=SOUND, findings=FOUND) -> dict[str, Check]:
    return {check.name: check for check in all_checks(steps, a_plan(), findings)}


def test_a_sound_calibration_passes_every_check() -> None:
    found = checks()
    assert set(found) == {
        "little", "a-a", "open-closed", "repeats", "drift", "samples", "generator",
    }  # fmt: skip
    assert all(check.is_passed for check in found.values())


def test_books_that_do_not_fit_fail_littles_law() -> None:
    assert not checks([*SOUND, closed_step(8, 200, in_flight=12.0)])["little"].is_passed


def test_books_of_work_that_scatters_are_cut_at_both_ends() -> None:
    """Of 800 requests a hundredth takes forty times as long: some of them lie across the ends."""
    latencies = replace(
        latency(20, count=800), histogram=((milliseconds(20), 792), (milliseconds(800), 8))
    )
    step = closed_step(8, 200, latency=replace(latencies, mean_ns=milliseconds(40)))
    assert checks([*SOUND, replace(step, in_flight=9.0)])["little"].is_passed
    assert not checks([*SOUND, replace(step, in_flight=16.0)])["little"].is_passed


def test_equal_steps_that_differ_fail() -> None:
    steps = [
        closed_step(8, 200 + shift, pass_number=number)
        for number in (1, 2, 3, 4)
        for shift in (-9 - number / 10, 9)
    ]
    assert not checks(steps)["a-a"].is_passed


def test_open_steps_that_end_less_fail() -> None:
    assert not checks([*SOUND[:-1], open_step(240, p99_ms=900, throughput=140)])[
        "open-closed"
    ].is_passed


def test_a_service_that_tires_fails() -> None:
    steps = [closed_step(8, 200 - 8 * number, pass_number=number) for number in range(1, 7)]
    assert not checks(steps)["drift"].is_passed


def test_what_chance_makes_of_a_trend_is_allowed() -> None:
    steps = [
        closed_step(8, rate, pass_number=number)
        for number, rate in enumerate((190, 204, 192, 206), 1)
    ]
    drift = checks(steps)["drift"]
    assert drift.is_passed
    assert 0.03 < drift.measured < drift.allowed


def test_a_wide_interval_few_samples_and_void_steps_fail() -> None:
    wide = replace(
        FOUND,
        capacity_rps=Interval(value=200, low=180, high=220),
        slo_latency=latency(20, count=400),
    )
    found = checks([*SOUND, *(replace(SOUND[0], state=StepState.VOID, reasons=("x",)),) * 2], wide)
    assert not found["repeats"].is_passed
    assert not found["samples"].is_passed
    assert not found["generator"].is_passed


def test_without_steps_little_is_said() -> None:
    assert set(checks([], Findings())) == {"generator"}
