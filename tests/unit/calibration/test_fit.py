"""From steps to findings."""

from __future__ import annotations

import random

import pytest
from harness.calibrations import a_plan, a_step, closed_step, latency, open_step, rehearsed

from shedproxy.calibration.fit import fit_findings
from shedproxy.calibration.measurement import Phase, StepState
from shedproxy.calibration.results import Findings
from shedproxy.core import seconds


def fitted(steps) -> Findings:
    return fit_findings(steps, a_plan(), rng=random.Random(1))


PAIRS = [
    closed_step(8, 200 + shift, pass_number=number) for number in (1, 2, 3) for shift in (-2, 2)
]


def test_capacity_is_read_where_the_search_found_it() -> None:
    found = fitted([*PAIRS, closed_step(4, 203, length_ns=seconds(1))])
    assert found.capacity_rps is not None
    assert found.capacity_rps.value == pytest.approx(200)
    assert found.capacity_rps.low < 200 < found.capacity_rps.high
    assert found.capacity_in_flight == 8


def test_a_short_step_at_that_concurrency_counts_for_its_length() -> None:
    """A step of the search's own length, taken in, is a tenth of the others, and scatters more."""
    found = fitted([*PAIRS, closed_step(8, 280, length_ns=seconds(1))])
    assert found.capacity_rps is not None
    assert found.capacity_rps.value < 204


def test_a_concurrency_that_is_clearly_faster_is_taken_instead() -> None:
    faster = [closed_step(4, 260 + n, length_ns=seconds(2)) for n in range(3)]
    assert fitted([*PAIRS, *faster]).capacity_in_flight == 4
    # Known too badly it makes capacity unknown: the one at hand is wrong for sure.
    found = fitted([*PAIRS, *faster[:2]])
    assert found.capacity_rps is None
    assert found.missing[0].startswith("capacity")


def test_a_concurrency_that_more_in_flight_outdoes_is_no_capacity() -> None:
    """Each of the faster ones alone could be luck; together they are not."""
    faster = [
        closed_step(level, rate, length_ns=seconds(1))
        for level, rate in ((12, 232), (16, 246), (16, 238), (24, 244))
    ]
    found = fitted([*PAIRS, *faster])
    assert found.capacity_rps is None
    assert found.missing[0].startswith("capacity")


def test_void_steps_count_for_nothing() -> None:
    void = [closed_step(8, 20, state=StepState.VOID, reasons=("late",)) for _ in range(9)]
    found = fitted([*PAIRS, *void])
    assert found.capacity_rps is not None
    assert found.capacity_rps.value == pytest.approx(200)


def test_of_too_little_there_is_no_guess() -> None:
    found = fitted(PAIRS[:2])
    assert found.capacity_rps is None
    assert found.slo_rps is None
    assert found.usl is None
    assert [text.split(":")[0] for text in found.missing] == [
        "capacity", "rate within the SLO", "USL",
    ]  # fmt: skip


def test_the_knee_is_capacity_times_latency_without_load() -> None:
    idle = a_step(Phase.IDLE, concurrency=1, latency=latency(20))
    found = fitted([idle, *PAIRS])
    assert found.knee_in_flight is not None
    assert found.knee_in_flight.value == pytest.approx(4)


def test_the_knee_learns_from_all_that_did_not_wait_and_doubts_their_mean() -> None:
    idle = a_step(Phase.IDLE, concurrency=1, latency=latency(20, count=100, p99_ms=80))
    two = closed_step(2, 100, latency=latency(24, count=300, p99_ms=80))
    crowded = closed_step(4, 200, latency=latency(90))
    alone, both = (fitted([*steps, *PAIRS]) for steps in ([idle], [idle, two, crowded]))
    assert alone.knee_in_flight is not None
    assert both.knee_in_flight is not None
    assert both.knee_in_flight.value == pytest.approx(200 * 0.023, rel=0.01)
    widths = [
        (knee.high - knee.low) / knee.value for knee in (alone.knee_in_flight, both.knee_in_flight)
    ]
    assert widths[0] > 1.5 * widths[1] > 0.05


def test_goodput_that_falls_is_a_collapse() -> None:
    assert fitted([*PAIRS, open_step(260, p99_ms=900, throughput=90)]).collapse_rps == 260
    assert fitted([*PAIRS, open_step(260, p99_ms=900, throughput=199)]).collapse_rps is None


def test_a_slo_that_no_rate_keeps_is_said() -> None:
    found = fitted([*PAIRS, open_step(100, p99_ms=900)])
    assert found.slo_rps is None
    assert any("not even the lowest rate" in text for text in found.missing)


def test_a_whole_calibration_of_a_station_finds_everything() -> None:
    plan = a_plan(budget_ns=seconds(180), repeats=5, is_quick=False)
    steps, _ = rehearsed(plan, seed=7)
    found = fit_findings(steps, plan, rng=random.Random(1))
    assert found.capacity_rps is not None
    assert found.capacity_rps.value == pytest.approx(200, rel=0.05)
    assert found.slo_rps is not None
    assert 160 < found.slo_rps.value <= found.capacity_rps.value
    assert found.usl is not None
    assert found.usl.peak_in_flight is None
    assert {knee.curve for knee in found.knees} == {"goodput", "latency"}
    assert found.collapse_rps is None
    assert not found.missing
