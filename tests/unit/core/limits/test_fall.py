"""A fall of the limit that takes throughput, and does not shorten what is left, was wrong."""

from __future__ import annotations

import math

import pytest

from shedproxy.core import NS_PER_MS
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.fall import Fall
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS


def seen(in_flight: float, rtt_ms: float, *, samples: int = 500, base_ms: float = 10) -> Evidence:
    evidence = Evidence()
    window = WindowSummary(
        sample_count=samples,
        rtt_mean_ns=round(rtt_ms * MS),
        rtt_ratio=rtt_ms / base_ms,
        baseline_mean_ns=round(base_ms * MS),
        in_flight_mean=in_flight,
    )
    evidence.add(window, target_ns=12 * MS, memory=math.inf)
    return evidence


def fall_from(before: Evidence) -> Fall:
    fall = Fall()
    fall.begin(before, level=16.0)
    return fall


@pytest.mark.parametrize(
    ("in_flight", "rtt_ms", "is_in_vain"),
    [
        (8, 10, False),  # eight slots do what sixteen in flight did
        (6, 10, True),
        (6, 7.5, False),  # as much is done, and sooner
        (6, 25, False),  # the service takes longer now: that takes throughput at any limit
    ],
)
def test_of_eight_slots_no_more_than_eight_can_be_given_up(
    in_flight: float, rtt_ms: float, is_in_vain: bool
) -> None:
    fall = fall_from(seen(16, 20))
    assert fall.is_in_vain(seen(in_flight, rtt_ms), scatter=1.0) == is_in_vain


def test_a_few_scattered_samples_say_nothing_and_alike_ones_do() -> None:
    fall, few = fall_from(seen(16, 20)), seen(6, 10, samples=20)
    assert not fall.is_in_vain(few, scatter=2.0)
    assert fall.is_in_vain(few, scatter=0.0)


def test_scatter_is_of_latency_and_not_of_a_baseline_that_is_too_low() -> None:
    """In squared baselines of half the latency it is four times as large."""
    fall = fall_from(seen(16, 20, samples=300, base_ms=5))
    lately = seen(6, 10, samples=300, base_ms=5)
    assert fall.is_in_vain(lately, scatter=6.0)
    assert not fall.is_in_vain(seen(6, 10, samples=300), scatter=6.0)


def test_what_is_back_or_explained_is_no_fall() -> None:
    lately = seen(6, 10)
    fall = fall_from(seen(16, 20))
    fall.rise_to(10.0)
    assert fall.is_in_vain(lately, scatter=1.0), "most of it is still missing"
    fall.rise_to(15.0)
    assert not fall.is_in_vain(lately, scatter=1.0)
    fall.begin(seen(16, 20), level=16.0)
    fall.end()
    assert not fall.is_in_vain(lately, scatter=1.0)


def test_a_fall_that_goes_on_is_measured_from_its_beginning() -> None:
    fall = fall_from(seen(16, 20))
    fall.begin(seen(7, 10), level=7.0)
    assert fall.is_in_vain(seen(6, 10), scatter=0.5)
    assert not fall_from(seen(7, 10)).is_in_vain(seen(6, 10), scatter=0.5)


def test_a_fall_to_six_tenths_of_where_it_began_is_deep_and_what_has_recovered_is_none() -> None:
    fall = fall_from(seen(16, 20))
    assert not fall.is_deep(9.7)
    assert fall.is_deep(9.6)
    for _ in range(20):
        fall.rise_to(10.0)
    assert not fall.is_deep(9.6)
    fall.end()
    assert not fall.is_deep(1.0)


def test_of_nothing_there_is_nothing_to_say() -> None:
    fall = fall_from(Evidence())
    assert not fall.is_in_vain(seen(1, 10), scatter=0.0)
    assert not fall_from(seen(16, 20)).is_in_vain(Evidence(), scatter=0.0)
