"""Hands are distinct, stable, evenly spread, and rarely the same for two flows."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core.sharding import NO_PLACE, PLACE_BITS, deal_shards, mix64, place_of

HASHES = st.integers(0, 2**64 - 1)


@given(HASHES, st.integers(1, 200), st.data())
def test_a_hand_is_distinct_shards_of_the_deck(flow_hash, shard_count, data):
    hand_size = data.draw(st.integers(1, min(shard_count, 10)))
    hand = deal_shards(flow_hash, shard_count=shard_count, hand_size=hand_size)
    assert len(hand) == hand_size == len(set(hand))
    assert all(0 <= shard < shard_count for shard in hand)


@given(HASHES, st.integers(2, 200))
def test_a_smaller_hand_is_the_beginning_of_a_larger_one(flow_hash, shard_count):
    size = min(shard_count, 8)
    large = deal_shards(flow_hash, shard_count=shard_count, hand_size=size)
    small = deal_shards(flow_hash, shard_count=shard_count, hand_size=size - 1)
    assert large[:-1] == small


@pytest.mark.parametrize(("shard_count", "hand_size"), [(1, 1), (4, 2), (5, 3), (6, 6)])
def test_every_ordered_hand_is_dealt_by_exactly_one_hash_of_a_full_round(shard_count, hand_size):
    hands = [
        deal_shards(flow_hash, shard_count=shard_count, hand_size=hand_size)
        for flow_hash in range(math.perm(shard_count, hand_size))
    ]
    assert sorted(hands) == sorted(itertools.permutations(range(shard_count), hand_size))


def test_taking_cards_from_a_real_deck_gives_the_same_hand():
    for value in range(200):
        flow_hash = left = mix64(value)
        deck, expected = list(range(64)), []
        for _ in range(4):
            left, digit = divmod(left, len(deck))
            expected.append(deck.pop(digit))
        assert deal_shards(flow_hash, shard_count=64, hand_size=4) == tuple(expected)


def test_two_of_a_thousand_flows_hardly_share_half_a_hand():
    hands = [set(deal_shards(mix64(i), shard_count=64, hand_size=4)) for i in range(1000)]
    shared = Counter(len(one & hands[0]) for one in hands[1:])
    assert shared[4] == 0
    assert shared[3] + shared[2] < 60
    assert shared[0] > 700


def test_shards_are_dealt_evenly():
    dealt = Counter(
        shard for i in range(4000) for shard in deal_shards(mix64(i), shard_count=16, hand_size=4)
    )
    assert all(0.85 < count / 1000 < 1.15 for count in dealt.values())


@pytest.mark.parametrize(
    ("flow_hash", "shard_count", "hand_size"), [(1, 0, 0), (1, 4, 0), (1, 4, 5), (-1, 4, 2)]
)
def test_an_impossible_hand_is_an_error(flow_hash, shard_count, hand_size):
    with pytest.raises(ValueError, match="hand|hash"):
        deal_shards(flow_hash, shard_count=shard_count, hand_size=hand_size)


def test_mix64_gives_the_published_sequence_of_splitmix64():
    golden = 0x9E3779B97F4A7C15
    sequence = [mix64(golden * i) for i in range(3)]
    assert sequence == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_mix64_changes_half_of_the_bits_for_a_change_of_one():
    changed = [
        (mix64(value) ^ mix64(value ^ (1 << bit))).bit_count()
        for value in range(16)
        for bit in range(64)
    ]
    assert min(changed) > 10
    assert 31 < sum(changed) / len(changed) < 33


@given(HASHES, HASHES)
def test_mix64_maps_different_values_apart_and_into_64_bits(one, other):
    assert (mix64(one) == mix64(other)) == (one == other)
    assert 0 <= mix64(one) < 2**64


@given(HASHES)
def test_a_place_is_a_small_number_that_the_hash_decides(flow_hash):
    assert NO_PLACE < 0 <= place_of(flow_hash) < 1 << PLACE_BITS
    assert place_of(flow_hash) == place_of(flow_hash + (1 << 64))


def test_places_of_close_hashes_differ_in_every_half():
    places = [place_of(flow) for flow in range(1, 101)]
    half = PLACE_BITS // 2
    assert len({place >> half for place in places}) == 100
    assert len({place & ((1 << half) - 1) for place in places}) > 90
