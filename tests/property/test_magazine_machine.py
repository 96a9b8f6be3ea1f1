"""Every state of the magazine in a hostile world, and mistakes that the walk must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from harness.machines.magazine import CELL, Bounds, walk

from shedproxy.core import (
    GLOBAL,
    Act,
    BulletState,
    CellFacts,
    Deed,
    Errand,
    HostFacts,
    Ledger,
    OutlierReason,
    decide,
    domains_of,
)

THREE = (("p1", "p"), ("p2", "p"), ("q1", "q"))
REPLACED = Bounds(hosts=THREE, needed=1, bad_max=1)
SPREAD = Bounds(spent_max=1)
UNAIDED = Bounds(
    hosts=THREE,
    newcomers=(("p1", "p"), ("p3", "p")),
    needed=1,
    spent_max=1,
    replaces=False,
)

Decided = tuple[Ledger, list[Deed]]


@pytest.mark.parametrize(
    ("bounds", "states"), [(REPLACED, 10_000), (SPREAD, 15_000), (UNAIDED, 9_000)]
)
def test_no_state_breaks_a_promise_and_every_bullet_can_come_back(bounds: Bounds, states: int):
    space = walk(bounds)
    print(f"magazine: {space}")
    assert space.violation is None, space.violation
    assert space.states >= states


# --- mistakes -----------------------------------------------------------------------------------


def with_facts(
    change: Callable[[HostFacts], HostFacts], **of_cell: object
) -> Callable[..., Decided]:
    def mistaken(ledger: Ledger, cells: list[CellFacts], *, reloadable: set[str]) -> Decided:
        changed = [
            replace(cell, hosts=tuple(change(host) for host in cell.hosts), **of_cell)
            for cell in cells
        ]
        return decide(ledger, changed, reloadable=reloadable)

    return mistaken


def with_result(change: Callable[[Ledger, Ledger, list[Deed]], Decided]) -> Callable[..., Decided]:
    def mistaken(ledger: Ledger, cells: list[CellFacts], *, reloadable: set[str]) -> Decided:
        return change(ledger, *decide(ledger, cells, reloadable=reloadable))

    return mistaken


def same(host: HostFacts) -> HostFacts:
    return host


def spend_on(ledger: Ledger, host: str) -> Ledger:
    domains = domains_of(CELL, "p")
    after = ledger.spend(CELL, host, "p", OutlierReason.FAILING, dict.fromkeys(domains, 99))
    assert after is not None
    return after


def a_second_bullet(before: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    for deed in deeds:
        if deed.act is Act.EJECT and before.bullet_of(CELL, deed.host) is not None:
            after = spend_on(after, deed.host)
    return after, deeds


def one_more_than_there_is(_: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    for deed in deeds:
        held = after.bullet_of(CELL, deed.host)
        if deed.act is Act.SPARE and held is None:
            return spend_on(after, deed.host), deeds
    return after, deeds


def forgets_who_left(_: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    for bullet in after.bullets:
        if bullet.state is BulletState.GONE:
            after = after.reload(bullet)
    return after, deeds


def drops_the_record(_: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    return replace(
        after, bullets=tuple(b for b in after.bullets if b.state is not BulletState.BACK)
    ), deeds


def counts_from_nothing(_: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    if after.bullets:
        return after, deeds
    return Ledger(known=after.known), deeds


def ends_it_at_once(_: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    for bullet in after.bullets:
        if bullet.errand is Errand.ASKED and bullet.state is BulletState.OUT:
            told = replace(bullet, errand=Errand.TOLD)
            deed = Deed(act=Act.TELL, cell=CELL, host=told.host, reason=told.reason, bullet=told)
            return after.put(told), [*deeds, deed]
    return after, deeds


def counts_one_domain_only(_: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    kept = tuple(m for m in after.magazines if m.domain != GLOBAL)
    return replace(after, magazines=kept), deeds


def gives_back_two_at_once(before: Ledger, after: Ledger, deeds: list[Deed]) -> Decided:
    if any(deed.act is Act.RELOAD for deed in deeds):
        for bullet in after.bullets:
            after = after.reload(bullet)
            deeds = [
                *deeds,
                Deed(
                    act=Act.RELOAD, cell=CELL, host=bullet.host, reason=bullet.reason, bullet=bullet
                ),
            ]
    return after, deeds


MISTAKES = {
    "time gives bullets back": (
        {"decide": with_facts(lambda host: replace(host, is_proven=True))},
        "has proven nothing",
    ),
    "it acts before it writes": ({"writes_first": False}, "out without a bullet on disk"),
    "a restart begins with full magazines": ({"restarts_from": "nothing"}, "bullets were gained"),
    "it does not heed the freeze": (
        {"decide": with_facts(same, is_frozen=False)},
        "taken out while frozen",
    ),
    "it does not look at the demand": (
        {"decide": with_facts(same, needed=0)},
        "are needed",
    ),
    "it forgets that a zone may be lost": (
        {"decide": with_facts(same, needed_without_zone=None)},
        "can no longer be lost",
    ),
    "who falls back costs a second bullet": (
        {"decide": with_result(a_second_bullet)},
        "one host holds two bullets",
    ),
    "an empty magazine has one more": (
        {"decide": with_result(one_more_than_there_is)},
        "",
    ),
    "who leaves takes its bullet along": (
        {"decide": with_result(forgets_who_left)},
        "a bullet vanished",
    ),
    "a bullet is dropped and its count is not": (
        {"decide": with_result(drops_the_record)},
        "a bullet vanished",
    ),
    "counts begin anew when all are back": (
        {"decide": with_result(counts_from_nothing)},
        "a bullet vanished",
    ),
    "the old host is ended with the first word": (
        {"decide": with_result(ends_it_at_once)},
        "ended before the new one is up",
    ),
    "one of three magazines is not counted": (
        {"decide": with_result(counts_one_domain_only)},
        "bullets",
    ),
    "one proof gives back all": (
        {"decide": with_result(gives_back_two_at_once)},
        "two bullets given back at once",
    ),
}

BOUNDS = {
    "it does not look at the demand": Bounds(needed=3, needed_without_zone=None),
    "who falls back costs a second bullet": Bounds(hosts=THREE, needed=1, bad_max=1),
    "one proof gives back all": Bounds(hosts=THREE, needed=1),
}
"""Where a mistake needs a world of its own to show."""


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_its_shortest_trace(name: str):
    mistake, what = MISTAKES[name]
    found = walk(BOUNDS.get(name, SPREAD), **mistake).violation
    assert found is not None
    print(f"{name}: {found}")
    assert what in found.what
