"""The published rules of throttles at the sender."""

from __future__ import annotations

import random

import pytest

from shedproxy.core import NS_PER_S, Instant, seconds
from shedproxy.simulator.client_throttle import CubicThrottle, NoThrottle, SreThrottle

MS = 1_000_000


def sent(throttle: SreThrottle, accepts: list[bool], *, every_ms: int = 10) -> int:
    """How many of the requests were sent; the backend accepts as listed, in turn of sending."""
    count = 0
    for index, is_accepted in enumerate(accepts):
        now = Instant(index * every_ms * MS)
        if throttle.may_send(now):
            count += 1
            throttle.note(now, is_accepted=is_accepted)
    return count


def test_without_a_throttle_all_is_sent() -> None:
    throttle = NoThrottle()
    throttle.note(Instant(0), is_accepted=False)
    assert throttle.may_send(Instant(1))


def test_while_all_is_accepted_nothing_is_held_back() -> None:
    assert sent(SreThrottle(rng=random.Random(1), multiplier=1.1), [True] * 1000) == 1000


@pytest.mark.parametrize("multiplier", [1.1, 2.0])
def test_in_overload_so_many_times_what_is_accepted_is_sent(multiplier: float) -> None:
    """A backend that accepts every fourth request that is offered, whatever is sent."""
    throttle = SreThrottle(rng=random.Random(1), multiplier=multiplier, window_ns=seconds(10))
    sent_count = accepted_count = 0
    for index in range(8_000):
        now = Instant(index * 10 * MS)
        if throttle.may_send(now):
            is_accepted = accepted_count < index / 4
            sent_count += index >= 4_000
            accepted_count += is_accepted
            throttle.note(now, is_accepted=is_accepted)
    assert sent_count / 1_000 == pytest.approx(multiplier, rel=0.05)


def test_one_request_in_five_is_sent_to_see_whether_all_is_well_again() -> None:
    """The floor; without one hardly any is."""
    failing = [False] * 5_000
    kept = SreThrottle(rng=random.Random(1), window_ns=seconds(5), reject_max=0.8)
    bare = SreThrottle(rng=random.Random(1), window_ns=seconds(5))
    assert sent(kept, failing) == pytest.approx(1_000, rel=0.1)
    assert sent(bare, failing) < 50


def test_what_was_long_ago_is_forgotten() -> None:
    throttle = SreThrottle(rng=random.Random(1), window_ns=seconds(10))
    sent(throttle, [False] * 500)
    assert throttle.may_send(Instant(30 * NS_PER_S))


def test_cubic_has_no_rate_until_it_is_refused() -> None:
    throttle = CubicThrottle(now=Instant(0))
    for index in range(100):
        now = Instant(index * 10 * MS)
        assert throttle.may_send(now)
        throttle.note(now, is_accepted=True)
    assert throttle.rate_rps == 0
    throttle.note(Instant(NS_PER_S), is_accepted=False)
    assert throttle.rate_rps == pytest.approx(0.7 * 96, rel=0.1), "of the smoothed 100 a second"


def test_cubic_never_falls_below_one_request_in_two_seconds() -> None:
    throttle = CubicThrottle(now=Instant(0))
    for index in range(60):
        throttle.note(Instant(index * NS_PER_S), is_accepted=False)
    assert throttle.rate_rps == 0.5


def test_cubic_grows_back_and_at_most_to_twice_what_is_sent() -> None:
    throttle = CubicThrottle(now=Instant(0))
    now = 0
    for _ in range(200):
        now += 10 * MS
        throttle.note(Instant(now), is_accepted=True)
    throttle.note(Instant(now), is_accepted=False)
    low = throttle.rate_rps
    rates = []
    for _ in range(600):
        now += 10 * MS
        if throttle.may_send(Instant(now)):
            throttle.note(Instant(now), is_accepted=True)
            rates.append(throttle.rate_rps)
    assert rates[-1] > low / 0.7, "beyond where it was refused"
    assert max(rates) <= 2 * 101
