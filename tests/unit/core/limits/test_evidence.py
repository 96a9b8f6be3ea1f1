"""Windows add up to means that one of them cannot upset, and that know their own error."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest

from shedproxy.core.limits.evidence import Evidence
from shedproxy.core.window import WindowSummary

TARGET = 1_200.0


def seen(rtt_ns: float, *, samples: int = 20, in_flight: float = 6.0) -> WindowSummary:
    """A window of a service whose baseline is 1000 ns."""
    return WindowSummary(
        sample_count=samples,
        rtt_mean_ns=round(rtt_ns),
        rtt_ratio=rtt_ns / 1000,
        baseline_mean_ns=1000,
        in_flight_mean=in_flight,
    )


def gathered(*windows: WindowSummary, memory: float = math.inf) -> Evidence:
    evidence = Evidence()
    for window in windows:
        evidence.add(window, target_ns=TARGET, memory=memory)
    return evidence


def test_of_nothing_it_knows_nothing() -> None:
    evidence = Evidence()
    assert (evidence.count, evidence.rtt_ns, evidence.strain, evidence.ratio) == (0, 0, 0, 0)
    assert evidence.in_flight == 0
    assert math.isinf(evidence.error(1.0))


def test_means_are_over_samples_not_over_windows() -> None:
    evidence = gathered(seen(1200, samples=30, in_flight=4), seen(2400, samples=10, in_flight=8))
    assert evidence.count == 40
    assert evidence.rtt_ns == 1500
    assert evidence.in_flight == 5
    assert evidence.ratio == 1.5
    assert evidence.strain == 1.25


def test_without_a_baseline_there_is_no_ratio_but_a_strain() -> None:
    evidence = gathered(WindowSummary(sample_count=20, rtt_mean_ns=2400))
    assert evidence.ratio == 0.0
    assert evidence.strain == 2.0


def test_a_route_without_a_baseline_does_not_make_the_others_look_queued() -> None:
    """One of 20 samples took 40 us on a route not known yet: the ratio of the rest counts."""
    window = WindowSummary(
        sample_count=20, rtt_mean_ns=2_950, rtt_ratio=1.0, baseline_mean_ns=1000, in_flight_mean=2
    )
    assert gathered(window).rtt_ns == 1000


def test_the_oldest_fade_beyond_the_memory() -> None:
    evidence = gathered(*[seen(1200)] * 30, *[seen(2400)] * 60, memory=200)
    assert evidence.count == pytest.approx(200, rel=0.02)
    assert evidence.strain == pytest.approx(2.0, rel=0.01)


def test_an_outlier_counts_thrice_the_mean_at_most() -> None:
    """A pause of a thousand latencies weighs no more than one of three."""
    usual = [seen(1200)] * 9
    assert gathered(*usual, seen(1_200_000)).strain == gathered(*usual, seen(3600)).strain
    assert gathered(*usual, seen(1_200_000)).strain == pytest.approx(1.2)


def test_what_is_little_yet_bounds_nothing() -> None:
    """A window larger than all there was before is no outlier of it."""
    evidence = gathered(seen(1200, samples=10), seen(12_000, samples=20))
    assert evidence.strain == pytest.approx((10 + 200) / 30)


def test_a_lasting_change_is_seen_all_the_same() -> None:
    evidence = gathered(*[seen(1200)] * 20, *[seen(12_000)] * 60, memory=400)
    assert evidence.strain > 8


def test_above_target_the_level_wanted_follows_from_what_was_in_flight() -> None:
    """Little: twice the target at 12 in flight, so 6; whatever the level has become since."""
    evidence = gathered(seen(2400, in_flight=12))
    assert evidence.wanted(12) == evidence.wanted(9) == 6
    assert evidence.wanted(5) == 5, "and it never says more"


def test_below_target_it_is_the_level_by_the_room_left() -> None:
    assert gathered(seen(600, in_flight=3)).wanted(10) == 20


def test_the_error_falls_with_the_root_of_the_samples() -> None:
    few, many = gathered(seen(1200)), gathered(*[seen(1200)] * 16)
    assert few.error(1.0) == pytest.approx(math.sqrt(2 / 20))
    assert many.error(1.0) == pytest.approx(few.error(1.0) / 4)
    assert few.error(4.0) == pytest.approx(2 * few.error(1.0))
    assert few.error(0.0) == few.error(0.01) > 0, "no service is a clock"


def test_the_error_covers_what_scattered_latencies_do() -> None:
    """Independent exponential samples: within two errors nearly always."""
    rng = random.Random(7)
    strains = []
    for _ in range(300):
        rtt_ns = statistics.fmean(rng.expovariate(1 / 1200) for _ in range(20))
        strains.append(gathered(seen(rtt_ns)).strain)
    error = gathered(seen(1200)).error(1.0)
    assert sum(abs(strain - 1) < 2 * error for strain in strains) >= 0.97 * len(strains)


def test_reset_forgets() -> None:
    evidence = gathered(seen(1200))
    evidence.reset()
    assert (evidence.count, evidence.strain) == (0, 0)


def test_what_is_done_is_what_is_in_flight_over_how_long_it_takes() -> None:
    """Little's law."""
    assert gathered(seen(2000, in_flight=6)).rate == pytest.approx(3 / 1000)


def test_work_is_the_same_while_baselines_are_alike() -> None:
    ours, others = gathered(seen(1500)), Evidence()
    window = replace(seen(1500, samples=5), baseline_mean_ns=1090)
    others.add(window, target_ns=TARGET, memory=math.inf)
    assert ours.is_of_same_work(others, within=1.1)
    assert others.is_of_same_work(ours, within=1.1)
    assert not ours.is_of_same_work(others, within=1.05)
    assert not others.is_of_same_work(ours, within=1.05)


def test_a_copy_stays_as_it_is() -> None:
    evidence = gathered(seen(2000, in_flight=6))
    copy = evidence.copy()
    evidence.add(seen(8000, in_flight=9), target_ns=TARGET, memory=math.inf)
    assert (copy.count, copy.rtt_ns, copy.in_flight) == (20, 2000, 6)
    assert (copy.strain, copy.ratio) == (2000 / TARGET, 2)
