"""Shapes of load by name: their arrivals add up to what they say."""

from __future__ import annotations

import random

import pytest

from shedproxy.core import Nanos, seconds
from shedproxy.workload.shapes import LoadShape, load_shape


def counts(shape: LoadShape, *bounds_s: float, chance: bool = False) -> list[int]:
    """Arrivals between the bounds."""
    rng = random.Random(1) if chance else None
    offsets = list(shape.curve.arrivals(duration_ns=shape.length_ns, rng=rng))
    assert offsets == sorted(offsets)
    assert not offsets or offsets[-1] < shape.length_ns
    return [
        sum(seconds(low) <= offset < seconds(high) for offset in offsets)
        for low, high in zip(bounds_s, bounds_s[1:], strict=False)
    ]


def test_steady_is_the_higher_rate_all_along_and_constant_gaps_are_equal() -> None:
    shape = load_shape("steady", low_rps=50, high_rps=50, length_s=10)
    assert counts(shape, 0, 5, 10) == [250, 250]
    offsets = list(shape.curve.arrivals(duration_ns=seconds(1), rng=None))
    assert offsets[:3] == [Nanos(0), seconds(0.02), seconds(0.04)]
    assert counts(shape, 0, 10, chance=True)[0] == pytest.approx(500, rel=0.15)


def test_a_step_has_a_level_for_each_rate() -> None:
    shape = load_shape("step", low_rps=50, high_rps=150, length_s=15, step_count=3)
    assert [level.rate_rps for level in shape.levels] == [50, 100, 150]
    assert [(level.from_ns, level.until_ns) for level in shape.levels] == [
        (seconds(0), seconds(5)), (seconds(5), seconds(10)), (seconds(10), seconds(15)),
    ]  # fmt: skip
    assert counts(shape, 0, 5, 10, 15) == pytest.approx([250, 500, 750], abs=1)
    assert shape.highest_rps == 150


def test_a_ramp_climbs_evenly() -> None:
    shape = load_shape("ramp", low_rps=100, high_rps=300, length_s=10)
    (first, last, everything) = (*counts(shape, 0, 5, 10), *counts(shape, 0, 10))
    assert everything == pytest.approx(2000, rel=0.01)
    assert last - first == pytest.approx(500, rel=0.02)
    assert shape.highest_rps == 300


def test_pulses_come_at_the_end_of_each_interval() -> None:
    shape = load_shape("pulse", low_rps=10, high_rps=100, length_s=20, every_s=10, pulse_s=2)
    assert counts(shape, 0, 8, 10, 18, 20) == pytest.approx([80, 200, 80, 200], abs=1)
    assert shape.highest_rps == 100


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("steady", {"low_rps": 0}, "above 0"),
        ("steady", {"length_s": 0}, "above 0"),
        ("steady", {"low_rps": 9, "high_rps": 3}, "the lower one first"),
        ("ramp", {"low_rps": 20}, "try 50..400"),
        ("step", {"step_count": 1}, "two or more"),
        ("pulse", {"pulse_s": 10.0}, "shorter than"),
        ("pulse", {"every_s": 99.0}, "shorter than"),
        ("sine", {}, "none of steady, step, ramp, pulse, search"),
    ],
)
def test_what_does_not_go_together_is_said(name: str, changes: dict, says: str) -> None:
    values = {"low_rps": 10, "high_rps": 20, "length_s": 30} | changes
    with pytest.raises(ValueError, match=says):
        load_shape(name, **values)
