"""Every verb: what it changes, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane import orders
from shedproxy.controlplane.evidence import Watch
from shedproxy.controlplane.fleet import Cell, Fleet, Held, Host, Release, Shift
from shedproxy.controlplane.move import MoveBook, MoveStep, begin
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.peers import Peers
from shedproxy.controlplane.rollout import Book, Phase, RolloutRules
from shedproxy.core import seconds

OLD, NEW = Release(digest="sha256:01d", at_s=1, by="ann"), Release(
    digest="sha256:0e3", at_s=2, by="ann"
)  # fmt: skip
OTHER = Release(digest="sha256:17e", at_s=3, by="ann")
FLEET = Fleet(
    hosts=(
        Host(name="a1", cell="a", zone="p"),
        Host(name="a2", cell="a", zone="q"),
        Host(name="b1", cell="b", zone="p"),
    ),
    releases=(OLD, NEW, OTHER),
    book=Book(base=OLD.digest),
)
RULES = RolloutRules()


def under_way(fleet: Fleet = FLEET, *, moved: int = 1) -> Fleet:
    fleet = orders.promote(fleet, NEW.digest, rules=RULES)
    rollout = replace(fleet.book.rollout, moved=moved)
    return replace(fleet, book=replace(fleet.book, rollout=rollout))


def refusal(call, *arguments, **options) -> OrderRefusedError:
    with pytest.raises(OrderRefusedError) as caught:
        call(*arguments, **options)
    return caught.value


def test_a_release_is_promoted_by_its_digest_or_how_it_begins():
    for name in ("sha256:0e3", "sha256:0e", "0e"):
        fleet = orders.promote(FLEET, name, first="b1", rules=RULES)
        assert fleet.book.rollout.digest == NEW.digest
        assert fleet.book.rollout.order[0] == "b1"


@pytest.mark.parametrize(
    ("fleet", "digest", "first", "place", "what"),
    [
        (FLEET, "sha256:fff", "", "/digest", "there is no release"),
        (FLEET, "0", "", "/digest", "several releases begin with"),
        (FLEET, OLD.digest, "", "/digest", "is what runs everywhere"),
        (under_way(), OTHER.digest, "", "/digest", "is being promoted"),
        (replace(FLEET, book=Book(base=OLD.digest, refused=(NEW.digest,))), "0e", "", "/digest",
         "was rolled back before"),
        (FLEET, "0e", "c9", "/first", "there is no host c9"),
        (replace(FLEET, cells=(Cell(name="b", is_quarantined=True),)), "0e", "b1", "/first",
         "in quarantine"),
    ],
)  # fmt: skip
def test_what_cannot_be_promoted_is_refused_with_its_place(fleet, digest, first, place, what):
    error = refusal(orders.promote, fleet, digest, first=first, rules=RULES)
    assert error.place == place
    assert what in str(error)


def test_of_one_that_is_under_way_only_the_rules_change():
    before = replace(under_way(), watch=Watch(control=Peers(periods=7)))
    rules = replace(RULES, miss=1.0)
    after = orders.promote(before, "0e", rules=rules)
    assert after.book.rollout == replace(before.book.rollout, rules=rules)
    assert after.book.revision == before.book.revision + 1
    assert after.watch == before.watch


def test_settings_that_were_rolled_back_are_not_even_published():
    fleet = orders.roll_back(under_way(), why="it is bad")
    assert fleet.book.rollout.phase is Phase.ROLLING_BACK
    assert fleet.book.refused == (NEW.digest,)
    assert "rolled back" in str(refusal(orders.publish, fleet, NEW))
    assert "is being rolled back" in str(refusal(orders.roll_back, fleet, why="again"))
    error = refusal(orders.roll_back, FLEET, why="")
    assert "promote that one" in error.help


def test_hosts_of_a_cell_in_quarantine_keep_what_they_have():
    fleet = orders.quarantine_cell(FLEET, "a")
    assert fleet.quarantined == {"a"}
    assert [each.host for each in fleet.held] == ["a1", "a2"]
    assert {each.release for each in fleet.held} == {OLD.digest}
    over = orders.quarantine_cell(fleet, "a", is_over=True)
    assert over.quarantined == frozenset()
    assert over.held == fleet.held, "they are brought back one after the other"
    assert "already" in str(refusal(orders.quarantine_cell, fleet, "a"))
    assert "is not" in str(refusal(orders.quarantine_cell, over, "a", is_over=True))
    assert "cells: a, b" in refusal(orders.quarantine_cell, FLEET, "z").help


def test_a_promotion_that_reached_the_cell_is_rolled_back_and_then_its_hosts_are_held():
    fleet = orders.quarantine_cell(under_way(moved=3), "b")
    assert fleet.book.rollout.cause == "cell b is in quarantine"
    assert fleet.held == ()
    assert orders.hold_quarantined(fleet) == fleet
    back = replace(fleet, book=replace(fleet.book, rollout=None))
    assert orders.hold_quarantined(back).held == (Held(host="b1", release=OLD.digest),)


def test_a_cloned_cell_has_the_settings_of_the_other_and_hosts_of_its_own():
    fleet = orders.clone_cell(FLEET, "a", "c", [Host(name="c1", zone="p")])
    assert fleet.cell("c").like == "a"
    assert fleet.host("c1") == Host(name="c1", cell="c", zone="p")
    for place, call in {
        "/source": ("z", "c", [Host(name="c1")]),
        "/cell": ("a", "b", [Host(name="c1")]),
        "/hosts": ("a", "c", []),
        "/host": ("a", "c", [Host(name="a1")]),
    }.items():
        assert refusal(orders.clone_cell, FLEET, *call).place == place
    fleet = orders.quarantine_cell(FLEET, "a")
    assert "in quarantine" in str(refusal(orders.clone_cell, fleet, "a", "c", [Host(name="c1")]))
    assert "in quarantine" in str(refusal(orders.add_host, fleet, Host(name="a3", cell="a")))


def test_a_host_that_comes_during_a_promotion_is_held_until_it_is_over():
    fleet = orders.add_host(under_way(), Host(name="c1", cell="c", zone="q"))
    assert fleet.wanted()["c1"] == OLD.digest
    assert fleet.held == (Held(host="c1", release=OLD.digest),)
    assert orders.add_host(FLEET, Host(name="c1")).held == ()


def test_a_host_is_removed_unless_something_is_being_promoted_to_it():
    fleet = orders.remove_host(orders.quarantine_cell(FLEET, "a"), "a1")
    assert [each.name for each in fleet.hosts] == ["a2", "b1"]
    assert [each.host for each in fleet.held] == ["a2"]
    assert "being promoted to a1" in str(refusal(orders.remove_host, under_way(), "a1"))
    assert "hosts: a1, a2, b1" in refusal(orders.remove_host, FLEET, "z").help


def test_no_host_leaves_while_a_key_is_about_to_move():
    """It would run on, and not hear that somebody else has the key."""
    fleet = replace(FLEET, moves=begin(MoveBook(), "0f", owner="a", target="b", now_s=1.0))
    error = refusal(orders.remove_host, fleet, "a1")
    assert "0f is being moved to cell b, and a1 has a say in that" in str(error)
    assert "abort-move" in error.help
    move = replace(fleet.moves.move, step=MoveStep.FLIPPED)
    flipped = replace(fleet, moves=replace(fleet.moves, move=move))
    assert orders.remove_host(flipped, "a1").host("a1") is None, "or a dead one would end nothing"


def test_a_host_that_comes_while_a_key_moves_is_waited_for_but_not_by_held_requests():
    fleet = replace(FLEET, moves=begin(MoveBook(), "0f", owner="a", target="b", now_s=1.0))
    assert orders.add_host(fleet, Host(name="a9")).host("a9")
    move = replace(fleet.moves.move, step=MoveStep.HELD)
    held = replace(fleet, moves=replace(fleet.moves, move=move))
    for call in (
        lambda: orders.add_host(held, Host(name="a9")),
        lambda: orders.clone_cell(held, "a", "c", [Host(name="c1")]),
    ):
        error = refusal(call)
        assert "requests of 0f are held just now" in str(error)
        assert "in some seconds" in error.help


def test_a_fleet_is_bounded():
    hosts = tuple(Host(name=f"h{n}") for n in range(orders.HOSTS_MAX))
    fleet = replace(FLEET, hosts=hosts)
    assert "at most" in str(refusal(orders.add_host, fleet, Host(name="one-more")))


def test_one_zone_is_away_at_a_time_and_always_for_a_while():
    fleet = orders.shift_zone(FLEET, "p", seconds(60), now_s=1000)
    assert fleet.shifts == (Shift(zone="p", until_s=1060),)
    longer = orders.shift_zone(fleet, "p", seconds(60), now_s=1030)
    assert longer.shifts == (Shift(zone="p", until_s=1090),)
    error = refusal(orders.shift_zone, fleet, "q", seconds(60), now_s=1030)
    assert "zone p is away" in str(error)
    assert orders.shift_zone(fleet, "q", seconds(60), now_s=1060).shifts[0].zone == "q"
    assert orders.return_zone(fleet, "p").shifts == ()
    assert "not away" in str(refusal(orders.return_zone, fleet, "q"))
