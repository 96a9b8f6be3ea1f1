"""Orders as they come: what is read, and which part of a bad one is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane.fleet import Fleet, Host, Release
from shedproxy.controlplane.move import MoveBook, begin
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.rollout import Book, RolloutRules
from shedproxy.controlplane.tenants import Asked
from shedproxy.controlplane.verbs import VERBS, parse_order, read_host
from shedproxy.core import seconds

RULES = RolloutRules()
FLEET = Fleet(
    hosts=(Host(name="a1", cell="a", zone="p"), Host(name="b1", cell="b", zone="q")),
    releases=(Release(digest="sha256:01", at_s=1, by=""), Release(digest="sha256:02", at_s=1,
                                                                  by="")),
    book=Book(base="sha256:01"),
)  # fmt: skip


def done(verb: str, fleet: Fleet = FLEET, **content) -> Fleet:
    return parse_order(verb, content, RULES).apply(fleet, 1000)[0]


def test_every_verb_does_what_it_says():
    promoted = done("promote", digest="02", first="b1", bake="2s", requests=7, miss=0.2)
    rollout = promoted.book.rollout
    assert (rollout.digest, rollout.order[0]) == ("sha256:02", "b1")
    assert rollout.rules.bake_ns == (seconds(2),) * 4
    assert (rollout.rules.requests_min, rollout.rules.miss) == (7, 0.2)
    easier = done("promote", promoted, digest="02", miss=1)
    rules = easier.book.rollout.rules
    assert (rules.miss, rules.requests_min, rules.bake_ns) == (1, 7, rollout.rules.bake_ns)
    back = done("roll-back", promoted, why="because")
    assert back.book.rollout.cause == "because"
    assert done("quarantine-cell", cell="a").quarantined == {"a"}
    cloned = done("clone-cell", source="a", cell="c", hosts=["c1@p", "c2"])
    assert [host.name for host in cloned.hosts] == ["a1", "b1", "c1", "c2"]
    away = done("shift-zone", zone="p", **{"for": "30m"})
    assert away.shifts[0].until_s == 2800
    assert done("shift-zone", away, zone="p", back=True).shifts == ()
    assert done("add-host", host="a2", cell="a", zone="p").host("a2").zone == "p"
    assert done("remove-host", host="a1").host("a1") is None
    moving = parse_order("move-tenant", {"key": "k", "to": "b", "demand": 3}, RULES)
    assert moving.asked == Asked(key="k", to="b", demand_rps=3.0)
    assert moving.facts == {"to": "b", "demand": 3.0}, "it may be a credential"
    book = begin(MoveBook(), "0f", owner="a", target="b", now_s=1.0)
    aborted = done("abort-move", replace(FLEET, moves=book), why="wrong")
    assert aborted.moves.ended == "wrong"
    published = parse_order("publish", {"texts": {"": "x"}, "force": True}, RULES)
    assert published.published.is_forced
    assert set(VERBS) == {
        "publish", "promote", "roll-back", "move-tenant", "abort-move", "quarantine-cell",
        "clone-cell", "shift-zone", "add-host", "remove-host",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "content", "place"),
    [
        ("promote", {}, "/digest"),
        ("promote", {"digest": 7}, "/digest"),
        ("promote", {"digest": "02", "bake": "soon"}, "/bake"),
        ("promote", {"digest": "02", "requests": 0}, "/requests"),
        ("promote", {"digest": "02", "miss": 0}, "/miss"),
        ("promote", {"digest": "02", "miss": True}, "/miss"),
        ("promote", {"digest": "02", "colour": 1}, "/colour"),
        ("roll-back", {"why": "x" * 501}, "/why"),
        ("roll-back", {"revision": 0}, "/revision"),
        ("roll-back", {"revision": True}, "/revision"),
        ("quarantine-cell", {"cell": "a", "end": "yes"}, "/end"),
        ("clone-cell", {"source": "a", "cell": "B!", "hosts": ["h"]}, "/cell"),
        ("clone-cell", {"source": "a", "cell": "c", "hosts": "h"}, "/hosts"),
        ("clone-cell", {"source": "a", "cell": "c", "hosts": ["../x"]}, "/host"),
        ("shift-zone", {"zone": "p", "for": "8d"}, "/for"),
        ("shift-zone", {"zone": "p", "for": "1"}, "/for"),
        ("add-host", {"host": "reports"}, "/host"),
        ("add-host", {"host": "a/b"}, "/host"),
        ("add-host", {"host": "a", "cell": "A"}, "/host"),
        ("add-host", {"host": "a", "zone": "/"}, "/host"),
        ("move-tenant", {"to": "b"}, "/key"),
        ("move-tenant", {"key": "k" * 1025, "to": "b"}, "/key"),
        ("move-tenant", {"key": "a\nb", "to": "b"}, "/key"),
        ("move-tenant", {"key": "\ud800", "to": "b"}, "/key"),
        ("move-tenant", {"key": "k"}, "/to"),
        ("move-tenant", {"key": "k", "to": "b", "demand": -1}, "/demand"),
        ("move-tenant", {"key": "k", "to": "b", "demand": True}, "/demand"),
        ("move-tenant", {"key": "k", "to": "b", "demand": "3"}, "/demand"),
        ("abort-move", {"key": "k"}, "/key"),
        ("publish", {}, "/texts"),
        ("publish", {"texts": {"": 7}}, "/texts"),
        ("publish", {"texts": {"A B": ""}}, "/texts"),
        ("publish", {"texts": {"": ""}, "names": []}, "/names"),
    ],
)
def test_of_a_bad_order_the_part_is_named(verb, content, place):
    with pytest.raises(OrderRefusedError) as caught:
        parse_order(verb, content, RULES)
    assert caught.value.place == place
    assert not caught.value.is_conflict


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("e1", Host(name="e1")),
        ("e1@z", Host(name="e1", zone="z")),
        ("e1=c", Host(name="e1", cell="c")),
        ("e1=c@z", Host(name="e1", cell="c", zone="z")),
    ],
)
def test_a_host_is_written_with_its_cell_and_zone(text, host):
    assert read_host(text) == host
