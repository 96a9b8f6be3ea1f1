"""A change of the service shows in the last samples, twice in a row; chance does not."""

from __future__ import annotations

import math
import random

import pytest

from shedproxy.core import NS_PER_MS
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.limits.fall import Fall
from shedproxy.core.limits.lately import SAMPLES, Change, Lately
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS
ENOUGH = round(SAMPLES)


def window(rtt_ms: float, *, samples: int = ENOUGH, baseline_ms: float = 10) -> WindowSummary:
    return WindowSummary(
        sample_count=samples,
        rtt_mean_ns=round(rtt_ms * MS),
        rtt_ratio=rtt_ms / baseline_ms,
        baseline_mean_ns=round(baseline_ms * MS),
        in_flight_mean=8.0,
    )


def usual(rtt_ms: float) -> Evidence:
    evidence = Evidence()
    evidence.add(window(rtt_ms, samples=1000), target_ns=12 * MS, memory=math.inf)
    return evidence


def told(*rtts_ms: float, usual_ms: float, scatter: float = 0.0) -> list[Change | None]:
    lately, changes = Lately(), []
    for rtt_ms in rtts_ms:
        lately.add(window(rtt_ms), target_ns=12 * MS, scatter=scatter)
        changes.append(lately.change(usual(usual_ms), scatter=scatter))
    return changes


@pytest.mark.parametrize(
    ("rtt_ms", "usual_ms", "change"),
    [(20, 12, Change.HIGHER), (12, 20, Change.LOWER), (7, 12, Change.FASTER)],
)
def test_a_change_is_suspected_at_first_and_believed_the_second_time(
    rtt_ms: float, usual_ms: float, change: Change
) -> None:
    assert told(rtt_ms, rtt_ms, usual_ms=usual_ms) == [Change.SUSPECTED, change]


def test_less_done_since_a_fall_of_the_limit_is_a_change_too() -> None:
    before, fall, lately = Evidence(), Fall(), Lately()
    busy = WindowSummary(sample_count=1000, rtt_mean_ns=12 * MS, in_flight_mean=16.0)
    before.add(busy, target_ns=12 * MS, memory=math.inf)
    fall.begin(before, level=16.0)
    told = []
    for _ in range(2):
        lately.add(window(12), target_ns=12 * MS, scatter=0.0)
        told.append(lately.change(usual(12), scatter=0.0, fall=fall))
    assert told == [Change.SUSPECTED, Change.LESS]


def test_what_does_not_happen_twice_was_chance() -> None:
    assert told(20, 12, 30, usual_ms=12) == [Change.SUSPECTED, None, Change.SUSPECTED]


def test_up_and_down_are_not_the_same_twice() -> None:
    higher, lower = 20, 7.5
    changes = told(higher, lower, higher, lower, lower, usual_ms=12)
    assert changes == [Change.SUSPECTED] * 4 + [Change.FASTER]


def test_what_is_settled_is_suspected_anew() -> None:
    lately = Lately()
    for _ in range(2):
        lately.add(window(20), target_ns=12 * MS, scatter=0.0)
        assert lately.change(usual(12), scatter=0.0) is Change.SUSPECTED
        lately.forgive()


def test_few_samples_say_nothing() -> None:
    lately = Lately()
    lately.add(window(40, samples=ENOUGH // 2), target_ns=12 * MS, scatter=0.0)
    assert lately.change(usual(12), scatter=0.0) is None


def test_of_scattered_latencies_more_are_needed_and_a_greater_change() -> None:
    assert told(20, 20, usual_ms=12, scatter=1.0) == [None, None]


def test_latency_below_its_target_is_room_if_it_is_by_more_than_chance() -> None:
    for rtt_ms, has_room in ((9.0, True), (11.9, False), (12.5, False)):
        lately = Lately()
        lately.add(window(rtt_ms), target_ns=12 * MS, scatter=0.0)
        assert lately.has_headroom(0.0) is has_room
    lately.reset()
    assert not lately.has_headroom(0.0)


def test_chance_alone_is_believed_less_than_once_in_a_thousand_windows() -> None:
    """Exponential latencies of 12 ms, 48 of them a window."""
    rng, lately, remembered = random.Random(1), Lately(), usual(12)
    believed = 0
    for _ in range(4000):
        mean_ms = sum(rng.expovariate(1 / 12) for _ in range(ENOUGH)) / ENOUGH
        lately.add(window(mean_ms), target_ns=12 * MS, scatter=1.0)
        change = lately.change(remembered, scatter=1.0)
        if change is not None and change is not Change.SUSPECTED:
            believed += 1
            lately.forgive()
    assert believed <= 4
