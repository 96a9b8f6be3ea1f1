"""What a poison tenant costs the others; a whole fleet: `python -m loadtests blast-radius`."""

from __future__ import annotations

import pytest

from loadtests.blast_radius import Blast, chi_square, overlaps_of, promises
from shedproxy.placement.overlap import Lattice, overlap_law


def summary(**chosen: object) -> dict:
    blast = Blast(upstreams=12, tenants=200, length_s=8.0, seed=2, **chosen)  # type: ignore[arg-type]
    blast.run()
    return blast.summary()


def test_blind_the_hands_alone_say_who_loses() -> None:
    """Once: who shares a member. With one retry: who shares two. With two: who shares all."""
    once, twice, thrice = (summary(attempts=n, is_blind=True) for n in (1, 2, 3))
    none, one, two, three = once["hands_shared"]
    assert none + one + two + three == 199
    assert 0.6 * (one + two + three) <= once["tenants_losing"] <= one + two + three
    assert twice["tenants_losing"] <= two + three < one
    assert thrice["tenants_losing"] <= three


@pytest.mark.parametrize("ejects", [False, True])
def test_health_keeps_the_poison_from_all_whose_hand_is_another(ejects: bool) -> None:
    result = summary(ejects=ejects)
    assert result["tenants_losing_later"] <= result["hands_shared"][3]


def test_hands_overlap_by_the_hypergeometric_law_and_others_would_not() -> None:
    law = overlap_law(Lattice(upstreams=16, hand=3))
    counts = overlaps_of(3, 16, 2_000, 5)
    _, freedom, p_value = chi_square(counts, law)
    assert sum(counts) == 2_000
    assert freedom == 3 - (law[3] * 2_000 < 5)
    assert p_value > 0.001
    crooked = [counts[0] + 150, counts[1] - 150, *counts[2:]]
    assert chi_square(crooked, law)[2] < 0.001


@pytest.mark.parametrize(
    ("statistic", "freedom", "p_value"),
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (7.815, 3, 0.05), (13.277, 4, 0.01), (0.711, 4, 0.95)],
)
def test_the_tail_is_that_of_the_tables(statistic: float, freedom: int, p_value: float) -> None:
    """Counts of equal classes whose statistic is as given."""
    classes = freedom + 1
    spread = (statistic * 1_000 * 1 / 2) ** 0.5
    counts = [1_000 + spread, 1_000 - spread, *[1_000.0] * (classes - 2)]
    found = chi_square(counts, [1 / classes] * classes)  # type: ignore[arg-type]
    assert found[:2] == (pytest.approx(statistic), freedom)
    assert found[2] == pytest.approx(p_value, rel=0.02)


def test_a_promise_that_is_broken_is_said() -> None:
    kept = {
        "attempts": 2, "blind": True, "ejects": False, "tenants_losing": 10, "tenants": 1_000,
        "hands_shared": [900, 90, 10, 0], "tenants_losing_later": 10,
    }  # fmt: skip
    assert promises([kept], 0.5) == []
    assert promises([kept | {"tenants_losing": 11}], 0.005) == [
        "overlaps do not fit the law: p 0.005",
        "blind, 2 attempts: 11 of 1000 tenants lose",
    ]
    assert promises([kept | {"attempts": 3, "tenants_losing": 1}], 0.5) == [
        "blind, 3 attempts: 1 tenants lose"
    ]
    assert promises([kept | {"blind": False, "ejects": True}], 0.5) == [
        "ejection, 2 attempts: 10 lost something later"
    ]
