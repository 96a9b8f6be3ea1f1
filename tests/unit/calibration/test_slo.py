"""Up to which rate the SLO holds."""

from __future__ import annotations

import random

import pytest
from harness.calibrations import SLO, a_plan, a_step, latency, open_step, rehearsed

from shedproxy.calibration.fit import fit_capacity
from shedproxy.calibration.measurement import Interval, Phase, StepState
from shedproxy.calibration.slo import (
    merge_percentiles,
    next_levels,
    open_levels,
    percentile_ns,
    slo_rate,
)
from shedproxy.core import milliseconds

RNG = random.Random(1)
CAPACITY = Interval(value=200, low=196, high=204)


def test_steps_of_one_rate_are_one_level_and_void_ones_are_none() -> None:
    steps = [
        open_step(180, p99_ms=100),
        open_step(181, p99_ms=100),
        open_step(100, p99_ms=50),
        open_step(190, p99_ms=1, state=StepState.VOID),
        a_step(Phase.CLOSED, concurrency=4),
    ]
    levels = open_levels(steps)
    assert [round(level.rate_rps) for level in levels] == [100, 180]
    assert len(levels[1].steps) == 2


def test_percentiles_are_merged_by_samples_and_not_averaged() -> None:
    merged = merge_percentiles([latency(10, count=900), latency(100, count=100), None])
    assert merged is not None
    assert merged.count == 1000
    assert merged.p50_ns == pytest.approx(milliseconds(10), rel=0.03)
    assert merged.p99_ns == pytest.approx(milliseconds(100), rel=0.03)
    assert percentile_ns(merged, 0.95) == pytest.approx(milliseconds(100), rel=0.03)
    assert merge_percentiles([None]) is None


def test_the_rate_lies_between_the_level_that_passes_and_the_one_that_does_not() -> None:
    steps = [open_step(r, p99_ms=p) for r, p in ((140, 80), (180, 150), (190, 400))]
    found = slo_rate(steps, SLO, capacity=CAPACITY, rng=RNG)
    assert found is not None
    assert 180 < found.rate_rps.value < 190
    assert found.is_bound
    assert found.in_flight == pytest.approx(180 * 0.02)


def test_errors_break_the_slo_as_latency_does() -> None:
    steps = [open_step(140, p99_ms=80), open_step(180, p99_ms=90, failed_count=100)]
    found = slo_rate(steps, SLO, capacity=CAPACITY, rng=RNG)
    assert found is not None
    assert 140 <= found.rate_rps.value < 180


def test_where_nothing_broke_it_the_highest_rate_played_stands_and_says_so() -> None:
    found = slo_rate([open_step(140, p99_ms=80)], SLO, capacity=CAPACITY, rng=RNG)
    assert found is not None
    assert found.rate_rps.value == pytest.approx(140)
    assert not found.is_bound


def test_where_no_rate_kept_it_there_is_none() -> None:
    assert slo_rate([open_step(140, p99_ms=800)], SLO, capacity=CAPACITY, rng=RNG) is None
    assert slo_rate([], SLO, capacity=CAPACITY, rng=RNG) is None


def test_between_rates_that_were_played_nothing_is_sure() -> None:
    steps = [open_step(r, p99_ms=p) for r, p in ((140, 80), (180, 150), (190, 400))]
    found = slo_rate(steps, SLO, capacity=CAPACITY, rng=RNG)
    assert found is not None
    assert (found.rate_rps.low, found.rate_rps.high) == (180, 190)
    unbound = slo_rate(steps[:2], SLO, capacity=CAPACITY, rng=RNG)
    assert unbound is not None
    assert (unbound.rate_rps.value, unbound.rate_rps.high) == (180, CAPACITY.high)


def test_a_rate_that_came_out_higher_than_it_was_planned_counts() -> None:
    steps = [
        open_step(180, p99_ms=80, offered_rps=190.0),
        open_step(184, p99_ms=90, offered_rps=182.0),
    ]
    found = slo_rate(steps, SLO, capacity=CAPACITY, rng=RNG)
    assert found is not None
    assert found.rate_rps.value == 190


def test_the_interval_holds_what_erlangs_queue_keeps_for_good() -> None:
    """Steps of some seconds alone said 191 to 196 requests/s, and were sure of it."""
    held = 0
    for seed in range(1, 7):
        steps, _ = rehearsed(a_plan(), seed=seed)
        capacity, _ = fit_capacity(steps)
        found = slo_rate(steps, SLO, capacity=capacity, rng=random.Random(seed))
        assert found is not None
        assert found.rate_rps.value == pytest.approx(180.5, rel=0.08)
        held += found.rate_rps.low <= 180.5 <= found.rate_rps.high
    assert held >= 5


def test_levels_close_in_on_where_it_breaks() -> None:
    assert next_levels([], 200, SLO, count=2) == [0.9, 0.7]
    steps = [open_step(140, p99_ms=80), open_step(180, p99_ms=800)]
    assert next_levels(steps, 200, SLO, count=3) == pytest.approx([0.8, 0.7, 0.9])
    assert next_levels([open_step(140, p99_ms=800)], 200, SLO, count=1) == pytest.approx([0.35])
