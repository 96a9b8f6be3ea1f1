from __future__ import annotations

from shedproxy.core import NS_PER_S, Instant
from shedproxy.dataplane.wire.rate import RATE_WINDOW_NS, RateWatch

RATE = 240
WINDOW_S = RATE_WINDOW_NS // NS_PER_S


def at(windows: float) -> Instant:
    return Instant(int(windows * RATE_WINDOW_NS))


def test_nothing_is_said_before_a_window_is_over() -> None:
    watch = RateWatch(0, at(0))
    assert not watch.is_too_slow(0, at(0.99), rate_min=RATE)
    assert watch.is_too_slow(0, at(1), rate_min=RATE)


def test_the_rate_is_just_enough_or_one_byte_short() -> None:
    enough = RATE * WINDOW_S
    assert not RateWatch(100, at(0)).is_too_slow(100 + enough, at(1), rate_min=RATE)
    assert RateWatch(100, at(0)).is_too_slow(99 + enough, at(1), rate_min=RATE)


def test_each_window_counts_for_itself() -> None:
    watch = RateWatch(0, at(0))
    assert not watch.is_too_slow(1_000_000, at(1), rate_min=RATE)
    assert watch.is_too_slow(1_000_001, at(2), rate_min=RATE)


def test_a_window_in_which_we_did_not_read_is_no_fault() -> None:
    watch = RateWatch(0, at(0))
    watch.was_paused = True
    assert not watch.is_too_slow(0, at(1), rate_min=RATE)
    assert watch.is_too_slow(0, at(2), rate_min=RATE)


def test_a_rate_of_zero_allows_everything() -> None:
    assert not RateWatch(0, at(0)).is_too_slow(0, at(9), rate_min=0)
