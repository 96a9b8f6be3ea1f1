"""Buckets by weight, with as little moved as can be."""

from __future__ import annotations

from collections import Counter

import pytest

from shedproxy.core import BUCKETS
from shedproxy.placement.buckets import rebalance, shares_of, spread_buckets


def moved(before, after):
    return sum(a != b for a, b in zip(before, after, strict=True))


def test_shares_are_whole_exact_and_in_proportion():
    assert shares_of([1, 1, 1], 10) == [4, 3, 3]
    assert shares_of([1, 3]) == [4096, 12_288]
    assert sum(shares_of([7, 11, 13, 0])) == BUCKETS


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], [-1, -1]])
def test_weights_that_leave_nobody_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        spread_buckets(weights)


def test_every_cell_gets_its_share():
    assert Counter(spread_buckets([1, 2, 5])) == {0: 2048, 1: 4096, 2: 10_240}


def test_a_cell_added_at_the_end_takes_its_share_and_nothing_else_moves():
    before, after = spread_buckets([1, 1, 1]), spread_buckets([1, 1, 1, 1])
    assert moved(before, after) == BUCKETS // 4
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {3}


def test_an_emptied_cell_gives_what_it_had_and_nothing_else_moves():
    before = spread_buckets([1, 1, 1, 1])
    after = rebalance(before, [1, 0, 1, 1])
    assert moved(before, after) == BUCKETS // 4
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {1}


def test_what_fits_stays_as_it_is():
    buckets = spread_buckets([3, 1])
    assert rebalance(buckets, [3, 1]) == buckets


def test_buckets_of_cells_that_are_no_more_move():
    assert rebalance([9, 9, 0, 0], [1, 1]) == [1, 1, 0, 0]
