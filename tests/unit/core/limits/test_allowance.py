"""Latency is worth its price where throughput went with it, and nowhere else."""

from __future__ import annotations

import math
import random

import pytest

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant, seconds
from shedproxy.core.limits.allowance import Allowance
from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS
TARGET = 12 * MS
"""A fifth above what one takes alone."""


def window(
    in_flight: float, rtt_ms: float, *, samples: int, is_overloaded=True, baseline_ms: float = 10
) -> WindowSummary:
    return WindowSummary(
        sample_count=samples,
        rtt_mean_ns=round(rtt_ms * MS),
        rtt_ratio=rtt_ms / baseline_ms,
        baseline_mean_ns=round(baseline_ms * MS),
        in_flight_mean=in_flight,
        throughput_rps=in_flight / rtt_ms * NS_PER_S / MS,
        is_overloaded=is_overloaded,
    )


def at(in_flight: float, rtt_ms: float, *, samples: int = 500, **how) -> Evidence:
    evidence = Evidence()
    seen = window(in_flight, rtt_ms, samples=samples, **how)
    evidence.add(seen, target_ns=1.2 * seen.baseline_mean_ns, memory=math.inf)
    return evidence


def missed_level(allowance: Allowance, seen: Evidence, last: WindowSummary, **how) -> float:
    how = {"target_ns": TARGET, "scatter": 0.5, "now": Instant(0), **how}
    return allowance.missed_level(seen, last, **how)


def after(
    best: Evidence, seen: Evidence, *, scatter: float = 0.5, target_ns: float = TARGET, **how
) -> tuple[float, float]:
    """The level and the factor, where one was seen after the other."""
    allowance = Allowance()
    allowance.note(best, scatter=scatter)
    now = window(8, 10, samples=20, **how)
    level = missed_level(allowance, seen, now, target_ns=target_ns, scatter=scatter)
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
    """Of levels beyond, as much as takes no more latency than that."""
    level, factor = after(at(40, 40), at(20, 24))
    assert factor * TARGET == pytest.approx(16.8 * MS)
    assert level == pytest.approx(16.8)


@pytest.mark.parametrize("samples", [150, 300, 500])
def test_throughput_that_is_gone_with_no_latency_is_not_the_limits_doing(samples) -> None:
    """Capacity was lost, or others have taken it: all that was given up is missing, or nearly."""
    best = at(14, 15.5, samples=samples)
    for rtt_ms in (15.5, 15, 20):
        assert after(best, at(9, rtt_ms, samples=samples)) == (0, 1)


def test_latency_is_worth_what_it_is_over_the_baseline_of_its_time() -> None:
    """Requests ask for a little less work than they did: latency is lower by as much."""
    level, factor = after(at(14, 15.5, baseline_ms=10.9), at(9, 12))
    assert level == pytest.approx(14)
    assert factor == pytest.approx(15.5 / 10.9 / 1.2)


@pytest.mark.parametrize("baseline_ms", [5, 8, 12, 20])
def test_of_other_work_nothing_is_known(baseline_ms: float) -> None:
    """More is done of short requests than of long ones, at whatever level."""
    best = at(14, 15.5, baseline_ms=baseline_ms)
    assert after(best, at(9, 12)) == (0, 1)


def test_from_then_on_it_is_compared_with_what_is_done_now() -> None:
    allowance = Allowance()
    allowance.note(at(14, 12), scatter=0.5)
    now = window(8, 10, samples=20)
    assert not missed_level(allowance, at(9, 15), now, scatter=0.02)
    level = missed_level(allowance, at(6, 12.5), now, scatter=0.02)
    assert level == pytest.approx(9)


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
    assert missed_level(allowance, at(9, 12), now)
    target_ns = TARGET * allowance.factor
    assert not missed_level(allowance, at(9, 12), now, target_ns=target_ns)
    allowance.note(at(20, 19), scatter=0.5)
    level = missed_level(allowance, at(14, 15.5), now, target_ns=target_ns)
    assert level == pytest.approx(20 * 16.8 / 19)


def test_what_was_claimed_is_held_against_what_is_done_there_now() -> None:
    """Or what was done once, in better times, would be claimed for ever."""
    allowance, now = Allowance(), window(8, 10, samples=20)
    allowance.note(at(14, 15.5), scatter=0.5)
    assert missed_level(allowance, at(9, 12), now)
    allowance.halve(now=Instant(0))
    there = at(13, 15.6, samples=400)  # less than was
    assert not missed_level(allowance, there, now, target_ns=TARGET * allowance.factor)
    assert not missed_level(allowance, at(12, 14.4), now, target_ns=TARGET * allowance.factor)


def test_without_overload_it_is_halved_now_and_then() -> None:
    allowance, quiet = Allowance(), window(8, 10, samples=20, is_overloaded=False)
    busy = window(8, 10, samples=20)
    allowance.note(at(14, 15.5), scatter=0.5)
    assert missed_level(allowance, at(9, 12), busy, now=seconds(300))
    claimed = allowance.factor - 1
    allowance.pass_time(
        busy, now=seconds(360)
    )  # who checks in overload asks for no halving besides
    allowance.pass_time(quiet, now=seconds(359))
    assert allowance.factor == 1 + claimed
    allowance.pass_time(quiet, now=seconds(361))
    allowance.pass_time(quiet, now=seconds(400))
    assert allowance.factor == pytest.approx(1 + claimed / 2)
    allowance.pass_time(quiet, now=seconds(422))
    assert allowance.factor == pytest.approx(1 + claimed / 4)


def test_short_overloads_that_come_back_do_not_keep_it() -> None:
    allowance, quiet = Allowance(), window(8, 10, samples=20, is_overloaded=False)
    allowance.factor = 1.4
    for at_s in range(60, 310, 10):
        allowance.pass_time(window(8, 10, samples=20), now=seconds(at_s))
        allowance.pass_time(quiet, now=seconds(at_s + 5))
    assert allowance.factor == pytest.approx(1 + 0.4 / 2**5)


def test_half_of_it_may_do_and_a_service_that_has_changed_begins_anew() -> None:
    allowance, now = Allowance(), window(8, 10, samples=20)
    allowance.note(at(14, 15.5), scatter=0.5)
    missed_level(allowance, at(9, 12), now)
    extra = allowance.factor - 1
    allowance.halve(now=seconds(10))
    assert allowance.factor == pytest.approx(1 + extra / 2)
    allowance.pass_time(window(8, 10, samples=20, is_overloaded=False), now=seconds(69))
    assert allowance.factor == pytest.approx(1 + extra / 2)
    allowance.note(at(14, 15.5), scatter=0.5)
    allowance.forget()
    assert allowance.factor == 1
    assert not missed_level(allowance, at(9, 12), now)


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
