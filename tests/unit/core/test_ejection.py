"""One step: facts and a ledger in, a ledger and deeds out."""

from __future__ import annotations

from dataclasses import replace

from shedproxy.core import (
    GLOBAL,
    BulletState,
    CellFacts,
    Deed,
    Errand,
    HostFacts,
    Ledger,
    OutlierReason,
    decide,
    domains_of,
    has_room,
    sizes_for,
)

BAD = OutlierReason.FAILING


def cell(count: int = 20, *bad: int, needed: int | None = 5, **others: object) -> CellFacts:
    hosts = tuple(
        HostFacts(host=f"h{n}", zone="pqr"[n % 3], reason=BAD if n in bad else None)
        for n in range(count)
    )
    return CellFacts(cell="a", hosts=hosts, needed=needed, **others)


def change(facts: CellFacts, host: str, **values: object) -> CellFacts:
    return replace(
        facts,
        hosts=tuple(replace(h, **values) if h.host == host else h for h in facts.hosts),
    )


def step(ledger: Ledger, facts: CellFacts) -> tuple[Ledger, list[Deed]]:
    reloadable = {d for host in facts.hosts for d in domains_of("a", host.zone)}
    return decide(ledger, [facts], reloadable=reloadable)


def acts(deeds: list[Deed]) -> list[tuple[str, str]]:
    return [(deed.act.name.lower(), deed.host) for deed in deeds]


def test_a_bad_host_goes_and_comes_back_and_gives_its_bullet_back_when_proven():
    ledger, deeds = step(Ledger(), cell(20, 3))
    assert acts(deeds) == [("eject", "h3")]
    assert step(ledger, cell(20, 3))[1] == []
    ledger, deeds = step(ledger, change(cell(), "h3", may_return=True))
    assert acts(deeds) == [("return", "h3")]
    assert ledger.out(GLOBAL) == 1
    ledger, deeds = step(ledger, change(cell(), "h3", is_proven=True))
    assert acts(deeds) == [("reload", "h3")]
    assert ledger.out(GLOBAL) == 0


def test_an_empty_magazine_spares_the_next_one():
    ledger, deeds = step(Ledger(), cell(20, 0, 3, 6, 9))
    # A tenth of 20 is two; of the seven of zone p it is one.
    assert acts(deeds) == [("eject", "h0"), ("spare", "h3"), ("spare", "h6"), ("spare", "h9")]
    ledger, deeds = step(Ledger(), cell(20, 0, 1, 2))
    assert acts(deeds) == [("eject", "h0"), ("eject", "h1"), ("spare", "h2")]


def test_nobody_goes_whom_the_demand_takes():
    assert acts(step(Ledger(), cell(20, 3, needed=19))[1]) == [("eject", "h3")]
    assert acts(step(Ledger(), cell(20, 3, needed=20))[1]) == [("spare", "h3")]
    # Another one that is bad is no capacity either.
    assert acts(step(Ledger(), cell(20, 3, 4, needed=19))[1]) == [("spare", "h3"), ("spare", "h4")]


def test_nobody_goes_where_a_zone_could_no_longer_be_lost():
    # 20 hosts: 7, 7 and 6; without h3 of zone p and any zone, 12 are left.
    assert acts(step(Ledger(), cell(20, 3, needed_without_zone=12))[1]) == [("eject", "h3")]
    assert acts(step(Ledger(), cell(20, 3, needed_without_zone=13))[1]) == [("spare", "h3")]


def test_with_unknown_capacity_one_is_out_at_a_time():
    ledger, deeds = step(Ledger(), cell(40, 3, 4, needed=None))
    assert acts(deeds) == [("eject", "h3"), ("spare", "h4")]
    assert not has_room(Ledger(), cell(2, 0, 1, needed=None))


def test_what_is_shown_is_what_is_left_of_the_healthy():
    assert sizes_for(Ledger(), [cell(100)], cell(100), "p") == {
        "cell:a": 10, GLOBAL: 10, "zone:p": 3
    }  # fmt: skip
    assert sizes_for(Ledger(), [cell(100, needed=98)], cell(100, needed=98), "")["cell:a"] == 3


def test_who_falls_back_on_trial_costs_no_second_bullet():
    ledger, _ = step(Ledger(), cell(20, 3))
    ledger, _ = step(ledger, change(cell(), "h3", may_return=True))
    ledger, deeds = step(ledger, cell(20, 3))
    assert acts(deeds) == [("eject", "h3")]
    assert (ledger.serial, ledger.out(GLOBAL)) == (1, 1)
    # And where it is needed it stays.
    back, _ = step(ledger, change(cell(), "h3", may_return=True))
    assert acts(step(back, cell(20, 3, needed=20))[1]) == [("spare", "h3")]


