"""Hands that are kept: no two share more than the bound, and none is dealt when none is left."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from shedproxy.core import mix64
from shedproxy.placement.bounded_hands import BoundedHands, NoHandError


def members(count, zones=1, versions=1):
    return [
        (mix64(index + 1), str(index % zones), str(index // zones % versions))
        for index in range(count)
    ]


def deal(hands, count):
    return [hands.deal(mix64(~tenant)) for tenant in range(count)]


def all_of(hands):
    dealt = []
    try:
        while True:
            dealt.append(hands.deal(mix64(~len(dealt))))
    except NoHandError:
        return dealt


def test_no_two_share_more_than_the_bound():
    dealt = deal(BoundedHands(members(32), hand_size=4, overlap_max=1), 40)
    assert max(len(set(a) & set(b)) for a, b in combinations(dealt, 2)) == 1
    assert all(len(set(hand)) == 4 for hand in dealt)


def test_the_last_hand_is_found_by_going_back():
    """Six pairs of four: the greedy choice is taken more often than not."""
    assert len(all_of(BoundedHands(members(4), hand_size=2, overlap_max=1))) == 6


def test_when_none_is_left_it_says_so_and_stays_so():
    hands = BoundedHands(members(4), hand_size=2, overlap_max=0)
    assert len(all_of(hands)) == hands.dealt == 2
    with pytest.raises(NoHandError):
        hands.deal(5)


def test_more_groups_than_can_be_kept_in_mind_are_not_tried():
    large = BoundedHands(members(64), hand_size=32, overlap_max=15)
    with pytest.raises(NoHandError, match="601080390"):
        large.deal(1)


def test_a_list_that_only_grows_deals_nobody_anew():
    few, many = (BoundedHands(members(32), hand_size=4, overlap_max=2) for _ in range(2))
    assert deal(few, 20) == deal(many, 60)[:20]


def test_over_a_lattice_hands_share_neither_zone_nor_version():
    lattice = members(24, zones=3, versions=2)
    for hand in deal(BoundedHands(lattice, hand_size=4, overlap_max=2), 50):
        for axis in (1, 2):
            assert max(Counter(lattice[place][axis] for place in hand).values()) == 2


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (9, 1), (4, 4), (4, -1)])
def test_what_cannot_be_is_refused(size, overlap):
    with pytest.raises(ValueError, match=r"hand of|overlap of"):
        BoundedHands(members(8), hand_size=size, overlap_max=overlap)


def test_compartments_that_are_too_small_for_a_hand_have_none():
    with pytest.raises(NoHandError):
        BoundedHands(members(4, zones=2, versions=2), hand_size=3, overlap_max=1).deal(1)
