"""Vegas gives the numbers of the reference's own tests."""

from __future__ import annotations

from shedproxy.core import NS_PER_MS, Instant, LimitPolicy
from shedproxy.core.limits.protocol import LimitCause, LimitChange
from shedproxy.core.limits.vegas import VegasLimit, log10_step
from shedproxy.core.window import WindowSummary

NOW = Instant(0)


def sample(
    limit: VegasLimit, rtt_ms: float, in_flight: int, *, did_drop: bool = False
) -> LimitChange:
    window = WindowSummary(
        sample_count=1,
        rtt_mean_ns=round(rtt_ms * NS_PER_MS),
        in_flight_max=in_flight,
        overload_count=int(did_drop),
    )
    return limit.on_window(window, now=NOW)


def small() -> VegasLimit:
    return VegasLimit(LimitPolicy(initial=10, maximum=20), alpha=3, beta=6)


def test_no_queue_adds_beta() -> None:
    limit = small()
    assert sample(limit, 10, 10).limit_after == 10
    change = sample(limit, 10, 11)
    assert (change.limit_after, change.cause) == (16, LimitCause.HEADROOM)


def test_a_long_queue_takes_one() -> None:
    limit = small()
    sample(limit, 10, 10)
    change = sample(limit, 50, 11)
    assert (change.limit_after, change.cause) == (9, LimitCause.QUEUEING)


def test_a_queue_between_alpha_and_beta_holds() -> None:
    limit = small()
    sample(limit, 10, 10)
    change = sample(limit, 14, 14)
    assert (change.limit_after, change.cause) == (10, LimitCause.STEADY)


def test_less_than_half_in_flight_holds() -> None:
    limit = small()
    sample(limit, 10, 10)
    assert sample(limit, 10, 4).cause is LimitCause.APP_LIMITED


def test_a_drop_takes_one() -> None:
    limit = small()
    sample(limit, 10, 10)
    change = sample(limit, 10, 10, did_drop=True)
    assert (change.limit_after, change.cause) == (9, LimitCause.OVERLOAD)


def test_a_window_of_drops_alone_takes_one() -> None:
    change = sample(small(), 0, 0, did_drop=True)
    assert (change.limit_after, change.cause) == (9, LimitCause.OVERLOAD)


def test_steps_grow_with_the_logarithm() -> None:
    limit = VegasLimit(LimitPolicy(initial=10_000, maximum=20_000))
    sample(limit, 10, 5_000)
    assert sample(limit, 10, 6_000).limit_after == 10_024
    assert [log10_step(limit) for limit in (1, 10, 99, 100, 10_000)] == [1, 1, 1, 2, 4]


def test_smoothing_blends_with_the_limit_of_before() -> None:
    limit = VegasLimit(
        LimitPolicy(initial=100, maximum=200), smoothing=0.5, decrease=lambda value: value / 2
    )
    sample(limit, 10, 100)
    assert sample(limit, 20, 100).limit_after == 75
    assert sample(limit, 20, 100).limit_after == 56


def test_the_maximum_clamps() -> None:
    limit = VegasLimit(LimitPolicy(initial=18, maximum=20))
    sample(limit, 10, 18)
    change = sample(limit, 10, 18)
    assert (change.limit_after, change.cause) == (20, LimitCause.CLAMPED)


def test_the_no_load_latency_is_overwritten_on_a_schedule_whatever_the_load() -> None:
    """The reference's weakness, faithfully: within 30 x limit samples it takes any latency."""
    limit = VegasLimit(LimitPolicy(initial=10, maximum=10))
    sample(limit, 10, 10)
    for _ in range(300):
        sample(limit, 50, 10)
    assert limit.rtt_noload_ns == 50 * NS_PER_MS
