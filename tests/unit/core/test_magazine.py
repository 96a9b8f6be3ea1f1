"""Bullets: how many there are, what spends one, and what a ledger says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.core import (
    GLOBAL,
    BulletState,
    Ledger,
    Magazine,
    OutlierReason,
    domains_of,
    magazine_cap,
    magazine_size,
    needed_hosts,
)

SIZES = {"cell:a": 1, "zone:z": 2, GLOBAL: 2}


def spend(ledger: Ledger, host: str, sizes: dict[str, int] = SIZES, cell: str = "a") -> Ledger:
    after = ledger.spend(cell, host, "z", OutlierReason.SLOW, sizes)
    assert after is not None
    return after


@pytest.mark.parametrize(
    ("demand", "capacity", "headroom", "hosts"),
    [
        (6000, 100, 0.0, 60),
        (6000, 100, 0.1, 66),
        (1, 100, 0.1, 1),
        (0, 100, 0.1, 0),
        (30, 10, 0.0, 3),
    ],
)
def test_hosts_that_demand_takes_are_rounded_up(demand, capacity, headroom, hosts):
    assert needed_hosts(demand, capacity, headroom) == hosts


def test_a_magazine_is_what_is_spare_up_to_a_tenth_and_one_at_least():
    assert [magazine_cap(fleet, 0.1) for fleet in (1, 5, 19, 20, 100)] == [1, 1, 1, 2, 10]
    assert [magazine_size(10, healthy, 66) for healthy in (100, 70, 66, 60)] == [10, 4, 0, 0]


def test_a_bullet_is_spent_from_every_magazine_that_the_host_is_in():
    ledger = spend(Ledger(), "h1")
    assert domains_of("a", "z") == ("cell:a", "zone:z", GLOBAL)
    assert [ledger.out(domain) for domain in domains_of("a", "z")] == [1, 1, 1]
    assert domains_of("a", "") == ("cell:a", GLOBAL)
    bullet = ledger.bullet_of("a", "h1")
    assert bullet is not None
    assert (bullet.serial, bullet.reason.label) == (1, "slow")


def test_one_empty_magazine_is_enough_to_do_nothing():
    ledger = spend(Ledger(), "h1")
    assert ledger.spend("a", "h2", "z", OutlierReason.SLOW, SIZES) is None
    other_cell = {"cell:b": 1, "zone:z": 2, GLOBAL: 1}
    assert ledger.spend("b", "h2", "z", OutlierReason.SLOW, other_cell) is None


def test_giving_back_counts_up_too():
    ledger = spend(Ledger(), "h1")
    bullet = ledger.bullets[0]
    after = ledger.reload(bullet)
    assert after.bullets == ()
    assert after.magazines[0] == Magazine(domain=GLOBAL, spent=1, reloaded=1)
    again = spend(after, "h1")
    assert (again.serial, again.out("cell:a")) == (2, 1)


def test_who_is_gone_holds_nothing_but_owes_it():
    ledger = spend(Ledger(), "h1")
    gone = ledger.put(replace(ledger.bullets[0], state=BulletState.GONE))
    assert gone.bullet_of("a", "h1") is None
    assert gone.out("cell:a") == 1


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ({"bullets": ()}, "all has 1 out, and 0 bullets"),
        ({"magazines": ()}, "all has 0 out, and 1 bullets"),
        ({"serial": 0}, "bullets [1] of 0 spent"),
        ({"serial": 7}, "1 spent in all, the last was 7"),
    ],
)
def test_a_damaged_ledger_contradicts_itself(damage, what):
    ledger = spend(Ledger(), "h1")
    assert ledger.contradiction() == ""
    assert what in replace(ledger, **damage).contradiction()
