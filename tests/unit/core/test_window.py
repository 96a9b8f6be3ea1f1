"""A window is measured in samples and service times, and sums up what it saw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.core.window import Learning, Window, WindowSummary

MS = NS_PER_MS


def filled(count: int, rtt_ns: int = 10 * MS, baseline_ns: int = 10 * MS) -> Window:
    window = Window(now=Instant(0))
    for _ in range(count):
        window.add(rtt_ns, baseline_ns, 3)
    return window


def test_ready_needs_samples_and_one_mean_latency() -> None:
    window = filled(16)
    assert not window.is_ready(8, now=Instant(10 * MS - 1))
    assert window.is_ready(8, now=Instant(10 * MS))
    assert not filled(15).is_ready(8, now=Instant(10 * MS))


def test_a_higher_limit_wants_as_many_samples_up_to_200() -> None:
    assert not filled(60).is_ready(64, now=Instant(10 * MS))
    assert filled(64).is_ready(64, now=Instant(10 * MS))
    assert filled(200).is_ready(1000, now=Instant(10 * MS))


def test_after_a_second_four_samples_do() -> None:
    assert not filled(3).is_ready(8, now=Instant(NS_PER_S))
    assert filled(4).is_ready(8, now=Instant(NS_PER_S))


def test_a_slow_service_gets_one_latency_before_it_is_judged() -> None:
    assert not filled(5, rtt_ns=3 * NS_PER_S).is_ready(8, now=Instant(2 * NS_PER_S))
    assert filled(5, rtt_ns=3 * NS_PER_S).is_ready(8, now=Instant(3 * NS_PER_S))


def test_overload_alone_is_judged_after_100_ms_or_one_latency() -> None:
    window = Window(now=Instant(0))
    window.add_overload(is_late=False)
    assert not window.is_ready(8, now=Instant(99 * MS))
    assert window.is_ready(8, now=Instant(100 * MS))
    window.add(400 * MS, 400 * MS, 1)
    assert not window.is_ready(8, now=Instant(399 * MS))
    assert window.is_ready(8, now=Instant(400 * MS))


def test_much_overload_is_judged_after_one_latency() -> None:
    window = filled(4, rtt_ns=20 * MS)
    for _ in range(4):
        window.add_overload(is_late=False)
    assert not window.is_ready(8, now=Instant(19 * MS))
    assert window.is_ready(8, now=Instant(20 * MS))


def test_an_empty_window_is_never_ready() -> None:
    assert not Window(now=Instant(0)).is_ready(1, now=Instant(3600 * NS_PER_S))


def test_the_summary_normalises_by_each_route() -> None:
    """A mix of a fast and a slow route without load has the ratio 1 and no scatter."""
    window = Window(now=Instant(0))
    for _ in range(10):
        window.add(5 * MS, 5 * MS, 1)
        window.add(200 * MS, 200 * MS, 2)
    summary = window.close(in_flight=7, now=Instant(NS_PER_S))
    assert summary.rtt_ratio == 1.0
    assert summary.rtt_scatter == 0.0
    assert summary.rtt_mean_ns == summary.baseline_mean_ns == 102_500_000
    assert summary.in_flight_mean == 2.5
    assert summary.in_flight_max == 7
    assert summary.throughput_rps == 20.0


def test_without_a_baseline_there_is_no_ratio() -> None:
    window = Window(now=Instant(0))
    window.add(5 * MS, 0, 0)
    window.add_provisional()
    summary = window.close(in_flight=0, now=Instant(1))
    assert (summary.rtt_ratio, summary.baseline_mean_ns, summary.rtt_scatter) == (0.0, 0, 0.0)
    assert (summary.sample_count, summary.provisional_count) == (1, 1)


def test_a_client_that_left_counts_only_when_it_waited_longer_than_the_baseline() -> None:
    window = Window(now=Instant(0))
    window.add_censored(5 * MS, 10 * MS, 0)
    window.add_censored(50 * MS, 10 * MS, 0)
    window.add_censored(50 * MS, 0, 0)
    summary = window.close(in_flight=0, now=Instant(1))
    assert summary.sample_count == 1
    assert summary.rtt_ratio == 5.0


def test_without_any_baseline_scatter_is_about_the_mean() -> None:
    """Of 90 and 110 a hundredth; of one latency nothing is known."""
    for count, expected in ((16, 0.01), (1, 0.0)):
        window = Window(now=Instant(0))
        for rtt_ms in (90, 110) * (count // 2) or (90,):
            window.add(rtt_ms * MS, 0, 1)
        summary = window.close(in_flight=0, now=Instant(NS_PER_S))
        assert summary.rtt_scatter == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("reached_from", "is_late"), [(0, False), (9, False), (10, True)])
def test_a_limit_that_was_reached_when_half_of_the_samples_had_ended_was_late(
    reached_from: int, is_late: bool
) -> None:
    window = filled(20)
    window.reach_limit()
    window.reached_from = reached_from
    assert window.close(in_flight=0, now=Instant(5)).was_reached_late is is_late
    assert not window.close(in_flight=0, now=Instant(6)).was_reached_late, "of nothing"


def test_closing_begins_anew() -> None:
    window = filled(20)
    window.limit_was_reached = True
    window.add_overload(is_late=False)
    assert window.close(in_flight=0, now=Instant(5)).limit_was_reached
    summary = window.close(in_flight=2, now=Instant(9))
    assert not summary.limit_was_reached
    assert (summary.sample_count, summary.overload_count) == (0, 0)
    assert (summary.rtt_mean_ns, summary.in_flight_mean) == (0, 2.0)


def test_throughput_is_of_the_time_since_the_last_closing() -> None:
    window = filled(20)
    window.close(in_flight=0, now=Instant(5 * NS_PER_S))
    for _ in range(20):
        window.add(10 * MS, 10 * MS, 3)
    assert window.close(in_flight=0, now=Instant(7 * NS_PER_S)).throughput_rps == 10.0


def test_provisional_is_a_window_of_which_most_samples_have_no_trusted_baseline() -> None:
    counts = [WindowSummary(sample_count=10, provisional_count=n).is_provisional for n in (5, 6)]
    assert counts == [False, True]


def test_the_latency_judged_is_that_of_routes_with_a_baseline() -> None:
    """The first answer of a slow route does not make the quick ones look queued."""
    window = filled(19, rtt_ns=12 * MS)
    window.add(2000 * MS, 0, 3)
    summary = window.close(in_flight=3, now=Instant(NS_PER_S))
    assert summary.rtt_mean_ns > 100 * MS
    assert summary.judged_rtt_ns == 12 * MS
    assert (
        filled(5, rtt_ns=12 * MS, baseline_ns=0)
        .close(in_flight=3, now=Instant(NS_PER_S))
        .judged_rtt_ns
        == 12 * MS
    ), "without any baseline there is but that of all"


def test_scatter_is_about_the_baseline_of_each_route() -> None:
    """Half of the samples twice as long: a variance of a quarter, over a mean of one."""
    window = Window(now=Instant(0))
    for _ in range(200):
        window.add(10 * MS, 10 * MS, 1)
        window.add(20 * MS, 10 * MS, 1)
    summary = window.close(in_flight=0, now=Instant(NS_PER_S))
    assert summary.rtt_scatter == pytest.approx(0.25, rel=0.01)


def test_scatter_is_of_those_samples_whose_route_has_a_baseline_if_any_has() -> None:
    """One of them among two hundred knows nothing of it, and does not pass for two hundred."""
    for known, of in ((0, 200), (1, 1), (150, 150)):
        window = filled(known)
        for _ in range(200 - known):
            window.add(50 * MS, 0, 1)
        assert window.close(in_flight=0, now=Instant(NS_PER_S)).scatter_count == of


def test_what_is_known_of_the_baseline_is_passed_on() -> None:
    learning = Learning(sample_count=40, ratio=1.5, error=0.1, scatter=0.4)
    summary = filled(16).close(in_flight=0, now=Instant(5), learning=learning, is_overloaded=True)
    assert (summary.learnt_count, summary.learnt_ratio) == (40, 1.5)
    assert (summary.baseline_error, summary.baseline_scatter) == (0.1, 0.4)
    assert summary.is_overloaded


@given(st.lists(st.tuples(st.integers(1, 10**10), st.integers(1, 10**10)), min_size=2))
def test_ratio_baseline_and_latency_agree(samples: list[tuple[int, int]]) -> None:
    window = Window(now=Instant(0))
    for rtt_ns, baseline_ns in samples:
        window.add(rtt_ns, baseline_ns, 0)
    summary = window.close(in_flight=0, now=Instant(1))
    expected = sum(rtt for rtt, _ in samples) / sum(baseline for _, baseline in samples)
    assert summary.rtt_ratio == pytest.approx(expected)
    assert summary.rtt_scatter >= 0.0
    assert summary.judged_rtt_ns == pytest.approx(summary.rtt_mean_ns, rel=1e-6, abs=2 + expected)
