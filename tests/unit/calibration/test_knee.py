"""Knees of curves whose knee is known."""

from __future__ import annotations

import random

import pytest
from harness.calibrations import open_step

from shedproxy.calibration.knee import broken_line, goodput_knee, kneedle, latency_knee
from shedproxy.calibration.measurement import Slo
from shedproxy.core import milliseconds

SLO = Slo(percentile=0.99, latency_ns=milliseconds(250), error_ratio=0.005)


def test_the_knee_of_figure_2_is_where_its_authors_found_it() -> None:
    xs = [i / 9 for i in range(10)]
    assert kneedle(xs, [5 - 1 / (x + 0.1) for x in xs]) == pytest.approx(0.22, abs=0.005)


def test_a_straight_line_has_no_knee() -> None:
    assert kneedle([0, 1, 2], [0, 1, 2]) is None
    assert kneedle([0, 1], [0, 1]) is None
    assert broken_line([(x, x) for x in (1.0, 2.0, 3.0)]) is None


def test_a_broken_line_breaks_where_goodput_does() -> None:
    points = [(rate, min(rate, 200.0)) for rate in (100.0, 150.0, 180.0, 220.0, 260.0)]
    assert broken_line(points) == pytest.approx(200, rel=1e-6)


def test_both_knees_of_steps_have_intervals() -> None:
    rng = random.Random(1)
    rates = (100, 140, 160, 180, 190, 220, 260)
    steps = [
        open_step(rate, p99_ms=20 / max(0.05, 1 - rate / 200), throughput=min(rate, 200))
        for rate in rates
    ]
    goodput = goodput_knee(steps, rng=rng)
    latency = latency_knee(steps, SLO, rng=rng)
    assert goodput is not None
    assert latency is not None
    assert goodput.rate_rps.value == pytest.approx(200)
    assert 140 <= latency.rate_rps.value <= 190
    for knee in (goodput, latency):
        offered = {step.offered_rps for step in steps}
        assert offered & {knee.rate_rps.low, knee.rate_rps.high}, "no surer than rates are apart"
        assert knee.rate_rps.low < knee.rate_rps.value < knee.rate_rps.high
    assert goodput_knee(steps[:2], rng=rng) is None
    assert latency_knee(steps[:2], SLO, rng=rng) is None


def test_the_interval_knows_that_beyond_the_knee_each_level_was_played_once() -> None:
    held = 0
    for seed in range(25):
        rng = random.Random(seed)
        error = (200 / 4.5) ** 0.5  # of what is answered in the 4.5 s of a step
        steps = [
            open_step(
                rate,
                p99_ms=20,
                throughput=rate if rate < 200 else 200 + rng.gauss(0, error),
            )
            for rate in (100, 140, 180, 198, 202, 220, 260)
        ]
        knee = goodput_knee(steps, rng=rng)
        assert knee is not None
        held += knee.rate_rps.low <= 200 <= knee.rate_rps.high
    assert held >= 20
