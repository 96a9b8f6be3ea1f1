"""The first slots: how they open, and what closes the opening."""

from __future__ import annotations

from shedproxy.core import NS_PER_MS
from shedproxy.core.limits.opening import Opening

BASE = 20 * NS_PER_MS


def after(*answers: tuple[float, int], limit: int = 2) -> Opening:
    """Answers of (latency in baselines, others in flight)."""
    opening = Opening(limit)
    for ratio, in_flight in answers:
        opening.take(int(ratio * BASE), BASE, in_flight)
    return opening


def test_the_first_two_turns_open_nothing() -> None:
    assert [after(*[(1, 0)] * count).limit for count in (0, 2, 4)] == [2, 2, 2]
    assert after(*[(1, 0)] * 10, limit=5).limit == 5


def test_each_answer_after_it_opens_a_slot() -> None:
    opening = after(*[(1, 1)] * 14)
    assert (opening.limit, opening.level) == (12, 12.0)
    assert not opening.is_over


def test_one_long_answer_opens_none_and_two_in_a_row_end_it() -> None:
    assert after(*[(1, 1)] * 6, (3, 3)).limit == 4
    assert not after(*[(1, 1)] * 4, (3, 3), (1, 1), (3, 3)).is_over
    assert after(*[(1, 1)] * 4, (3, 3), (3, 3)).is_over


def test_it_ends_at_what_the_long_answers_stand_for() -> None:
    """Four in flight took twice as long: 1.8 times, and a millisecond, is with 3.7."""
    assert after(*[(1, 1)] * 6, (2, 3), (2, 3)).level == 3.7


def test_never_at_less_than_two_or_more_than_is_open() -> None:
    assert after(*[(1, 1)] * 4, (90, 1), (90, 1)).level == 2.0
    assert after(*[(1, 1)] * 4, (1.9, 5), (1.9, 5)).level == 2.0


def test_a_millisecond_more_is_noise() -> None:
    opening = Opening(2)
    for rtt_ns in (*[NS_PER_MS // 5] * 4, NS_PER_MS, NS_PER_MS):
        opening.take(rtt_ns, NS_PER_MS // 5, 1)
    assert opening.limit == 4
