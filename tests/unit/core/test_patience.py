"""What is learnt from clients that leave: an age, and only if most who reach it leave there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import NS_PER_MS
from shedproxy.core.patience import Patience

MS = NS_PER_MS


def told(left_ms: list[float] = (), stayed_ms: list[float] = ()) -> Patience:
    patience = Patience()
    for age_ms in left_ms:
        patience.leave(int(age_ms * MS))
    for age_ms in stayed_ms:
        patience.stay(int(age_ms * MS))
    patience.update()
    return patience


def test_until_somebody_leaves_it_asks_for_nothing() -> None:
    patience = told()
    assert not patience.is_asked
    assert patience.bound_ns is None


@given(st.floats(1.1, 60_000))
def test_where_all_leave_at_one_age_it_is_that_age_or_up_to_a_fifth_less(age_ms: float) -> None:
    bound_ns = told([age_ms] * 10).bound_ns
    assert bound_ns is not None
    assert 0.79 * age_ms <= bound_ns / MS <= age_ms


def test_those_served_before_that_age_say_nothing_against_it() -> None:
    assert told([1000] * 10, [500] * 1000).bound_ns == told([1000] * 10).bound_ns


def test_those_who_outlive_an_age_outvote_those_who_leave_at_it() -> None:
    """Else a few who leave early would shorten the wait of all."""
    assert told([100] * 49, [400] * 50).bound_ns is None
    assert told([100] * 50, [400] * 50).bound_ns is not None


def test_a_handful_who_leave_are_chance() -> None:
    assert told([1000] * 3).bound_ns is None
    assert told([1000] * 4).bound_ns is not None


def test_the_earliest_age_at_which_most_leave_is_the_one() -> None:
    bound_ns = told([3000] * 20 + [800] * 40).bound_ns
    assert bound_ns is not None
    assert 600 <= bound_ns / MS <= 800


@pytest.mark.parametrize("age_ns", [0, 1, MS // 2, 1 << 36, 1 << 50])
def test_ages_beyond_all_measure_count_as_the_least_or_longest(age_ns: int) -> None:
    patience = Patience()
    for _ in range(10):
        patience.leave(age_ns)
    patience.update()
    assert patience.bound_ns is not None
    assert patience.bound_ns <= max(age_ns, 0)


def test_it_forgets_when_nobody_leaves_any_more() -> None:
    patience = told([1000] * 10)
    for _ in range(20_000):
        patience.stay(20 * MS)
    patience.update()
    assert patience.bound_ns is None
    assert not patience.is_asked
