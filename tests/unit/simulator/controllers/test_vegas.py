"""Vegas gives the numbers of `VegasLimitTest`; windows are `test_windowed.py`'s."""

from __future__ import annotations

from random import Random

import pytest

from shedproxy.core import Instant, Outcome, Permit, RequestInfo, milliseconds
from shedproxy.simulator.controllers.vegas import VegasControl

MS = milliseconds(1)


class Chance:
    """Always the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def vegas(**changes: object) -> VegasControl:
    return VegasControl(rng=Random(1), **changes)


def limits_after(control: VegasControl, *samples: tuple[int, int]) -> list[int]:
    """Of samples of a latency in ms and what was in flight."""
    limits = []
    for rtt_ms, in_flight in samples:
        control.on_sample(rtt_ms * MS, in_flight, did_drop=False)
        limits.append(control.limit)
    return limits


# --- VegasLimitTest -----------------------------------------------------------------------------


def test_large_limit_increase() -> None:
    control = vegas(initial=10_000, maximum=20_000)
    assert limits_after(control, (10_000, 5_000), (10_000, 6_000)) == [10_000, 10_024]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (((10, 10), (10, 11)), [10, 16]),
        (((10, 10), (50, 11)), [10, 9]),
        (((10, 10), (14, 14)), [10, 10]),
    ],
    ids=["increase", "decrease", "no change within thresholds"],
)
def test_published_steps(samples: tuple[tuple[int, int], ...], expected: list[int]) -> None:
    control = vegas(alpha=3, beta=6, smoothing=1.0, initial=10, maximum=20)
    assert limits_after(control, *samples) == expected


@pytest.mark.parametrize(("smoothing", "expected"), [(0.5, [100, 75, 56]), (1.0, [100, 50, 25])])
def test_decrease_with_and_without_smoothing(smoothing: float, expected: list[int]) -> None:
    control = vegas(decrease=lambda limit: limit / 2, smoothing=smoothing, initial=100, maximum=200)
    assert limits_after(control, (10, 100), (20, 100), (20, 100)) == expected


# --- and beyond ---------------------------------------------------------------------------------


def test_default() -> None:
    assert vegas().reading() == (20, 0, 0, 0.0, 0)


def test_a_drop_decreases_whatever_is_in_flight() -> None:
    control = vegas()
    control.on_sample(10 * MS, 1, did_drop=False)
    control.on_sample(10 * MS, 1, did_drop=True)
    assert control.limit == 19


def test_less_than_half_in_flight_teaches_nothing_but_the_lowest_latency() -> None:
    control = vegas()
    assert limits_after(control, (10, 9), (50, 9), (5, 9)) == [20, 20, 20]
    assert control.reading().baseline_ns == 5 * MS


@pytest.mark.parametrize(("chance", "samples"), [(0.0, 300), (0.5, 450)])
def test_the_lowest_latency_is_measured_anew_under_load(chance: float, samples: int) -> None:
    """After 30 x limit windows times 0.5 to 1; here the limit stays at 20."""
    control = VegasControl(rng=Chance(chance), maximum=20)
    control.on_sample(10 * MS, 1, did_drop=False)
    for _ in range(samples - 2):
        control.on_sample(90 * MS, 1, did_drop=False)
    assert control.baseline_ns == 10 * MS
    control.on_sample(90 * MS, 1, did_drop=False)
    assert control.baseline_ns == 90 * MS
    assert control.limit == 20


def test_it_moves_once_per_window() -> None:
    """The first that is ready sets the baseline, the second moves the limit."""
    control = vegas()
    limits = []
    for second in range(4):
        now = Instant(second * 1100 * MS)
        for permit in [control.arrive(RequestInfo(), now=now) for _ in range(15)]:
            assert isinstance(permit, Permit)
            control.release(permit, Outcome.SUCCESS, now=Instant(now + MS))
        limits.append(control.limit)
    assert limits == [20, 20, 26, 32]
