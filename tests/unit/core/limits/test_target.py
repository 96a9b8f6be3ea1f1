"""The latency to hold leaves room for noise, and more where the baseline is badly known."""

from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_MS
from shedproxy.core.limits.target import target_ns

MS = NS_PER_MS


@pytest.mark.parametrize(
    ("baseline_ms", "target_ms"), [(0.2, 1.2), (4, 5), (10, 12), (20, 24), (200, 240)]
)
def test_a_fifth_above_the_baseline_and_never_less_than_a_millisecond(
    baseline_ms: float, target_ms: float
) -> None:
    assert target_ns(round(baseline_ms * MS)) == target_ms * MS


@pytest.mark.parametrize(("error", "target_ms"), [(0.0, 120), (0.1, 140), (0.3, 180), (1.0, 180)])
def test_the_margin_grows_by_two_errors_of_the_baseline_up_to_its_bound(
    error: float, target_ms: float
) -> None:
    assert target_ns(100 * MS, error) == target_ms * MS
