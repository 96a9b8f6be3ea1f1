"""Gradient2 follows its published formula; windows are `test_windowed.py`'s."""

from __future__ import annotations

import pytest

from shedproxy.core import ExponentialMean, Instant, Outcome, Permit, RequestInfo, milliseconds
from shedproxy.simulator.controllers.gradient2 import Gradient2Control

MS = milliseconds(1)


def test_the_long_mean_warms_up_as_published() -> None:
    """`ExpAvgMeasurementTest`: the mean of ten, then a weight of 2 / 101."""
    mean = ExponentialMean(window=100, warmup=10)
    seen = [mean.add(index + 10) for index in range(10)]
    assert seen == pytest.approx([10.0, 10.5, 11, 11.5, 12, 12.5, 13, 13.5, 14, 14.5], abs=0.01)
    assert mean.add(100) == pytest.approx(16.2, abs=0.1)


def test_default() -> None:
    assert Gradient2Control().reading() == (20, 0, 0, 0.0, 0)


def test_steady_latency_adds_a_fifth_of_four_slots() -> None:
    """20 -> 20.8 -> 21.6; drops are ignored."""
    control = Gradient2Control()
    limits = []
    for _ in range(6):
        control.on_sample(10 * MS, 20, did_drop=True)
        limits.append(control.limit)
    assert limits == [20, 21, 22, 23, 24, 24]
    assert control.reading().baseline_ns == 10 * MS


def test_a_slowdown_lowers_it() -> None:
    """Mean 19 of ten at 10 and one at 100: gradient 0.5 at least, 100 -> 90.8."""
    control = Gradient2Control(initial=100)
    for _ in range(9):
        control.on_sample(10 * MS, 0, did_drop=False)
    control.on_sample(100 * MS, 100, did_drop=False)
    assert control.limit == 90
    assert control.baseline_ns == 19 * MS


def test_less_than_half_in_flight_moves_the_mean_only() -> None:
    control = Gradient2Control(initial=10, minimum=20)
    control.on_sample(10 * MS, 4, did_drop=False)
    assert (control.limit, control.baseline_ns) == (10, 10 * MS)
    control.on_sample(10 * MS, 5, did_drop=False)
    assert control.limit == 20, "the minimum holds from the first move on"


def test_a_slow_period_is_forgotten_fast() -> None:
    control = Gradient2Control()
    for _ in range(10):
        control.on_sample(100 * MS, 0, did_drop=False)
    control.on_sample(10 * MS, 0, did_drop=False)
    assert control.baseline_ns == pytest.approx((100 - 90 * 2 / 601) * 0.95 * MS, abs=1)


@pytest.mark.parametrize("rtt_ms", [10, 10_000])
def test_steady_latency_ratchets_up_to_the_maximum_however_bad(rtt_ms: int) -> None:
    control = Gradient2Control()
    for _ in range(300):
        control.on_sample(rtt_ms * MS, control.limit, did_drop=False)
    assert control.limit == 200


def test_it_moves_once_per_window() -> None:
    control = Gradient2Control()
    limits = []
    for second in range(4):
        now = Instant(second * 1100 * MS)
        for permit in [control.arrive(RequestInfo(), now=now) for _ in range(15)]:
            assert isinstance(permit, Permit)
            control.release(permit, Outcome.SUCCESS, now=Instant(now + MS))
        limits.append(control.limit)
    assert limits == [20, 20, 21, 22], "the first window has one sample, and is thrown away"
