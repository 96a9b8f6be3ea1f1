"""Whether more in flight does more, beyond what chance makes of few answers."""

from __future__ import annotations

import math

import pytest
from harness.calibrations import a_step, closed_step, latency, open_step

from shedproxy.calibration.measurement import Phase, StepState
from shedproxy.calibration.saturation import (
    closed_steps,
    gain_doubt,
    is_faster,
    is_outdone,
    pooled_rps,
)
from shedproxy.core import seconds


def test_only_closed_steps_that_count_are_of_the_sweep() -> None:
    good = closed_step(4, 200)
    others = [
        closed_step(4, 200, state=StepState.VOID),
        open_step(100, p99_ms=30),
        a_step(Phase.IDLE, concurrency=1),
        a_step(Phase.SEARCH, concurrency=4),
    ]
    assert closed_steps([good, *others]) == [good]


def test_throughput_is_over_all_time() -> None:
    steps = [
        closed_step(4, 100, length_ns=seconds(4.5)),
        closed_step(4, 200, length_ns=seconds(2.5)),
    ]
    # Four seconds and two are counted.
    assert pooled_rps(steps) == pytest.approx((4 * 100 + 2 * 200) / 6)


def test_a_gain_is_known_by_the_scatter_and_the_number_of_answers() -> None:
    equal = closed_step(4, 200, latency=latency(20, count=1000))
    apart = closed_step(4, 200, latency=latency(20, p99_ms=400, count=1000))
    assert gain_doubt([equal], [equal]) < 0.2 * gain_doubt([apart], [apart])
    assert gain_doubt([apart] * 4, [apart] * 4) == pytest.approx(gain_doubt([apart], [apart]) / 2)
    assert gain_doubt([closed_step(4, 200, latency=None)], [apart]) == math.inf


def test_more_in_flight_outdoes_by_far_more_than_chance_only() -> None:
    at = [closed_step(4, 200), closed_step(4, 210)]
    assert is_outdone([*at, closed_step(8, 380)], 4)
    assert not is_outdone([*at, closed_step(8, 380)], 8)
    assert not is_outdone([*at, closed_step(8, 215)], 4)
    # A few dozen answers, one of them very late, say nothing of a gain of a third.
    few = latency(20, p99_ms=400, count=50)
    assert not is_outdone([*at, closed_step(8, 270, latency=few)], 4)
    assert not is_outdone(at, 4)
    # Nothing left at all while the service hung: what that is worth nobody can say.
    hung = closed_step(4, 200, throughput_rps=0.0, latency=None)
    assert not is_outdone([hung, closed_step(8, 380)], 4)


def test_faster_is_judged_by_what_the_others_scatter() -> None:
    steady = [closed_step(4, 200 + shift) for shift in (-2, 2, -1, 1)]
    loose = [closed_step(4, 200 + shift) for shift in (-60, 60, -30, 30)]
    faster = [closed_step(8, 240)]
    assert is_faster(faster, steady, level=0.999, least=0.1)
    assert not is_faster(faster, loose, level=0.999, least=0.1)
    assert not is_faster(faster, steady, level=0.999, least=0.25)
