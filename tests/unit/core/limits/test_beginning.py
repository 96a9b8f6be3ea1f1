"""Before a baseline is known a ramp is measured by its own beginning."""

from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_MS, Instant
from shedproxy.core.limits.beginning import Beginning
from shedproxy.core.limits.probe import Dip
from shedproxy.core.limits.scatter import Scatter
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS


def window(in_flight: float, rtt_ms: float, **changes: object) -> WindowSummary:
    values = {"sample_count": 400, "rtt_mean_ns": round(rtt_ms * MS), "in_flight_mean": in_flight}
    return WindowSummary(**(values | changes))


def target_ms(beginning: Beginning, of: WindowSummary) -> float:
    scatter = Scatter()
    scatter.value = 0.0
    return beginning.target_ns(of, scatter) / MS


def test_the_first_window_is_the_measure_of_the_others() -> None:
    beginning = Beginning()
    assert not beginning.is_known
    assert target_ms(beginning, window(8, 50)) == pytest.approx(60)
    beginning.take(window(4, 10))
    assert beginning.is_known
    assert beginning.rtt_ns == 10 * MS
    assert target_ms(beginning, window(8, 50)) == pytest.approx(12, rel=0.02)


def test_windows_of_twice_as_much_in_flight_are_no_beginning() -> None:
    beginning = Beginning()
    beginning.take(window(4, 10))
    beginning.take(window(8, 50))
    assert beginning.rtt_ns == 10 * MS
    beginning.take(window(7, 20))
    assert beginning.rtt_ns == pytest.approx(15 * MS)


def test_after_four_samples_the_next_window_is_of_the_beginning_too() -> None:
    """An idle time ends a window soon, and what was in flight then is next to nothing."""
    beginning = Beginning()
    beginning.take(window(2, 10, sample_count=4))
    beginning.take(window(9, 10, sample_count=16))
    beginning.take(window(19, 90, sample_count=16))
    assert beginning.rtt_ns == 10 * MS


def test_a_queue_that_grows_after_the_first_four_samples_is_no_beginning() -> None:
    """An idle time ends a window soon; what follows may be a flood before two slow slots."""
    beginning = Beginning()
    beginning.take(window(2, 230, sample_count=4))
    beginning.take(window(5.6, 501, sample_count=11))
    assert beginning.rtt_ns == 230 * MS


def test_of_a_short_or_scattered_beginning_the_way_back_is_not_sure() -> None:
    """Twice the error of both: 11 % of 32 samples that scatter by a fifth, and of the end."""
    beginning = Beginning()
    assert not beginning.is_sure_of(-9.0, error=0.1, scatter=0.2)
    beginning.take(window(4, 10, sample_count=32))
    assert beginning.is_sure_of(-0.32, error=0.11, scatter=0.2)
    assert not beginning.is_sure_of(-0.30, error=0.11, scatter=0.2)
    assert not beginning.is_sure_of(-0.32, error=0.11, scatter=1.0)


def test_what_was_busy_is_counted_by_the_latency_of_the_beginning() -> None:
    """Whole slots, at the best throughput; without a beginning by that of the window."""
    beginning, scatter = Beginning(), Scatter()
    for throughput_rps in (800, 1080, 700):
        beginning.work(window(8, 50, throughput_rps=throughput_rps))
    assert beginning.end(window(8, 50), scatter) == 54
    beginning.take(window(4, 10))
    assert beginning.end(window(8, 50), scatter) == 10


def test_after_the_first_dip_no_more_is_in_flight_than_was_ever_done_on_target() -> None:
    """The dip wanted ten slots by a target of 12 ms; the baseline of 20 ms makes it 24."""
    beginning, scatter = Beginning(), Scatter()
    scatter.value = 0.0
    beginning.take(window(4, 10))
    beginning.work(window(8, 50, throughput_rps=10_000))
    beginning.end(window(8, 50), scatter)
    dip = Dip(10, 40, now=Instant(0))
    learnt = window(4, 20, baseline_mean_ns=20 * MS)
    assert beginning.level_after(dip, learnt) == pytest.approx(20, rel=0.02)
    slow = Beginning()
    slow.take(window(4, 10))
    slow.work(window(8, 50, throughput_rps=500))
    slow.end(window(8, 50), scatter)
    assert slow.level_after(dip, learnt) == pytest.approx(12), "500 a second in 24 ms each"


def test_a_trusted_baseline_is_a_better_measure() -> None:
    beginning = Beginning()
    beginning.take(window(4, 10))
    assert target_ms(beginning, window(8, 50, baseline_mean_ns=20 * MS)) == pytest.approx(24)


def test_while_others_are_refused_a_few_samples_without_load_bound_it() -> None:
    beginning = Beginning()
    beginning.take(window(4, 40))
    unknown = {"baseline_mean_ns": 10 * MS, "provisional_count": 400}
    assert target_ms(beginning, window(8, 50, **unknown)) == pytest.approx(48, rel=0.02)
    bounded = window(8, 50, **unknown, is_overloaded=True)
    assert target_ms(beginning, bounded) == pytest.approx(12)
