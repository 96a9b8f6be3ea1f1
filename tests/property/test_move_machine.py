"""Every state of moves between two cells over two hosts, and mistakes that the walk must find."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.machines.move import Bounds, HostRules, walk

from shedproxy.controlplane.move import MoveBook, MoveStep, abort, advance


@pytest.mark.parametrize(
    ("bounds", "least"),
    [
        (Bounds(moves=1), 8_000),
        (Bounds(moves=2, has_waiters=False), 10_000),
        (Bounds(moves=1, joins=1, hosts=1), 5_000),
    ],
    ids=["waiters", "there and back", "a host joins, one leaves"],
)
def test_no_state_has_two_owners_and_every_move_can_end(bounds: Bounds, least: int):
    space = walk(bounds)
    print(f"{bounds}: {space}")
    assert space.violation is None, space.violation
    assert space.states >= least


# --- mistakes -----------------------------------------------------------------------------------


def one_is_enough(book: MoveBook, *, hosts, reports, now_s: float) -> MoveBook:
    return advance(book, hosts=list(reports)[:1] or hosts, reports=reports, now_s=now_s)


def an_older_one_will_do(book: MoveBook, *, hosts, reports, now_s: float) -> MoveBook:
    told = {host: said._replace(table_version=said.table_version + 1) for host, said in
            reports.items()}  # fmt: skip
    return advance(book, hosts=hosts, reports=told, now_s=now_s)


def does_not_hold(book: MoveBook, *, hosts, reports, now_s: float) -> MoveBook:
    after = advance(book, hosts=hosts, reports=reports, now_s=now_s)
    move = after.move
    if move is None or move.step is not MoveStep.HELD:
        return after
    move = replace(move, step=MoveStep.FLIPPED)
    return replace(after, move=move, pins=((move.key, move.target),))


def gives_back_what_is_gone(book: MoveBook, cause: str) -> MoveBook:
    move = book.move
    if move is None or move.step is not MoveStep.FLIPPED:
        return abort(book, cause)
    pins = tuple((key, cell) for key, cell in book.pins if key != move.key)
    return replace(book, version=book.version + 1, move=None, pins=pins)


def flips_when_time_is_up(book: MoveBook, *, hosts, reports, now_s: float) -> MoveBook:
    return advance(book, hosts=hosts if now_s < 1 else (), reports=reports, now_s=now_s)


COMING_AND_GOING = Bounds(moves=1, hosts=1, joins=1, has_waiters=False)
STEADY = Bounds(moves=1, has_kills=False)
"""Who is killed has no waiters any more."""

MISTAKES = {
    "one host is enough": ({"advance": one_is_enough}, "two owners"),
    "the report before will do": ({"advance": an_older_one_will_do}, "two owners"),
    "what runs is not waited for": (
        {"rules": HostRules(counts_running=False)},
        "work at two cells",
    ),
    "who died is not waited for": (
        {"rules": HostRules(counts_unseen=False)},
        "work at two cells",
    ),
    "nothing is held": ({"advance": does_not_hold}, "two owners"),
    "it flips when time is up": ({"advance": flips_when_time_is_up}, "two owners"),
    "it is given back after the flip": ({"abort": gives_back_what_is_gone}, "two owners"),
    "who comes too late writes all the same": ({"compares": False}, "the book went back"),
    "a host serves what is held": ({"rules": HostRules(holds=False)}, "work at two cells"),
    "a host says it before its disk has it": (
        {"rules": HostRules(keeps_before_running=False, says_what_disk_has=False)},
        "two owners",
    ),
    "a host boots from the copy before": (
        {"rules": HostRules(boots_from="previous")},
        "two owners",
    ),
    "a host takes what is older": ({"rules": HostRules(refuses_older=False)}, "two owners"),
    "a host comes with a folder of long ago": (
        {"rules": HostRules(comes_with_nothing=False), "bounds": COMING_AND_GOING},
        "two owners",
    ),
    "a host that leaves serves on": (
        {"rules": HostRules(is_off_when_it_leaves=False), "bounds": COMING_AND_GOING},
        "two owners",
    ),
    "a waiter is forgotten": (
        {"rules": HostRules(waiters_ask_again=False), "bounds": STEADY},
        "no way to the goal",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_its_shortest_trace(name: str):
    mistake, what = MISTAKES[name]
    found = walk(**{"bounds": Bounds(moves=1), **mistake}).violation
    assert found is not None
    print(f"{name}: {found}")
    assert what in found.what
