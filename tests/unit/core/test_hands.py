"""Hands of upstreams: by hash alone, every one as likely, and as steady as can be."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from math import comb

import pytest

from shedproxy.core import HandDealer, choose_compartments, mix64

RNG = random.Random(7)
TENANTS = [RNG.getrandbits(64) for _ in range(3000)]


def members(count, zones=1, versions=1):
    return [
        (mix64(index * 31 + 1), f"z{index % zones}", f"v{index // zones % versions}")
        for index in range(count)
    ]


def test_a_hand_is_distinct_places_and_the_same_for_ever():
    dealer = HandDealer(members(64), hand_size=3)
    for tenant in TENANTS[:100]:
        hand = dealer.deal(tenant)
        assert len(set(hand)) == 3
        assert all(0 <= place < 64 for place in hand)
        assert hand == dealer.deal(tenant)
    assert dealer.deal(1) == (6, 52, 50)


def test_every_hand_is_as_likely():
    """Chi-square over the 28 pairs of 8; 55 is the quantile of 0.1 % for 27 degrees."""
    dealer = HandDealer(members(8), hand_size=2)
    seen = Counter(frozenset(dealer.deal(tenant)) for tenant in TENANTS)
    expected = len(TENANTS) / comb(8, 2)
    pairs = [frozenset(pair) for pair in combinations(range(8), 2)]
    assert sum((seen[pair] - expected) ** 2 / expected for pair in pairs) < 55.5


def test_a_member_that_goes_changes_the_hands_that_had_it_and_in_one_place():
    before, after = (HandDealer(members(count), hand_size=3) for count in (64, 63))
    changed = 0
    for tenant in TENANTS:
        old, new = set(before.deal(tenant)), set(after.deal(tenant))
        assert len(old - new) == (63 in old)
        changed += old != new
    assert changed == sum(63 in before.deal(tenant) for tenant in TENANTS)


@pytest.mark.parametrize("size", [1, 5, 9])
def test_of_few_members_the_hand_is_all(size):
    assert len(HandDealer(members(5), hand_size=size).deal(7)) == min(5, size)


def test_a_hand_of_none_is_refused():
    with pytest.raises(ValueError, match="one member or more"):
        HandDealer(members(5), hand_size=0)


def test_over_zones_a_hand_has_as_many_in_each():
    lattice = members(60, zones=3)
    dealer = HandDealer(lattice, hand_size=6)
    for tenant in TENANTS[:200]:
        zones = Counter(lattice[place][1] for place in dealer.deal(tenant))
        assert zones == {"z0": 2, "z1": 2, "z2": 2}


def test_over_zones_and_versions_no_loss_of_one_takes_more_than_half_of_a_hand():
    lattice = members(60, zones=3, versions=2)
    dealer = HandDealer(lattice, hand_size=4)
    for tenant in TENANTS[:200]:
        hand = dealer.deal(tenant)
        for axis in (1, 2):
            assert max(Counter(lattice[place][axis] for place in hand).values()) == 2
        assert len({lattice[place][1:] for place in hand}) == 2


def test_where_compartments_are_too_small_others_stand_in():
    lattice = members(4, zones=2, versions=2)
    hands = {len(set(HandDealer(lattice, hand_size=3).deal(t))) for t in TENANTS[:50]}
    assert hands == {3}


def test_compartments_share_no_zone_and_no_version():
    grid = [(f"z{z}", f"v{v}") for z in range(3) for v in range(2)]
    assert choose_compartments(grid, [9, 8, 7, 6, 5, 4]) == [("z0", "v0"), ("z1", "v1")]
    one_version = [("a", "v"), ("b", "v")]
    assert choose_compartments(one_version, [1, 2]) == [("b", "v"), ("a", "v")]
