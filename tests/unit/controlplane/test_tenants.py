"""Where a key may be moved, which settings go with keys that were, and which are theirs again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shedproxy.controlplane.fleet import Cell, Fleet, MovedKey
from shedproxy.controlplane.move import MoveBook, MoveRules, MoveStep
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.tenants import (
    Asked,
    Placing,
    abort_move,
    check_published,
    forget_stated,
    move_tenant,
    why_not,
)
from shedproxy.core import BUCKETS
from shedproxy.snapshot import CellRouting, cell_hash

ROUTING = CellRouting(
    key="header:x-tenant", secret="s", default="a", cells=("a",), buckets=((0, BUCKETS),)
)
HERE = Placing(routing=ROUTING, cells=frozenset("abc"))
RULES = MoveRules()


def digits(name: str) -> str:
    return f"{cell_hash('s')(name.encode()):016x}"


ACME = digits("acme")


def begun(fleet: Fleet, asked: Asked, *placings: Placing) -> Fleet:
    return move_tenant(fleet, asked, placings or (HERE,), rules=RULES, now_s=5.0)[0]


def at(cell: str, *, key: str = ACME, name: str = "acme", rps: float = 0.0) -> Fleet:
    """A fleet with a key that was moved."""
    moved = (MovedKey(key=key, name=name, demand_rps=rps),)
    return Fleet(moves=MoveBook(version=3, pins=((key, cell),)), moved=moved)


def refusal(call, *arguments, **options) -> OrderRefusedError:
    with pytest.raises(OrderRefusedError) as caught:
        call(*arguments, **options)
    return caught.value


def pinned(**pins: str) -> Placing:
    """Settings that pin keys themselves."""
    cells = ("a", "b", "c")
    places = tuple((digits(name), cells.index(cell)) for name, cell in pins.items())
    return replace(HERE, routing=replace(ROUTING, cells=cells, pins=places))


def test_a_key_is_moved_by_the_hash_that_hosts_find_it_by():
    fleet, facts = move_tenant(
        Fleet(), Asked(key=" ACME ", to="b"), [HERE, HERE], rules=RULES, now_s=5.0
    )
    move = fleet.moves.move
    assert (move.key, move.owner, move.target, move.since_s) == (ACME, "a", "b", 5.0)
    assert facts == {"key": ACME, "name": "acme", "from": "a", "to": "b"}
    assert fleet.key_name(ACME) == "acme"
    back, facts = move_tenant(at("b"), Asked(key="acme", to="a"), [HERE], rules=RULES, now_s=5.0)
    assert (back.moves.move.owner, facts["from"]) == ("b", "b"), "the fleet knows where it is"


@pytest.mark.parametrize(
    ("kind", "written", "hashed", "name"),
    [
        ("host", "Big.example:8443", b"big.example", "big.example"),
        ("@client", " 192.0.2.7", b"\0\xc0\0\2\7", "192.0.2.7"),
        ("@client", "2001:db8::7", b"\0 \1\r\xb8\0\0\0\0", "2001:db8::7"),
    ],
)
def test_a_key_is_found_as_people_write_it(kind, written, hashed, name):
    placing = replace(HERE, routing=replace(ROUTING, key=kind))
    asked = Asked(key=written, to="b")
    fleet, facts = move_tenant(Fleet(), asked, [placing], rules=RULES, now_s=5.0)
    assert fleet.moves.move.key == f"{cell_hash('s')(hashed):016x}"
    assert facts["name"] == name


def test_of_a_credential_nothing_but_the_hash_is_kept():
    placing = replace(HERE, routing=replace(ROUTING, key="api-key:authorization"))
    fleet, facts = move_tenant(
        Fleet(), Asked(key="Bearer Sesame", to="b"), [placing], rules=RULES, now_s=5.0
    )
    assert facts["name"] == ""
    assert fleet.moves.move.key == digits("Bearer Sesame")
    assert "esame" not in repr((fleet, facts))


@pytest.mark.parametrize(
    ("fleet", "asked", "placings", "place", "what"),
    [
        (Fleet(), Asked(key="acme", to="z"), (HERE,), "/to", "no cell z in the settings"),
        (Fleet(), Asked(key="acme", to="b"), (HERE, replace(HERE, cells=frozenset("a"))), "/to",
         "not all settings that hosts run have a cell b"),
        (Fleet(), Asked(key="acme", to="a"), (HERE,), "/to", "in cell a already"),
        (at("b"), Asked(key="acme", to="b"), (HERE,), "/to", "in cell b already"),
        (Fleet(), Asked(key="  ", to="b"), (HERE,), "/key", "the key is empty"),
        (Fleet(), Asked(key="acme", to="b"),
         (replace(HERE, routing=replace(ROUTING, key="@client")),), "/key", '"acme" is no address'),
        (Fleet(), Asked(key="acme", to="b"), (), "", "no hosts"),
        (Fleet(), Asked(key="acme", to="b"), (replace(HERE, routing=CellRouting()),), "/key",
         "settings spread requests over cells by no key"),
        (Fleet(), Asked(key="acme", to="b"), (HERE, replace(HERE, routing=CellRouting())), "/key",
         "settings of some hosts spread"),
        (Fleet(), Asked(key="acme", to="b"), (replace(HERE, is_believed=False),), "/key",
         "nobody is trusted to send x-tenant"),
        (Fleet(), Asked(key="acme", to="b"),
         (HERE, replace(HERE, routing=replace(ROUTING, secret="t"))), "/key",
         "differ in cells.key or cells.secret"),
        (Fleet(), Asked(key="acme", to="b"), (HERE, pinned(acme="c")), "/key",
         "have it in different cells: a, c"),
        (Fleet(cells=(Cell(name="b", is_quarantined=True),)), Asked(key="acme", to="b"), (HERE,),
         "/to", "cell b is in quarantine"),
        (begun(Fleet(), Asked(key="acme", to="b")), Asked(key="other", to="c"), (HERE,), "/key",
         "acme is being moved to cell b: one move at a time"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_of_a_move_is_said(fleet, asked, placings, place, what):
    error = refusal(move_tenant, fleet, asked, placings, rules=RULES, now_s=5.0)
    assert error.place == place
    assert what in str(error)


def test_a_fleet_remembers_so_many_keys_and_no_more():
    pins = tuple((f"{number:016x}", "b") for number in range(1, 10_001))
    full = Fleet(moves=MoveBook(version=9, pins=pins))
    assert "cells.pins" in refusal(begun, full, Asked(key="acme", to="b")).help
    stated = replace(full, moves=replace(full.moves, pins=((digits("big"), "b"), *pins[1:])))
    after = begun(stated, Asked(key="acme", to="c"), pinned(big="b"))
    assert len(after.moves.pins) == 9_999, "their settings know it"
    known = replace(full, moves=replace(full.moves, pins=((ACME, "c"), *pins[1:])))
    assert begun(known, Asked(key="acme", to="b")).moves.move is not None


# --- room ---------------------------------------------------------------------------------------

SIZED = replace(HERE, most_rps={"b": 100.0, "c": 100.0}, placed_rps={"a": 50.0, "b": 70.0})


def test_nobody_is_placed_beyond_the_maximum_of_a_cell():
    error = refusal(begun, Fleet(), Asked(key="acme", to="b", demand_rps=31), SIZED)
    assert str(error) == (
        "cell b has no room: 70/s are placed on it, 31/s would come, and its maximum is 100/s"
    )
    assert begun(Fleet(), Asked(key="acme", to="b", demand_rps=30), SIZED).moves.move is not None
    assert "100/s at most" in str(refusal(begun, Fleet(), Asked(key="acme", to="b"), SIZED))
    assert begun(Fleet(), Asked(key="acme", to="a"), pinned(acme="c")), "of a nothing is known"
    assert begun(Fleet(), Asked(key="acme", to="c"), SIZED), "nobody says what c has to carry"
    error = refusal(begun, Fleet(), Asked(key="acme", to="c", demand_rps=101), SIZED)
    assert "0/s are placed" in str(error)


def test_what_was_moved_before_counts_where_it_is_and_not_where_it_was():
    other = digits("other")
    fleet = at("b", key=other, name="other", rps=20.0)
    assert "90/s are placed" in str(
        refusal(begun, fleet, Asked(key="acme", to="b", demand_rps=11), SIZED)
    )
    gone = at("c", key=other, name="other", rps=20.0)
    at_home = replace(SIZED, routing=pinned(other="b").routing)
    assert begun(gone, Asked(key="acme", to="b", demand_rps=50), at_home)
    assert begun(gone, Asked(key="other", to="b", demand_rps=500), at_home), "it is counted there"


def test_room_is_added_up_in_one_look_at_what_settings_pin():
    class Counted(tuple):
        __slots__ = ()
        looks = 0

        def __iter__(self):
            Counted.looks += 1
            return super().__iter__()

    keys = [f"{number:016x}" for number in range(1, 200)]
    fleet = Fleet(
        moves=MoveBook(version=3, pins=tuple((key, "c") for key in keys)),
        moved=tuple(MovedKey(key=key, demand_rps=1.0) for key in keys),
    )
    pins = Counted((key, 1) for key in keys)
    routing = replace(ROUTING, cells=("a", "b", "c"), pins=pins)
    sized = replace(SIZED, routing=routing, placed_rps={"b": 250.0})
    assert begun(fleet, Asked(key="acme", to="b", demand_rps=49), sized), "all of them have left b"
    assert Counted.looks < 5


def test_what_was_said_of_a_key_once_is_known_when_it_moves_again():
    error = refusal(begun, at("c", rps=31.0), Asked(key="acme", to="b"), SIZED)
    assert "31/s would come" in str(error)
    assert begun(at("c", rps=30.0), Asked(key="acme", to="b"), SIZED).moved[0].demand_rps == 30.0


# --- the way back -------------------------------------------------------------------------------


def test_a_move_is_given_up_by_order_until_the_other_cell_has_it():
    fleet, facts = abort_move(begun(Fleet(), Asked(key="acme", to="b")), why="wrong one")
    assert (fleet.moves.move, fleet.moves.ended) == (None, "wrong one")
    assert facts == {"key": ACME, "name": "acme", "from": "a", "to": "b"}
    assert "nothing is being moved" in str(refusal(abort_move, fleet, why=""))
    fleet = begun(Fleet(), Asked(key="acme", to="b"))
    move = replace(fleet.moves.move, step=MoveStep.FLIPPED)
    late = replace(fleet, moves=replace(fleet.moves, move=move))
    assert "cell b owns it already" in str(refusal(abort_move, late, why=""))
    error = refusal(begun, late, Asked(key="other", to="b"))
    assert "remove-host" in error.help, "a host that is gone would hold up everything else"


# --- settings beside keys that were moved -------------------------------------------------------


@pytest.mark.parametrize(
    ("fleet", "new", "why"),
    [
        (Fleet(), replace(HERE, routing=CellRouting()), ""),
        (at("b"), HERE, ""),
        (at("b"), pinned(other="c"), ""),
        (at("b"), replace(HERE, routing=CellRouting()), "another cells.key or cells.secret"),
        (at("b"), replace(HERE, routing=replace(ROUTING, secret="t")), "another cells.key or"),
        (at("b"), replace(HERE, cells=frozenset("ac")), "no cell b, and 1 moved key need"),
        (begun(at("b"), Asked(key="other", to="c")), replace(HERE, cells=frozenset("ab")),
         "no cell c, and 2 moved keys need"),
        (begun(Fleet(), Asked(key="acme", to="b")), pinned(acme="c"), "have acme in cell c"),
        (begun(Fleet(), Asked(key="acme", to="b")), pinned(acme="a"), ""),
    ],
)  # fmt: skip
def test_settings_go_with_moved_keys_or_it_is_said_why_not(fleet, new, why):
    found = why_not(fleet, new, ROUTING)
    assert why in found
    assert bool(found) is bool(why)


def test_settings_that_pin_a_moved_key_elsewhere_are_to_say_where_it_is():
    error = refusal(check_published, at("b"), pinned(acme="c"), HERE)
    assert "pin acme to cell c, and it was moved to b" in str(error)
    check_published(at("b"), pinned(acme="b"), HERE)
    check_published(Fleet(), pinned(acme="c"), HERE)


def test_while_a_key_moves_settings_leave_cells_alone():
    moving = begun(Fleet(), Asked(key="acme", to="b"))
    error = refusal(check_published, moving, pinned(other="c"), HERE)
    assert "change [cells] while acme is being moved to cell b" in str(error)
    assert "abort-move" in error.help
    check_published(moving, replace(HERE, placed_rps={"a": 1.0}), HERE)


def test_a_key_that_all_settings_pin_to_its_cell_can_be_forgotten():
    stated = pinned(acme="b", other="c")
    forgotten = forget_stated(at("b"), [stated, stated])
    assert forgotten.moves == MoveBook(version=3), "no table is another one"
    assert forgotten.moved == ()
    assert forget_stated(at("b"), [stated, HERE]) == at("b"), "some hosts do not"
    assert forget_stated(at("c"), [stated]) == at("c"), "they say something else"
    assert forget_stated(at("b"), []) == at("b")
    moving = begun(at("b"), Asked(key="other", to="b"))
    assert forget_stated(moving, [stated]) == moving
