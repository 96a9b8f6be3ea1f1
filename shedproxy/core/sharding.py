"""Where a flow is kept, with nothing stored per flow: its queues, and its place in small tables.

Queues are chosen by shuffle sharding: a hand of `hand_size` distinct shards is read off a 64-bit
hash as digits of a mixed radix, the way a dealer takes cards from a shrinking deck (Kubernetes API
Priority and Fairness, `shufflesharding`): the first digit chooses among all shards, the next among
those left, and so on. Every hand is equally likely, so that two flows share their whole hand about
once in C(shards, hand): one tenant can fill its own hand and hardly ever anybody else's.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NO_PLACE", "PLACE_BITS", "deal_shards", "mix64", "place_of"]

_MASK_64: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15

PLACE_BITS: Final = 20
NO_PLACE: Final = -1
"""The place of requests that belong to nobody."""

_PLACE_SHIFT: Final = 64 - PLACE_BITS
_PLACE_MASK: Final = (1 << PLACE_BITS) - 1


def place_of(flow_hash: int) -> int:
    """A flow's place, 0..2**PLACE_BITS-1, from which each table takes the bits it needs.

    The top of the product with 2**64 over the golden ratio spreads hashes that are close (Fibonacci
    hashing, Knuth, vol. 3, 6.4). A small number: it is made once per request, and looked up often.
    """
    return flow_hash * _GOLDEN >> _PLACE_SHIFT & _PLACE_MASK


def mix64(value: int) -> int:
    """Scramble an integer into 0..2**64-1, so that close values land far apart.

    The finalizer of splitmix64 (Steele, Lea, Flood 2014, Stafford's variant 13): a bijection on 64
    bits, equal in every process and version. Bits above 64 are ignored. It is no secret: a keyed
    hash is the caller's business where tenants choose their names.
    """
    value = (value + _GOLDEN) & _MASK_64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return value ^ (value >> 31)


def deal_shards(flow_hash: int, *, shard_count: int, hand_size: int) -> tuple[int, ...]:
    """The hand of a flow: `hand_size` distinct shards in 0..shard_count-1, in the order dealt.

    Args:
        flow_hash: 0 or more, evenly spread; 64 bits are enough for 64 shards and hands up to 10.
        shard_count: shards to deal from, 1 or more.
        hand_size: 1..shard_count.

    Raises:
        ValueError: no such hand exists, or the hash is negative.
    """
    if not 1 <= hand_size <= shard_count:
        raise ValueError(f"a hand of {hand_size} cannot be dealt from {shard_count} shards")
    if flow_hash < 0:
        raise ValueError("a flow hash is 0 or more")
    hand: list[int] = []
    taken: list[int] = []
    for deck_size in range(shard_count, shard_count - hand_size, -1):
        shard = flow_hash % deck_size
        flow_hash //= deck_size
        # The digit counts the shards left: it moves past each taken one, from the lowest up, that
        # lies at or below it.
        for other in taken:
            if shard < other:
                break
            shard += 1
        hand.append(shard)
        taken.append(shard)
        taken.sort()
    return tuple(hand)
