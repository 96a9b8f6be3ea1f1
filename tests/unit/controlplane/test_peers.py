"""Hosts beside each other: blocks that grow, scatter that is their own, and what each is like."""

from __future__ import annotations

import random

import pytest

from shedproxy.controlplane.gates import KINDS, TRIALS
from shedproxy.controlplane.peers import Arm, Likeness, Peers

ERRORS = 0


def arm(requests: int, errors: int = 0) -> Arm:
    return Arm(trials=(requests,) * len(TRIALS), events=(errors,) + (0,) * (len(KINDS) - 1))


def told(periods: list[dict[str, tuple[int, int]]], **options) -> Peers:
    peers = Peers()
    for period in periods:
        peers = peers.add({host: arm(*counts) for host, counts in period.items()}, **options)
    return peers


def test_blocks_grow_and_nothing_is_lost():
    peers = told([{"a": (10, 1), **({"b": (5, 0)} if n > 2 else {})} for n in range(100)])
    assert [peer.count(ERRORS) for peer in peers.hosts] == [(1000, 100), (485, 0)]
    assert peers.block == 16
    assert {len(peer.blocks) for peer in peers.hosts} == {7}
    assert [block.trials[0] for block in peers.hosts[0].blocks] == [160] * 6 + [40]


def test_with_a_bound_the_oldest_is_forgotten():
    peers = told([{"a": (10, 1)}] * 1000, block_max=4)
    assert peers.block == 4
    ((trials, events),) = [peer.count(ERRORS) for peer in peers.hosts]
    assert 7 * 4 * 10 <= trials <= 8 * 4 * 10
    assert events == trials // 10
    assert peers.without("a").hosts == ()


def test_what_hits_all_in_some_block_and_what_a_host_always_does_is_no_scatter():
    rates = {"a": 10, "b": 20, "c": 40}
    peers = told([
        {host: (1000, rate * (10 if n % 3 else 1)) for host, rate in rates.items()}
        for n in range(48)
    ])  # fmt: skip
    assert peers.dispersion(ERRORS) < 1


def test_events_in_clumps_scatter_as_much_as_the_clumps_are_large():
    chance = random.Random(1)
    peers = told([
        {host: (1000, 20 * (chance.random() < 0.1)) for host in "abcdef"} for _ in range(400)
    ])  # fmt: skip
    assert 10 < peers.dispersion(ERRORS) < 30
    assert Peers().dispersion(ERRORS) == pytest.approx(2), "what is believed before"


def test_a_host_is_like_what_it_did_beside_the_others_as_far_as_that_is_known():
    beside = frozenset("bcd")
    few = told([{"a": (100, 4), "b": (100, 2), "c": (100, 2), "d": (100, 2)}])
    many = told([{"a": (900, 36), "b": (900, 18), "c": (900, 18), "d": (900, 18)}] * 99)
    groups = {"a": frozenset("a")}
    (unknown,), (known,) = (each.likenesses(groups, beside) for each in (few, many))
    assert 1.0 < unknown.ratios[ERRORS] < 1.2
    assert known.ratios[ERRORS] == pytest.approx(2, rel=0.05)
    assert known.variances[ERRORS] < 0.01 < unknown.variances[ERRORS] <= 0.04
    assert Peers().likenesses({"": frozenset("a")}, beside) == (Likeness(),)


def test_what_it_is_like_is_told_from_times_in_which_both_served():
    busy = {"b": (1000, 100), "c": (1000, 100)}
    peers = told([*([{"a": (1000, 100), **busy}] * 4), *([busy | {"b": (1000, 900)}] * 4)])
    (alone,) = peers.likenesses({"a": frozenset("a")}, frozenset("bc"))
    assert alone.ratios[ERRORS] == pytest.approx(1, abs=0.01)
