"""Scatter is known by sums: what is rare and long counts for what it is."""

from __future__ import annotations

import random
import statistics

import pytest

from shedproxy.core import NS_PER_MS
from shedproxy.core.limits.scatter import Scatter
from shedproxy.core.window import WindowSummary

MS = NS_PER_MS


def seen(
    scatter: float, *, samples: int = 20, baseline_ms: float = 10, **changes: object
) -> WindowSummary:
    values: dict[str, object] = {
        "sample_count": samples,
        "rtt_mean_ns": round(baseline_ms * MS),
        "rtt_ratio": 1.0,
        "rtt_scatter": scatter,
        "baseline_mean_ns": round(baseline_ms * MS),
    }
    return WindowSummary(**(values | changes))


def test_it_begins_with_that_of_an_exponential_law() -> None:
    assert Scatter().value == 1.0


def test_what_scatters_little_is_known_within_a_hundred_samples() -> None:
    scatter = Scatter()
    for _ in range(5):
        scatter.add(seen(0.0))
    assert scatter.value < 0.3
    for _ in range(100):
        scatter.add(seen(0.0))
    assert scatter.value < 0.02


def test_one_long_request_in_hundreds_counts_for_what_it_is() -> None:
    """600 of 5 ms for each of 1 s: most windows have none, and would speak of no scatter at all."""
    rng = random.Random(3)
    latencies = [1000.0 if rng.random() < 1 / 600 else 5.0 for _ in range(60_000)]
    scatter = Scatter()
    for first in range(0, len(latencies), 20):
        few = latencies[first : first + 20]
        mean = statistics.fmean(few)
        scatter.add(seen(statistics.variance(few) / mean**2, baseline_ms=mean))
    mean = 5 + 995 / 600
    true = 995**2 / 600 / mean**2
    assert scatter.value == pytest.approx(true, rel=0.8)
    assert scatter.value > 10


def test_a_stall_counts_for_no_more_than_a_hundred() -> None:
    scatter = Scatter()
    for _ in range(100):
        scatter.add(seen(1.0))
    scatter.add(seen(1e6))
    assert scatter.value < 2.0


def test_a_window_without_a_baseline_says_nothing() -> None:
    scatter = Scatter()
    scatter.add(seen(50.0, baseline_ms=0, rtt_ratio=0.0))
    assert scatter.value == 1.0


def test_what_is_known_without_load_is_the_least() -> None:
    """But not by a baseline of a handful of samples."""
    scatter = Scatter()
    for _ in range(50):
        scatter.add(seen(0.0))
    assert scatter.add(seen(0.0, baseline_scatter=2.0)) == 2.0
    assert scatter.add(seen(0.0, baseline_scatter=2.0, provisional_count=20)) < 0.1
