"""The default estimator: each rule alone. Whole behaviour: `tests/unit/core/test_limit_loop.py`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant, LimitPolicy
from shedproxy.core.limits.adaptive import (
    AdaptiveLimit,
    next_grown_level,
    next_shrunk_level,
    strain,
    target_ns,
)
from shedproxy.core.limits.protocol import LimitCause, LimitChange
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS
BASELINE = 100 * MS
NOW = Instant(0)


def seen(ratio: float, in_flight: float, **changes: object) -> WindowSummary:
    """A clear window of 20 trusted samples of which the limit was in the way."""
    values: dict[str, object] = {
        "started_at": NOW,
        "ended_at": NOW,
        "sample_count": 20,
        "rtt_mean_ns": round(BASELINE * ratio),
        "rtt_ratio": ratio,
        "rtt_excess_ns": round(BASELINE * (ratio - 1)),
        "rtt_error": 0.0,
        "baseline_mean_ns": BASELINE,
        "in_flight_max": round(in_flight),
        "in_flight_mean": in_flight,
        "throughput_rps": in_flight / max(ratio, 0.01) * NS_PER_S / BASELINE,
        "limit_was_reached": True,
    }
    return WindowSummary(**(values | changes))  # type: ignore[arg-type]


def tell(limit: AdaptiveLimit, window: WindowSummary, *, now: int = 0) -> LimitChange:
    return limit.on_window(window, now=Instant(now))


@pytest.mark.parametrize(
    ("baseline_ms", "target_ms"), [(0.2, 10), (4, 10), (8, 13), (20, 26), (200, 260)]
)
def test_the_target_has_room_for_noise(baseline_ms: float, target_ms: float) -> None:
    """30 %, at least 5 ms, and below 10 ms in all nothing is queueing."""
    assert target_ns(round(baseline_ms * MS)) == target_ms * MS


def test_strain_is_latency_over_its_target() -> None:
    assert strain(seen(1.3, 4)) == pytest.approx(1.0)
    assert strain(seen(2.6, 4)) == pytest.approx(2.0)


def test_without_a_baseline_only_small_latency_is_judged() -> None:
    unknown = {"rtt_ratio": 0.0, "baseline_mean_ns": 0, "rtt_excess_ns": 0}
    assert strain(seen(0, 4, **unknown, rtt_mean_ns=5 * MS)) == 0.5
    assert strain(seen(0, 4, **unknown, rtt_mean_ns=50 * MS)) is None


@given(st.floats(1, 1e4), st.floats(1e-6, 1.0), st.integers(1, 50))
def test_growth_is_bounded_and_never_down(level: float, strained: float, streak: int) -> None:
    grown = next_grown_level(level, strain=strained, streak=streak)
    assert level <= grown <= max(level * 1.5, level + 1.0) + 1e-9


@given(st.floats(1, 1e4), st.floats(1, 1e4), st.floats(1.0, 1e3), st.floats(0, 1))
def test_shrinking_is_bounded_and_never_up(
    level: float, in_flight: float, strained: float, error: float
) -> None:
    shrunk = next_shrunk_level(level, in_flight=in_flight, strain=strained, error=error)
    assert level * 0.7 - 1e-9 <= shrunk <= level


def test_noise_moves_less_than_evidence() -> None:
    clear = next_shrunk_level(10, in_flight=10, strain=1.2, error=0.05)
    noisy = next_shrunk_level(10, in_flight=10, strain=1.2, error=0.3)
    assert clear < noisy < 10


def test_a_limit_already_lowered_is_not_lowered_again_by_latency_of_before() -> None:
    """The window was measured at 20 in flight; where strain would be 1 is 10."""
    assert next_shrunk_level(9, in_flight=20, strain=2.0, error=0) == 9


@pytest.mark.parametrize("start", [2, 9, 300])
def test_the_fixpoint_is_target_times_knee_wherever_it_started(start: int) -> None:
    """Ten slots: latency is in-flight over ten. 1.3 x 10."""
    limit = AdaptiveLimit(LimitPolicy(initial=start))
    for _ in range(60):
        in_flight = limit.limit
        tell(limit, seen(max(1.0, in_flight / 10), in_flight))
    assert limit.limit in (13, 14)


def test_headroom_grows_only_a_limit_that_was_reached() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=10))
    change = tell(limit, seen(1.0, 3, limit_was_reached=False))
    assert (change.limit_after, change.cause) == (10, LimitCause.APP_LIMITED)
    change = tell(limit, seen(1.0, 10))
    assert (change.limit_after, change.cause) == (15, LimitCause.HEADROOM)
    assert (change.limit_before, change.rtt_ratio) == (10, 1.0)


def test_high_latency_is_queueing() -> None:
    change = tell(AdaptiveLimit(LimitPolicy(initial=10)), seen(1.6, 10))
    assert (change.limit_after, change.cause) == (9, LimitCause.QUEUEING)


def test_bounds_are_named_as_the_cause() -> None:
    change = tell(AdaptiveLimit(LimitPolicy(initial=10, maximum=10)), seen(1.0, 10))
    assert (change.limit_after, change.cause) == (10, LimitCause.CLAMPED)


def test_overload_takes_a_tenth_per_window() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=100))
    assert tell(limit, seen(1.0, 100, overload_count=5)).limit_after == 90
    change = tell(limit, seen(0.0, 0, sample_count=0, overload_count=1))
    assert (change.limit_after, change.cause) == (81, LimitCause.OVERLOAD)


def test_a_lone_503_among_many_answers_is_no_overload() -> None:
    change = tell(
        AdaptiveLimit(LimitPolicy(initial=10)), seen(1.0, 10, overload_count=1, sample_count=200)
    )
    assert change.cause is LimitCause.HEADROOM


def test_growth_is_slow_near_what_was_refused() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=100))
    tell(limit, seen(1.0, 100, overload_count=20))
    for _ in range(5):
        tell(limit, seen(1.0, limit.limit))
    assert 90 < limit.limit < 101
    for _ in range(40):
        tell(limit, seen(1.0, limit.limit))
    assert limit.limit > 200, "and it is tried in the end"


def test_high_latency_by_an_untrusted_baseline_leads_to_a_dip() -> None:
    """And the two latencies measured say where to return to: 20 x 130 / 200 ms."""
    limit = AdaptiveLimit(LimitPolicy(initial=20))
    change = tell(limit, seen(2.0, 20, provisional_count=20))
    assert (change.limit_after, change.cause) == (6, LimitCause.QUEUEING)
    assert tell(limit, seen(1.0, 6, provisional_count=20)).limit_after == 6
    change = tell(limit, seen(1.0, 6))
    assert (change.limit_after, change.cause) == (13, LimitCause.HEADROOM)


def test_a_dip_goes_below_the_knee_however_far_the_ramp_went() -> None:
    """Latency was 100 ms at 8 in flight, throughput 200/s at best: at most 20 were busy."""
    limit = AdaptiveLimit(LimitPolicy(initial=100))
    tell(limit, seen(1.0, 8, provisional_count=20, limit_was_reached=False))
    assert limit.low_in_flight == 2
    change = tell(limit, seen(5.0, 100, provisional_count=20))
    assert change.limit_after == limit.low_in_flight == 10


def test_low_is_a_share_of_a_limit_that_rests_on_a_trusted_baseline() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=100))
    assert limit.low_in_flight == 2
    tell(limit, seen(1.0, 50, limit_was_reached=False))
    assert limit.low_in_flight == 30


def test_in_doubt_the_limit_holds_before_it_dips() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=20))
    doubtful = seen(1.5, 20, provisional_count=20, rtt_error=0.25)
    assert [tell(limit, doubtful).limit_after for _ in range(3)] == [20, 20, 6]


@pytest.mark.parametrize(
    "window",
    [
        seen(1.0, 6, provisional_count=320, sample_count=320),
        seen(1.0, 6, provisional_count=20, limit_was_reached=False),
    ],
)
def test_a_dip_ends_though_nothing_can_be_trusted(window: WindowSummary) -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=20))
    tell(limit, seen(2.0, 20, provisional_count=20))
    assert tell(limit, window).limit_after == 13


def test_a_dip_lasts_three_seconds_at_most() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=20))
    tell(limit, seen(2.0, 20, provisional_count=20))
    window = seen(1.0, 6, provisional_count=20)
    assert tell(limit, window, now=3 * NS_PER_S - 1).limit_after == 6
    assert tell(limit, window, now=3 * NS_PER_S).limit_after == 13


def test_latency_that_stays_high_while_the_limit_falls_is_put_in_question() -> None:
    """Three times slower at any in-flight: RELEARNT, not the floor."""
    limit = AdaptiveLimit(LimitPolicy(initial=30))
    causes = []
    while not causes or causes[-1] is LimitCause.QUEUEING:
        causes.append(tell(limit, seen(3.0, limit.limit)).cause)
    assert causes[-1] is LimitCause.RELEARNT
    assert len(causes) <= 3
    slower = seen(1.0, limit.limit, baseline_mean_ns=3 * BASELINE, rtt_mean_ns=3 * BASELINE)
    change = tell(limit, slower)
    assert change.cause is LimitCause.HEADROOM
    assert change.limit_after >= 20


def test_latency_below_the_baseline_is_put_in_question_too() -> None:
    """After six windows at the limit; until then it holds."""
    limit = AdaptiveLimit(LimitPolicy(initial=30))
    changes = [tell(limit, seen(0.5, 30)) for _ in range(6)]
    assert [change.limit_after for change in changes] == [30] * 5 + [9]
    assert changes[-1].cause is LimitCause.RELEARNT


def test_at_the_floor_the_question_is_asked_again_but_not_all_the_time() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=1))
    causes = [tell(limit, seen(5.0, 1)).cause for _ in range(40)]
    assert 2 <= causes.count(LimitCause.RELEARNT) <= 4
    assert limit.limit >= 1


def test_new_bounds_hold_at_once() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=30))
    limit.apply(LimitPolicy(maximum=10))
    assert limit.limit == 10
