"""BBR passes the cases of aegis' `bbr_test.go` and go-zero's `adaptiveshedder_test.go`.

Theirs fill the counters of passes and latencies one by one; here both come from what was released.
"""

from __future__ import annotations

import math

import pytest

from shedproxy.core import Instant, Outcome, Permit, Rejected, RequestInfo, milliseconds, seconds
from shedproxy.simulator.controllers.bbr import (
    BbrControl,
    PassBuckets,
    SmoothedUse,
    always_busy,
)

MS = milliseconds(1)
BUCKET = 100 * MS
COUNT = 10
START = seconds(100)


def at(bucket: float) -> Instant:
    """The beginning of a bucket, or a part of it later."""
    return Instant(START + round(bucket * BUCKET))


def filled(*, first: int) -> PassBuckets:
    """Ten buckets of `first`, then 100 more each time, with latencies 1..10 ms, 11..20 ms, ..."""
    buckets = PassBuckets(BUCKET, COUNT)
    for index in range(COUNT):
        for number in range(first + index * 100):
            buckets.add((index * 10 + number % 10 + 1) * MS, now=at(index))
    return buckets


class Bench:
    """A controller that has seen what `filled` says, and how busy its host is."""

    def __init__(self, *, first: int) -> None:
        self.busy = 0.8
        self.control = BbrControl(
            utilisation=lambda _: self.busy,
            threshold=0.8,
            window_ns=seconds(1),
            bucket_count=COUNT,
        )
        for index in range(COUNT):
            for number in range(first + index * 100):
                rtt_ns = (index * 10 + number % 10 + 1) * MS
                permit = self.control.admit(RequestInfo(), now=Instant(at(index) - rtt_ns))
                self.control.release(permit, Outcome.SUCCESS, now=at(index))

    def sheds(self, in_flight: int, bucket: float = COUNT - 1) -> bool:
        self.control.in_flight = in_flight
        return isinstance(self.control.arrive(RequestInfo(), now=at(bucket)), Rejected)


# --- aegis, go-zero -----------------------------------------------------------------------------


def test_max_pass() -> None:
    """100, 200 .. 1000 passes: 1000, once its bucket is whole."""
    buckets = filled(first=100)
    assert buckets.best(now=at(9))[0] == 900
    assert buckets.best(now=at(10))[0] == 1000


def test_max_pass_of_nothing_is_one() -> None:
    assert PassBuckets(BUCKET, COUNT).best(now=at(0)) == (1, 1)


def test_max_pass_with_cache() -> None:
    """A bound is kept for the length of a bucket, so that a new one is counted a little late."""
    control = BbrControl(window_ns=seconds(1), bucket_count=COUNT)
    bounds = []
    for passes, bucket in ((50, 0), (0, 0.5), (50, 0.5), (0, 1.0), (1, 1.0), (0, 2.0)):
        for _ in range(passes):
            permit = control.admit(RequestInfo(), now=Instant(at(bucket) - MS))
            control.release(permit, Outcome.SUCCESS, now=at(bucket))
        if not passes:
            control.in_flight = 2
            refused = control.arrive(RequestInfo(), now=at(bucket))
            assert isinstance(refused, Rejected)
            bounds.append(refused.limit)
            control.in_flight = 0
    assert bounds == [0, 0, 1], "1 ms x 10 buckets a second x 1, 1 and 100 passes"


def test_min_rt() -> None:
    """Means of 5.5, 15.5 .. ms: 6."""
    assert filled(first=100).best(now=at(9))[1] == 6


@pytest.mark.parametrize(("first", "bound"), [(100, 54), (200, 60)])
def test_max_in_flight(first: int, bound: int) -> None:
    """go-zero: 900 passes x 6 ms x 10 buckets a second; aegis: 1000 passes."""
    bench = Bench(first=first)
    assert not bench.sheds(bound)
    assert bench.sheds(bound + 1)
    assert bench.control.reading() == (bound + 1, bound + 1, 0, 0.0, 6 * MS)


def test_should_drop() -> None:
    bench = Bench(first=100)
    bench.busy = 0.8
    assert not bench.sheds(50)
    assert bench.sheds(80)
    bench.busy = 0.7
    assert bench.sheds(80), "not busy, within a second"
    assert not bench.sheds(80, bucket=COUNT - 1 + 20), "not busy, two seconds later"


def test_should_drop_of_go_zero() -> None:
    """A cool host admits whatever is in flight; a hot one what is below the bound."""
    bench = Bench(first=100)
    bench.busy = 0.799
    assert not bench.sheds(80)
    assert bench.control.reading().limit == math.inf
    bench.busy = 1.0
    assert not bench.sheds(50)
    assert bench.sheds(80)


# --- and beyond ---------------------------------------------------------------------------------


def test_the_cool_off_begins_with_the_first_refusal() -> None:
    """As in aegis: a refusal within it does not prolong it."""
    bench = Bench(first=100)
    assert bench.sheds(80, 9)
    bench.busy = 0.0
    assert bench.sheds(2000, 18)
    assert bench.sheds(2000, 19)
    assert not bench.sheds(2000, 19.01)


def test_after_the_cool_off_it_begins_anew() -> None:
    bench = Bench(first=100)
    assert bench.sheds(2000, 9)
    bench.busy = 0.0
    assert not bench.sheds(2000, 30)
    bench.busy = 1.0
    assert bench.sheds(2000, 31)
    bench.busy = 0.0
    assert bench.sheds(2000, 40)


def test_old_buckets_are_forgotten() -> None:
    """Of ten buckets the one being filled and the nine before it are remembered."""
    buckets = filled(first=100)
    assert buckets.best(now=at(18)) == (1000, 96)
    assert buckets.best(now=at(19)) == (1, 1)


def test_latency_is_rounded_up_to_a_millisecond_and_zero_is_none() -> None:
    buckets = PassBuckets(BUCKET, COUNT)
    buckets.add(0, now=at(0))
    assert buckets.best(now=at(1)) == (1, 1)
    buckets.add(MS + 1, now=at(1))
    buckets.add(0, now=at(1))
    assert buckets.best(now=at(2)) == (2, 2)


def test_without_a_signal_the_host_is_always_busy() -> None:
    assert always_busy(at(0)) == 1.0
    control = BbrControl()
    assert control.reading().limit == math.inf, "nothing has arrived"
    answers = [control.arrive(RequestInfo(), now=at(0)) for _ in range(3)]
    assert [type(answer) for answer in answers] == [Permit, Permit, Rejected]
    assert control.reading() == (2, 2, 0, 0.0, MS), "never less than two"


def test_only_successes_pass() -> None:
    """Stalls are no latency; 200 in one of 100 buckets of 0.1 s are 2000 a second."""
    control = BbrControl()
    for outcome in Outcome:
        for _ in range(200):
            permit = control.admit(RequestInfo(), now=at(0))
            control.release(permit, outcome, now=Instant(at(0) + 9 * MS), stalled_ns=4 * MS)
    control.arrive(RequestInfo(), now=at(1), time_left_ns=MS)
    assert control.reading() == (11, 1, 0, 0.0, 5 * MS)


def test_use_is_smoothed_over_half_seconds() -> None:
    busy = 1.0
    use = SmoothedUse(lambda: busy)
    assert use(milliseconds(100)) == 0.0, "nothing is known before the first of them is over"
    assert use(milliseconds(500)) == pytest.approx(0.8)
    assert use(seconds(1)) == pytest.approx(0.8 * 0.95 + 0.05)
    busy = 0.0
    use(seconds(1))
    assert use(seconds(11)) == pytest.approx((0.8 * 0.95 + 0.05) * 0.95**20)
