"""The law of overlaps, against published figures and against hands that were dealt."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from shedproxy.core import HandDealer
from shedproxy.placement.overlap import Lattice, overlap_law, tenants_max


@pytest.mark.parametrize(
    ("upstreams", "hand", "law"),
    [
        (8, 2, (0.536, 0.429, 0.0357)),
        (8, 4, (0.0143, 0.229, 0.514, 0.229, 0.0143)),
        (16, 4, (0.272, 0.484, 0.218, 0.0264, 0.000549)),
        (2048, 4, (0.992, 0.00779, 1.71e-5, 1.12e-8, 1.37e-12)),
    ],
)
def test_free_hands_follow_the_hypergeometric_law(upstreams, hand, law):
    assert overlap_law(Lattice(upstreams=upstreams, hand=hand)) == pytest.approx(law, rel=0.01)


@pytest.mark.parametrize(
    "lattice",
    [
        Lattice(upstreams=64, hand=3),
        Lattice(upstreams=24, hand=6, zones=3),
        Lattice(upstreams=24, hand=4, zones=3, versions=2),
        Lattice(upstreams=24, hand=4, zones=2, versions=4),
    ],
)
def test_hands_that_are_dealt_fit_the_law(lattice):
    """Chi-square over the counts expected to be 5 or more: p > 0.001 each, by 4 degrees."""
    rng = random.Random(3)
    members = [
        (rng.getrandbits(64), str(i % lattice.zones), str(i // lattice.zones % lattice.versions))
        for i in range(lattice.upstreams)
    ]
    dealer = HandDealer(members, hand_size=lattice.hand)
    hands = [frozenset(dealer.deal(rng.getrandbits(64))) for _ in range(4000)]
    seen = Counter(len(a & b) for a, b in zip(hands[::2], hands[1::2], strict=True))
    law = [2000 * share for share in overlap_law(lattice)]
    counted = [(seen[count], share) for count, share in enumerate(law) if share >= 5]
    assert sum((got - want) ** 2 / want for got, want in counted) < 18.5


def test_there_are_as_many_hands_as_can_be_counted():
    assert Lattice(upstreams=8, hand=2).hands == 28
    assert Lattice(upstreams=6, hand=3, zones=3).hands == 8
    assert Lattice(upstreams=6, hand=2, zones=3, versions=2).hands == 6


@pytest.mark.parametrize(
    ("lattice", "overlap", "most"),
    [
        (Lattice(upstreams=64, hand=4), 2, 10_416),
        (Lattice(upstreams=2048, hand=4), 2, 357_389_824),
        (Lattice(upstreams=64, hand=3), 2, 41_664),
        (Lattice(upstreams=7, hand=3), 1, 7),
        (Lattice(upstreams=8, hand=2), 0, 4),
        (Lattice(upstreams=6, hand=2, zones=3, versions=2), 1, 6),
        (Lattice(upstreams=6, hand=2, zones=3, versions=2), 0, 3),
        (Lattice(upstreams=6, hand=3, zones=3), 2, 8),
    ],
)
def test_a_bound_on_overlap_bounds_tenants(lattice, overlap, most):
    assert tenants_max(lattice, overlap) == most


@pytest.mark.parametrize("overlap", [-1, 4])
def test_what_is_no_bound_is_refused(overlap):
    with pytest.raises(ValueError, match="no bound"):
        tenants_max(Lattice(upstreams=64, hand=4), overlap)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ({"upstreams": 64, "hand": 4, "zones": 3, "versions": 2}, "64 upstreams cannot"),
        ({"upstreams": 60, "hand": 3, "zones": 3, "versions": 2}, "hand of 3 cannot"),
        ({"upstreams": 6, "hand": 4, "zones": 3, "versions": 2}, "compartment of 1"),
        ({"upstreams": 6, "hand": 0}, "1 or more"),
        ({"upstreams": 3, "hand": 4}, "compartment of 3"),
    ],
)
def test_what_cannot_be_dealt_evenly_is_refused(shape, why):
    with pytest.raises(ValueError, match=why):
        Lattice(**shape)


def test_the_shares_of_a_law_are_all_there_is():
    assert sum(overlap_law(Lattice(upstreams=60, hand=4, zones=3, versions=2))) == pytest.approx(1)
