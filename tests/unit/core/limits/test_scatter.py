"""How much latencies scatter is known soon where they do not, and follows a change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core.limits.scatter import Scatter
from shedproxy.core.window import WindowSummary


def seen(scatter: float, *, samples: int = 16, known: float = 0.0) -> WindowSummary:
    return WindowSummary(scatter_count=samples, rtt_scatter=scatter, baseline_scatter=known)


def test_it_begins_with_that_of_an_exponential_law() -> None:
    assert Scatter().value == 1.0


def test_what_scatters_little_is_known_after_a_few_windows() -> None:
    """And sooner from large ones: the first guess counts for 32 samples."""
    scatter = Scatter()
    assert scatter.add(seen(0.0, samples=32)) == pytest.approx(1 / 2)
    assert scatter.add(seen(0.0, samples=64)) == pytest.approx(1 / 4)
    assert scatter.add(seen(0.0, samples=128)) == pytest.approx(1 / 8)


def test_of_what_was_before_a_change_little_is_left_after_two_thousand_samples() -> None:
    scatter = Scatter()
    for _ in range(1000):
        scatter.add(seen(9.0))
    for _ in range(125):
        scatter.add(seen(1.0))
    assert scatter.value < 1.5


def test_a_stall_among_the_samples_counts_for_no_more_than_a_hundred() -> None:
    scatter = Scatter()
    for _ in range(100):
        scatter.add(seen(1.0))
    assert scatter.add(seen(1e9)) == pytest.approx(1 + 99 * 16 / 600, rel=0.01)


def test_a_window_of_more_than_is_remembered_is_all_that_counts() -> None:
    """However large it is, and however often it comes; two thousand slots of a second make some."""
    for samples in (600, 601, 1200, 2000):
        scatter = Scatter()
        for seen_scatter in (0.5, 0.003, 0.004, 0.003):
            added = scatter.add(seen(seen_scatter, samples=samples))
            assert added == pytest.approx(seen_scatter)
    assert scatter.add(seen(9.0)) == pytest.approx(9 * 16 / 600, rel=0.02), "and is then forgotten"


@given(st.lists(st.tuples(st.floats(0, 1e12), st.integers(0, 10_000)), min_size=1))
def test_it_lies_between_0_and_100_whatever_was_seen(windows: list[tuple[float, int]]) -> None:
    scatter = Scatter()
    for seen_scatter, samples in windows:
        scatter.add(seen(seen_scatter, samples=samples))
        assert -1e-9 <= scatter.value <= 100 + 1e-9


def test_a_window_of_one_sample_says_nothing() -> None:
    scatter = Scatter()
    assert scatter.add(seen(0.0, samples=1)) == 1.0


def test_what_is_known_without_load_is_the_least() -> None:
    scatter = Scatter()
    for _ in range(100):
        scatter.add(seen(0.0))
    assert scatter.add(seen(0.0, known=2.0)) == 2.0
    assert scatter.value < 0.1


def test_scatter_that_load_makes_is_none_of_the_law() -> None:
    """In squared baselines a latency of ten of them scatters a hundredfold by being ten times."""
    loaded, known = Scatter(), Scatter()
    loaded.add(replace(seen(25.0, samples=600), rtt_ratio=10.0))
    known.add(replace(seen(1.0, samples=600), rtt_ratio=1.3))
    assert loaded.value == known.value == 1.0


def test_in_latencies_of_a_guess_it_is_what_it_is() -> None:
    """They are in squares of their own mean already."""
    scatter = Scatter()
    scatter.add(
        replace(seen(0.5, samples=600), rtt_ratio=10.0, sample_count=9, provisional_count=9)
    )
    assert scatter.value == 0.5
