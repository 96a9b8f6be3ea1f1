"""Bounds hold whatever an estimator wants; every algorithm a policy may name exists."""

from __future__ import annotations

import pytest

from shedproxy.core import Instant, LimitPolicy
from shedproxy.core.limits import ALGORITHMS, LimitCause, clamp_limit, make_estimator
from shedproxy.core.window import WindowSummary


@pytest.mark.parametrize(
    ("wanted", "minimum", "maximum", "limit"),
    [(0, 0, 10, 1), (5, 1, 10, 5), (11, 1, 10, 10), (2, 4, 10, 4)],
)
def test_a_limit_stays_inside_its_bounds(
    wanted: int, minimum: int, maximum: int, limit: int
) -> None:
    policy = LimitPolicy(minimum=minimum, maximum=maximum)
    assert clamp_limit(wanted, policy) == limit


def test_causes_have_words() -> None:
    assert LimitCause.APP_LIMITED.label == "app_limited"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_starts_at_initial_and_survives_odd_windows(algorithm: str) -> None:
    estimator = make_estimator(LimitPolicy(algorithm=algorithm, initial=12, maximum=20))
    assert estimator.limit == 12
    now = Instant(0)
    for window in (
        WindowSummary(),
        WindowSummary(overload_count=3),
        WindowSummary(sample_count=1, rtt_mean_ns=1),
        WindowSummary(
            sample_count=20,
            rtt_mean_ns=10**12,
            rtt_ratio=1e3,
            baseline_mean_ns=10**9,
            in_flight_max=12,
            in_flight_mean=12.0,
            limit_was_reached=True,
        ),
    ):
        before = estimator.limit
        change = estimator.on_window(window, now=now)
        assert (change.limit_before, change.limit_after) == (before, estimator.limit)
        assert 1 <= estimator.limit <= 20
    estimator.apply(LimitPolicy(algorithm=algorithm, initial=3, maximum=3))
    assert estimator.limit <= 3


def test_an_unknown_algorithm_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'reno'.*adaptive, aimd, fixed"):
        make_estimator(LimitPolicy(algorithm="reno"))
