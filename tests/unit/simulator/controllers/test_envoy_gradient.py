"""Envoy's gradient controller passes the cases of `gradient_controller_test.cc`."""

from __future__ import annotations

import math
from random import Random

import pytest

from shedproxy.core import (
    NS_PER_US,
    Instant,
    Outcome,
    Permit,
    Rejected,
    RequestInfo,
    milliseconds,
    seconds,
)
from shedproxy.simulator.controllers.envoy_gradient import EnvoyGradientControl, next_envoy_limit

MS = milliseconds(1)
STEP = 101 * MS
"""A little more than an interval between updates."""


class Chance:
    """Always the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


class Bench:
    """A controller and a clock that runs its timers."""

    def __init__(self, *, rng: Random | Chance | None = None, **changes: object) -> None:
        defaults = {"jitter_ratio": 0.0, "interval_ns": seconds(30), "request_count": 5}
        self.control = EnvoyGradientControl(rng=rng or Random(1), **(defaults | changes))
        self.now = Instant(seconds(42 * 3600))
        self.request_count = int((defaults | changes)["request_count"])

    @property
    def limit(self) -> int:
        return self.control.limit

    def advance(self, length_ns: int) -> None:
        until = Instant(self.now + length_ns)
        while (due := self.control.next_tick_at()) is not None and due <= until:
            self.control.tick(now=due)
        self.now = until

    def forward(self) -> Permit:
        permit = self.control.arrive(RequestInfo(), now=self.now)
        assert isinstance(permit, Permit)
        return permit

    def block(self) -> None:
        assert isinstance(self.control.arrive(RequestInfo(), now=self.now), Rejected)

    def finish(self, permit: Permit, latency_ns: int, outcome: Outcome = Outcome.SUCCESS) -> None:
        """End it now, as if it had been sent a latency ago."""
        permit.admitted_at = Instant(self.now - latency_ns)
        self.control.release(permit, outcome, now=self.now)

    def sample(self, latency_ns: int, count: int = 1) -> None:
        for _ in range(count):
            self.finish(self.forward(), latency_ns)

    def measure(self, latency_ns: int) -> None:
        """The measurement, and one sample more that belongs to the first update."""
        self.sample(latency_ns, self.request_count + 1)
        assert not self.control.is_measuring
        assert self.control.baseline_ns == latency_ns


# --- gradient_controller_test.cc ----------------------------------------------------------------


def test_min_rtt_logic() -> None:
    """The measurement begins at once, and 50 samples of 13 ms end it."""
    bench = Bench(min_concurrency=7, request_count=50)
    permits = [bench.forward() for _ in range(7)]
    bench.block()
    bench.block()
    bench.advance(13 * MS)
    for permit in permits:
        bench.finish(permit, 13 * MS)
    for _ in range(43):
        assert bench.control.is_measuring
        assert bench.limit == 7
        bench.sample(13 * MS)
    assert not bench.control.is_measuring
    assert bench.control.reading() == (7, 0, 0, 0.0, 13 * MS)


def test_cancel_latency_sample() -> None:
    """The median of 1 to 5 ms is 3."""
    bench = Bench()
    for latency in range(1, 6):
        bench.sample(latency * MS)
    assert bench.control.baseline_ns == 3 * MS


def test_sample_percentile_process() -> None:
    """A request that was cancelled frees its slot and is no sample."""
    bench = Bench(request_count=1)
    permits = [bench.forward() for _ in range(3)]
    bench.block()
    bench.finish(permits[0], MS, Outcome.ABANDONED)
    assert bench.control.is_measuring
    bench.forward()
    bench.block()


def test_min_rtt_epoch() -> None:
    """What was sent before the measurement cannot end it."""
    bench = Bench(request_count=25, min_concurrency=2, buffer_ratio=0.0)
    bench.advance(1350 * MS)
    assert bench.control.is_measuring
    assert bench.limit == 2
    bench.measure(1350 * MS)
    for _ in range(29):
        before = bench.limit
        permit = bench.forward()
        bench.advance(seconds(1))
        bench.finish(permit, 1350 * MS)
        assert bench.limit > before
    old = [bench.forward() for _ in range(bench.limit)]
    assert len(old) > 25
    bench.advance(seconds(5))
    assert bench.control.is_measuring
    assert bench.limit == 2
    for permit in old:
        bench.finish(permit, seconds(300))
    assert bench.control.is_measuring


def test_min_rtt_buffer() -> None:
    """With half of it on top 6 ms are no more than 5."""
    bench = Bench(buffer_ratio=0.5)
    assert bench.limit == 3
    bench.measure(5 * MS)
    for _ in range(10):
        before = bench.limit
        bench.sample(6 * MS, 5)
        bench.advance(STEP)
        assert bench.limit > before


def test_concurrency_limit_behavior_basic() -> None:
    bench = Bench(buffer_ratio=0.1, min_concurrency=7)
    assert bench.limit == 7
    bench.measure(5 * MS)
    bench.advance(STEP)
    assert 7 <= bench.limit <= 14, "it grows on its own"
    for _ in range(10):
        before = bench.limit
        bench.sample(4 * MS, 5)
        bench.advance(STEP)
        assert before <= bench.limit <= 2 * before
    for _ in range(10):
        before = bench.limit
        bench.sample(6 * MS, 5)
        bench.advance(STEP)
        assert 7 <= bench.limit < before


def grown() -> Bench:
    """A controller of which the limit has grown for five updates."""
    bench = Bench()
    bench.measure(5 * MS)
    bench.advance(seconds(1))
    for _ in range(5):
        before = bench.limit
        bench.sample(4 * MS, 5)
        bench.advance(STEP)
        assert bench.limit > before
    return bench


def test_min_rtt_return_to_previous_limit() -> None:
    bench = grown()
    limit = bench.limit
    bench.advance(seconds(31))
    assert bench.limit == 3
    bench.advance(seconds(1))
    for _ in range(5):
        assert bench.limit == 3
        bench.sample(13 * MS)
    assert bench.limit == limit
    assert bench.control.baseline_ns == 13 * MS


def test_min_rtt_reschedule() -> None:
    """No update during a measurement."""
    bench = grown()
    bench.advance(seconds(31))
    assert bench.limit == 3
    assert bench.control.next_tick_at() is None
    bench.advance(STEP)
    assert bench.limit == 3


def test_no_samples() -> None:
    bench = grown()
    limit = bench.limit
    for _ in range(5):
        bench.advance(STEP)
        assert bench.limit == limit


@pytest.mark.parametrize(
    ("jitter_ratio", "interval_s", "chance", "after_ns"),
    [
        (0.1, 100, 0.5, seconds(105)),  # theirs is 15000 modulo 10000 ms
        (0.1, 100, 0.99999, seconds(110) - MS),
        (0.0, 45, 0.5, seconds(45)),
    ],
)
def test_timer_accuracy(jitter_ratio: float, interval_s: int, chance: float, after_ns: int) -> None:
    bench = Bench(
        rng=Chance(chance),
        jitter_ratio=jitter_ratio,
        interval_ns=seconds(interval_s),
        update_interval_ns=123 * MS,
    )
    for _ in range(5):
        permit = bench.forward()
        bench.advance(5 * MS)
        bench.finish(permit, 5 * MS)
    assert bench.control.next_tick_at() == bench.now + 123 * MS
    bench.advance(after_ns - 1)
    assert not bench.control.is_measuring
    bench.advance(1)
    assert bench.control.is_measuring


def test_consecutive_min_concurrency_reset() -> None:
    """Five updates at the least put the measurement in doubt; with the new one it grows."""
    bench = Bench(interval_ns=seconds(3600), buffer_ratio=0.0, min_concurrency=7)
    bench.measure(5 * MS)
    bench.advance(STEP)
    assert 7 <= bench.limit <= 14
    for _ in range(5):
        bench.sample(10 * MS, 5)
        bench.advance(STEP)
    for _ in range(10):
        before = bench.limit
        bench.sample(10 * MS, 5)
        bench.advance(STEP)
        assert bench.limit >= before
    assert bench.control.baseline_ns == 10 * MS
    assert bench.limit > 20


def test_integration_of_the_filter() -> None:
    """At a limit of 1 one of ten requests is forwarded, nine are blocked."""
    bench = Bench(min_concurrency=1)
    bench.forward()
    for _ in range(9):
        bench.block()


# --- and beyond ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rtt_ms", "limit"),
    [
        (5, int(125 + math.sqrt(125))),
        (6.25, 110),
        (10, int(62.5 + math.sqrt(62.5))),
        (100, int(50 + math.sqrt(50))),
        (0.1, int(200 + math.sqrt(200))),
        (0, int(200 + math.sqrt(200))),
    ],
)
def test_one_update(rtt_ms: float, limit: int) -> None:
    wanted = next_envoy_limit(limit=100, rtt_min_ns=5 * MS, rtt_ns=milliseconds(rtt_ms))
    assert wanted == limit


def test_updates_stay_inside_the_bounds() -> None:
    assert next_envoy_limit(limit=3, rtt_min_ns=MS, rtt_ns=10 * MS) == 3
    assert next_envoy_limit(limit=900, rtt_min_ns=MS, rtt_ns=MS) == 1000


def test_defaults() -> None:
    """50 samples; 60 s and up to 15 % more between measurements; an update each 0.1 s."""
    control = EnvoyGradientControl(rng=Chance(0.9999999))
    assert control.reading() == (3, 0, 0, 0.0, 0)
    for index in range(50):
        assert control.is_measuring
        permit = control.arrive(RequestInfo(), now=Instant(index * MS))
        assert isinstance(permit, Permit)
        control.release(permit, Outcome.SUCCESS, now=Instant((index + 1) * MS))
    due = control.next_tick_at()
    assert due == 150 * MS
    while not control.is_measuring:
        assert due is not None
        control.tick(now=due)
        began_at, due = due, control.next_tick_at()
    assert began_at == 50 * MS + seconds(69) - MS


def test_the_fifth_update_in_a_row_at_the_least_begins_a_measurement() -> None:
    """One that raises the limit (here to 8, then 6, 4, 3) ends the row; one without samples not."""
    bench = Bench()
    bench.sample(5 * MS, 5)
    seen = []
    for latency in (20, 20, 20, 20, 1, 20, 20, 20, 20, 20, None, 20, 20, 20):
        if latency is not None:
            bench.sample(latency * MS)
        bench.advance(100 * MS)
        seen.append(bench.control.is_measuring)
    assert seen == [False] * 13 + [True]


def test_samples_before_a_measurement_are_thrown_away() -> None:
    """Also those of requests that were sent after the measurement before."""
    bench = Bench(update_interval_ns=seconds(40))
    bench.sample(5 * MS, 5)
    bench.advance(seconds(30) - MS)
    bench.sample(MS, 4)
    bench.advance(MS)
    bench.advance(9 * MS)
    bench.sample(9 * MS, 4)
    assert bench.control.is_measuring
    bench.sample(9 * MS)
    assert bench.control.baseline_ns == 9 * MS


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.OVERLOAD, Outcome.IGNORE])
def test_every_answer_is_a_sample(outcome: Outcome) -> None:
    """Also failures: fast ones lower what is taken for the latency without load."""
    bench = Bench(request_count=1)
    bench.finish(bench.forward(), 20 * NS_PER_US, outcome)
    assert bench.control.baseline_ns == 20 * NS_PER_US


def test_time_that_the_client_stalled_is_not_latency() -> None:
    bench = Bench(request_count=1)
    permit = bench.forward()
    now = Instant(bench.now + 9 * MS)
    bench.control.release(permit, Outcome.SUCCESS, now=now, stalled_ns=4 * MS)
    assert bench.control.baseline_ns == 5 * MS


@pytest.mark.parametrize(("percentile", "expected"), [(0.0, 1), (0.9, 9), (1.0, 10)])
def test_percentiles_are_exact(percentile: float, expected: int) -> None:
    bench = Bench(request_count=10, percentile=percentile)
    for latency in (3, 1, 2, 10, 9, 4, 5, 6, 8, 7):
        bench.sample(latency * MS)
    assert bench.control.baseline_ns == expected * MS


def test_a_late_tick_counts_from_then() -> None:
    bench = Bench()
    bench.measure(5 * MS)
    late = Instant(bench.now + seconds(2))
    bench.control.tick(now=late)
    assert bench.control.next_tick_at() == late + 100 * MS


def test_a_tick_before_its_time_does_nothing() -> None:
    bench = Bench()
    bench.measure(5 * MS)
    due = bench.control.next_tick_at()
    assert due is not None
    bench.control.tick(now=Instant(due - 1))
    assert (bench.limit, bench.control.next_tick_at()) == (3, due)
