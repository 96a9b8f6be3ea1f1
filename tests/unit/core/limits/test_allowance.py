"""Latency is worth its price where throughput went with it, and nowhere else."""

from __future__ import annotations

import math
import random

import pytest

from shedproxy.core import NS_PER_MS, NS_PER_S
from shedproxy.core.limits.allowance import Allowance
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS
TARGET = 12 * MS
"""A fifth above what one takes alone."""


def window(in_flight: float, rtt_ms: float, *, samples: int, is_overloaded=True) -> WindowSummary:
    return WindowSummary(
        sample_count=samples,
        rtt_mean_ns=round(rtt_ms * MS),
        rtt_ratio=rtt_ms / 10,
        baseline_mean_ns=10 * MS,
        in_flight_mean=in_flight,
        throughput_rps=in_flight / rtt_ms * NS_PER_S / MS,
        is_overloaded=is_overloaded,
    )


def at(in_flight: float, rtt_ms: float, *, samples: int = 500) -> Evidence:
    evidence = Evidence()
    evidence.add(window(in_flight, rtt_ms, samples=samples), target_ns=TARGET, memory=math.inf)
    return evidence


def after(
    best: Evidence, seen: Evidence, *, scatter: float = 0.5, target_ns: float = TARGET, **how
) -> tuple[float, float]:
    """The level and the factor, where one was seen after the other."""
    allowance = Allowance()
    allowance.note(best, scatter=scatter)
    level = allowance.missed_level(
        seen, window(8, 10, samples=20, **how), target_ns=target_ns, scatter=scatter
    )
    return level, allowance.factor


def test_slots_beyond_those_of_the_service_are_worth_nothing() -> None:
    """Eight do what twelve in flight did."""
    assert after(at(12, 15), at(8, 10)) == (0, 1)


def test_where_each_slows_the_others_a_little_the_level_above_is_worth_it() -> None:
    """Of fourteen in flight 900 are done in a second, of nine 750."""
    level, factor = after(at(14, 15.5), at(9, 12))
    assert level == pytest.approx(14)
    assert factor == pytest.approx(15.5 / 12)


def test_it_is_worth_a_bounded_share_of_the_baseline() -> None:
    _, factor = after(at(40, 40), at(20, 24))
    assert factor * TARGET == pytest.approx(16.8 * MS)


def test_throughput_that_is_gone_with_no_latency_is_not_the_limits_doing() -> None:
    """Capacity was lost, or others have taken it: all that was given up is missing."""
    assert after(at(14, 12), at(9, 12)) == (0, 1)
    assert after(at(14, 12), at(9, 20)) == (0, 1)


def test_from_then_on_it_is_compared_with_what_is_done_now() -> None:
    allowance = Allowance()
    allowance.note(at(14, 12), scatter=0.5)
    now = window(8, 10, samples=20)
    assert not allowance.missed_level(at(9, 20), now, target_ns=TARGET, scatter=0.5)
    assert allowance.missed_level(at(6, 18), now, target_ns=TARGET, scatter=0.5) == 9


@pytest.mark.parametrize(("samples", "is_believed"), [(80, False), (500, True)])
def test_a_few_samples_are_no_level(samples, is_believed) -> None:
    level, _ = after(at(14, 15.5), at(9, 12, samples=samples))
    assert (level > 0) is is_believed
    level, _ = after(at(14, 15.5, samples=samples), at(9, 12))
    assert (level > 0) is is_believed


def test_nor_is_what_chance_explains() -> None:
    assert after(at(14, 15.5, samples=200), at(11, 13, samples=200), scatter=1.0) == (0, 1)
    level, _ = after(at(14, 15.5, samples=200), at(11, 13, samples=200), scatter=0.02)
    assert level


def test_while_nobody_is_refused_it_is_remembered_only() -> None:
    assert after(at(14, 15.5), at(9, 12), is_overloaded=False) == (0, 1)


def test_an_allowance_is_made_once_and_grows_with_what_is_seen() -> None:
    allowance, now = Allowance(), window(8, 10, samples=20)
    allowance.note(at(14, 15.5), scatter=0.5)
    assert allowance.missed_level(at(9, 12), now, target_ns=TARGET, scatter=0.5)
    target_ns = TARGET * allowance.factor
    assert not allowance.missed_level(at(9, 12), now, target_ns=target_ns, scatter=0.5)
    allowance.note(at(20, 19), scatter=0.5)
    assert allowance.missed_level(at(14, 15.5), now, target_ns=target_ns, scatter=0.5) == 20


def test_half_of_it_may_do_and_a_service_that_has_changed_begins_anew() -> None:
    allowance, now = Allowance(), window(8, 10, samples=20)
    allowance.note(at(14, 15.5), scatter=0.5)
    allowance.missed_level(at(9, 12), now, target_ns=TARGET, scatter=0.5)
    extra = allowance.factor - 1
    allowance.halve()
    assert allowance.factor == pytest.approx(1 + extra / 2)
    allowance.forget()
    assert allowance.factor == 1
    assert not allowance.missed_level(at(9, 12), now, target_ns=TARGET, scatter=0.5)


def test_of_windows_without_time_nothing_is_known() -> None:
    evidence = Evidence()
    timeless = WindowSummary(sample_count=500, rtt_mean_ns=MS, in_flight_mean=4)
    evidence.add(timeless, target_ns=TARGET, memory=math.inf)
    assert after(at(14, 15.5), evidence) == (0, 1)


@pytest.mark.parametrize("scatter", [0.02, 1.0])
def test_before_slots_chance_is_hardly_ever_taken_for_it(scatter: float) -> None:
    """Levels that fall to three quarters, seen with the noise of ends of work."""
    rng = random.Random(5)
    claims = 0
    for _ in range(2000):
        levels = []
        for in_flight in (16, 12):
            count = 200 * (1 + scatter)
            noise = rng.gauss(1, math.sqrt(scatter / count))
            levels.append(at(in_flight, in_flight * 1.25 * noise, samples=round(count)))
        claims += after(*levels, scatter=scatter)[0] > 0
    assert claims <= 40
