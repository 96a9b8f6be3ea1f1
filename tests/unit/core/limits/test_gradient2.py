"""Gradient2 follows its published formula, weaknesses included."""

from __future__ import annotations

import pytest

from shedproxy.core import NS_PER_MS, Instant, LimitPolicy
from shedproxy.core.limits.gradient2 import (
    ExponentialMean,
    Gradient2Limit,
    next_gradient2_limit,
)
from shedproxy.core.limits.protocol import LimitCause, LimitChange
from shedproxy.core.window import WindowSummary

NOW = Instant(0)


def sample(limit: Gradient2Limit, rtt_ms: float, in_flight: int) -> LimitChange:
    window = WindowSummary(
        sample_count=1,
        rtt_mean_ns=round(rtt_ms * NS_PER_MS),
        in_flight_max=in_flight,
    )
    return limit.on_window(window, now=NOW)


@pytest.mark.parametrize(
    ("rtt_short", "in_flight", "expected"),
    [
        (10, 20, (20.8, LimitCause.HEADROOM)),  # gradient 1: + 0.2 x 4
        (15, 20, (20.8, LimitCause.HEADROOM)),  # 1.5 x the long mean is tolerated
        (20, 20, (19.8, LimitCause.QUEUEING)),  # gradient 0.75: 16 + 0.2 x 19
        (1000, 20, (18.8, LimitCause.QUEUEING)),  # gradient never below 0.5
        (1000, 9, (20.0, LimitCause.APP_LIMITED)),
    ],
)
def test_one_step(rtt_short: float, in_flight: int, expected: tuple[float, LimitCause]) -> None:
    limit, cause = next_gradient2_limit(
        limit=20.0, rtt_short_ns=rtt_short, rtt_long_ns=10, in_flight=in_flight
    )
    assert limit == pytest.approx(expected[0])
    assert cause is expected[1]


def test_the_long_mean_is_arithmetic_then_exponential() -> None:
    mean = ExponentialMean(window=600, warmup=2)
    assert mean.add(10) == 10
    assert mean.add(20) == 15
    assert mean.add(616) == pytest.approx(15 + 601 * 2 / 601)


def test_steady_latency_grows_to_the_maximum() -> None:
    """However bad it steadily is: a ratio to itself cannot see it."""
    limit = Gradient2Limit(LimitPolicy(initial=20, minimum=20, maximum=200))
    for _ in range(300):
        change = sample(limit, 5_000, limit.limit)
    assert (limit.limit, change.cause) == (200, LimitCause.CLAMPED)


def test_a_sudden_slowdown_lowers_it() -> None:
    limit = Gradient2Limit(LimitPolicy(initial=100, minimum=20, maximum=200))
    for _ in range(10):
        sample(limit, 10, 0)
    change = sample(limit, 100, 100)
    assert change.cause is LimitCause.QUEUEING
    assert change.limit_after < 100


def test_a_slow_period_is_forgotten_fast() -> None:
    limit = Gradient2Limit(LimitPolicy(initial=100, minimum=20, maximum=200))
    for _ in range(100):
        sample(limit, 100, 0)
    for _ in range(100):
        sample(limit, 10, 0)
    assert sample(limit, 35, 100).cause is LimitCause.QUEUEING
