"""Who is where, and what each is to run."""

from __future__ import annotations

import json
from dataclasses import replace

from shedproxy.controlplane.fleet import (
    RELEASES_KEPT,
    Cell,
    Fleet,
    Held,
    Host,
    MovedKey,
    Release,
    with_release,
)
from shedproxy.controlplane.move import MoveBook, begin
from shedproxy.controlplane.rollout import Book, RolloutRules, plan_stages, promote
from shedproxy.snapshot import from_plain, to_plain

FLEET = Fleet(
    hosts=(
        Host(name="a1", cell="a", zone="p"),
        Host(name="b1", cell="b", zone="p"),
        Host(name="b2", cell="b", zone="q"),
    ),
    cells=(Cell(name="b", is_quarantined=True),),
    held=(Held(host="b1", release="older"),),
    book=Book(base="old"),
)


def test_hosts_and_cells_are_found_by_their_names():
    assert FLEET.host("b2").zone == "q"
    assert FLEET.host("c1") is None
    assert FLEET.cell("a") == Cell(name="a"), "a cell needs no more than a host"
    assert FLEET.cell("c") is None
    assert FLEET.cell_names == ("a", "b")


def test_nothing_is_promoted_to_who_is_held_or_in_quarantine():
    assert [each.name for each in FLEET.instances] == ["a1"]


def test_who_is_held_keeps_what_it_has_while_others_go_on():
    fleet = replace(FLEET, book=promote(FLEET.book, "new", plan_stages(FLEET.instances)))
    moved = replace(fleet.book.rollout, moved=1)
    fleet = replace(fleet, book=replace(fleet.book, rollout=moved))
    assert fleet.wanted() == {"a1": "new", "b1": "older", "b2": "old"}


def test_of_many_releases_those_that_somebody_needs_are_kept():
    fleet = replace(FLEET, held=(Held(host="b1", release="r1"),), book=Book(base="r0"))
    for number in range(RELEASES_KEPT + 5):
        fleet = with_release(fleet, Release(digest=f"r{number}", at_s=number, by="me"))
    names = [each.digest for each in fleet.releases]
    assert names[:3] == ["r0", "r1", "r7"]
    assert len(names) == RELEASES_KEPT
    again = with_release(fleet, Release(digest="r7", at_s=99, by="me"))
    assert [each.digest for each in again.releases[-2:]] == ["r68", "r7"]


def test_all_of_it_comes_back_from_json():
    book = promote(Book(base="old"), "new", plan_stages(FLEET.instances), RolloutRules())
    moves = begin(MoveBook(version=3, pins=(("0f", "b"),)), "1e", owner="a", target="b", now_s=2.5)
    moved = (MovedKey(key="0f", name="acme", demand_rps=1.5),)
    fleet = replace(FLEET, book=book, moves=moves, moved=moved)
    assert from_plain(Fleet, json.loads(json.dumps(to_plain(fleet)))) == fleet


def test_a_fleet_of_an_older_version_has_moved_nothing():
    plain = to_plain(FLEET)
    del plain["moves"], plain["moved"]
    assert from_plain(Fleet, plain) == FLEET


def test_keys_are_called_by_their_names_where_they_may_be_known():
    moved = (MovedKey(key="0f", name="acme"), MovedKey(key="1e"))
    fleet = replace(FLEET, moved=moved)
    assert [fleet.key_name(key) for key in ("0f", "1e", "2d")] == ["acme", "1e", "2d"]