def test_a_frozen_cell_takes_nobody_out_and_gives_back_whom_it_took_lately():
    ledger, _ = step(Ledger(), cell(20, 3))
    frozen = change(cell(20, 3, 4, 5, is_frozen=True), "h3", is_recent=True)
    ledger, deeds = step(ledger, frozen)
    assert acts(deeds) == [("fail_open", "h3")]
    assert ledger.out(GLOBAL) == 1
    old, _ = step(Ledger(), cell(20, 3))
    assert step(old, cell(20, 3, 4, 5, is_frozen=True))[1] == []


def test_one_bullet_comes_back_at_a_time():
    ledger, _ = step(Ledger(), cell(30, 0, 1))
    both = change(change(cell(30), "h0", may_return=True), "h1", may_return=True)
    ledger, _ = step(ledger, both)
    proven = change(change(cell(30), "h0", is_proven=True), "h1", is_proven=True)
    ledger, deeds = step(ledger, proven)
    assert acts(deeds) == [("reload", "h0")]
    assert decide(ledger, [proven], reloadable=set())[1] == []
    assert acts(step(ledger, proven)[1]) == [("reload", "h1")]


def test_who_was_asked_for_a_host_and_sent_none_is_asked_again_at_the_next_outage():
    asking = {"replaces": True}
    ledger, _ = step(step(Ledger(), cell(20, **asking))[0], cell(20, 3, **asking))
    ledger, deeds = step(ledger, change(cell(**asking), "h3", may_return=True))
    assert acts(deeds) == [("return", "h3")]
    ledger, deeds = step(ledger, cell(20, 3, **asking))
    assert acts(deeds) == [("eject", "h3"), ("ask", "h3")]
    assert deeds[-1].bullet.serial == 1, "under the same key: who heard of it does it once"
    assert step(ledger, cell(20, 3, **asking))[1] == []


def test_a_new_host_is_up_before_the_old_one_is_ended_and_pays_for_it():
    asking = {"replaces": True}
    ledger, deeds = step(step(Ledger(), cell(20, **asking))[0], cell(20, 3, **asking))
    assert acts(deeds) == [("eject", "h3"), ("ask", "h3")]
    with_new = change(cell(21, 3, **asking), "h20", is_up=False)
    ledger, deeds = step(ledger, with_new)
    assert deeds == []
    ledger, deeds = step(ledger, change(with_new, "h20", is_up=True))
    assert acts(deeds) == [("tell", "h3")]
    without_old = replace(with_new, hosts=tuple(h for h in with_new.hosts if h.host != "h3"))
    without_old = change(without_old, "h20", is_up=True)
    ledger, deeds = step(ledger, without_old)
    assert deeds == []
    (bullet,) = ledger.bullets
    assert (bullet.state, bullet.errand, bullet.newcomer) == (BulletState.GONE, Errand.TOLD, "h20")
    ledger, deeds = step(ledger, change(without_old, "h20", is_proven=True))
    assert acts(deeds) == [("reload", "h3")]


def test_a_host_that_was_replaced_before_it_left_is_paid_for_too():
    ledger, _ = step(step(Ledger(), cell())[0], cell(20, 3))
    grown = cell(21, 3)
    ledger, _ = step(ledger, grown)
    shrunk = replace(grown, hosts=tuple(h for h in grown.hosts if h.host != "h3"))
    ledger, deeds = step(ledger, change(shrunk, "h20", is_proven=True))
    assert acts(deeds) == [("reload", "h3")]


def test_who_comes_again_by_the_same_name_pays_for_itself():
    ledger, _ = step(step(Ledger(), cell())[0], cell(20, 3))
    away = replace(cell(), hosts=tuple(h for h in cell().hosts if h.host != "h3"))
    ledger, _ = step(ledger, away)
    assert ledger.bullets[0].state is BulletState.GONE
    ledger, _ = step(ledger, cell())
    assert (ledger.bullets[0].state, ledger.bullets[0].newcomer) == (BulletState.BACK, "")


def test_who_was_taken_out_by_hand_is_no_capacity_and_left_alone():
    drained = change(cell(20, 3), "h3", is_drained=True)
    assert step(Ledger(), drained)[1] == []
    facts = change(cell(20, 3, needed=19), "h4", is_drained=True)
    assert acts(step(Ledger(), facts)[1]) == [("spare", "h3")]
