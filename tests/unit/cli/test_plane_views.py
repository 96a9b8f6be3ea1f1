"""How a fleet and its audit look."""

from __future__ import annotations

from shedproxy.cli.plane_views import move_line, print_audit, print_fleet

DIGEST = f"sha256:{'3f' * 32}"
HOST = {
    "name": "e1", "cell": "eu", "zone": "a", "is_heard": True, "to_run": DIGEST, "runs": DIGEST,
    "is_held": False, "revision": 3, "trouble": "", "requests": 1234, "errors": 5, "sheds": 6,
    "p99_ms": 25.0,
}  # fmt: skip
FLEET = {
    "revision": 9,
    "store": {"ok": True, "why": ""},
    "clocks_apart": {"host e1": 12.5, "another control plane": -3.0},
    "base": f"sha256:{'01' * 32}",
    "promotion": {
        "digest": DIGEST, "force": True, "phase": "baking", "scope": "cell", "zone": "a",
        "step": "2 of 4",
        "hosts_moved": 2, "hosts": 8, "watched_s": 90.0, "bake_s": 3600.0, "requests": 70,
        "requests_min": 1000, "cause": "",
        "evidence": [{"of": "errors", "candidate": [3, 70], "control": [1, 700], "times": 4.5,
                      "proven": 0.25}],
    },
    "cells": [
        {"name": "eu", "hosts": 2, "like": "", "is_quarantined": True},
        {"name": "us", "hosts": 2, "like": "", "is_quarantined": False},
    ],
    "zones_away": {"b": 540.0},
    "move": None,
    "moved": [],
    "move_given_up": "",
    "hosts": [HOST, {**HOST, "name": "e2", "is_heard": False, "is_held": True}],
    "releases": [{"digest": DIGEST, "at_s": 1, "by": "ann", "force": False}],
    "refused": [],
}  # fmt: skip


def test_a_fleet_is_shown_with_what_is_under_way(capsys):
    print_fleet(FLEET)
    text = capsys.readouterr().out
    assert (
        "promoting sha256:3f3f3f3f3f3f (forced): baking, cell in zone a (step 2 of 4), 2 of 8"
        in text
    )
    assert "clock     host e1 is 12.5s ahead" in text
    assert "clock     another control plane is 3s behind" in text
    assert "watched 90s of 1h, 70 of 1000 requests" in text
    assert "errors: 3 of 70, and 1 of 700 without it (evidence 4.5, 25% of the proof" in text
    assert "away      zone b, for 9m" in text
    assert "quarantine  cell eu, 2 hosts" in text
    assert "newest    sha256:3f3f3f3f3f3f, published by ann" in text
    assert "held; not heard of" in text
    assert "store gone" not in text


def test_with_nothing_under_way_it_is_short(capsys):
    print_fleet({**FLEET, "promotion": None, "zones_away": {}, "releases": [], "hosts": [HOST]})
    text = capsys.readouterr().out
    assert "promoting" not in text
    assert "held" not in text


def test_a_tenant_that_moves_is_shown_with_whom_it_waits_for(capsys):
    move = {"key": "0f", "name": "acme", "from": "a", "to": "b", "phase": "held", "for_s": 1.5,
            "waits_for": {f"e{n}": "3 requests are at work" for n in range(7)}}  # fmt: skip
    moved = [{"key": "1e", "name": "", "cell": cell} for cell in "cbb"]
    print_fleet({**FLEET, "move": move, "moved": moved, "move_given_up": "before"})
    text = capsys.readouterr().out
    assert "moving    acme from a to b: held for 1.5s, waits for 7 hosts\n" in text
    assert "  waits for e4: 3 requests are at work\n" in text
    assert "e5" not in text
    assert "moved     2 to b, 1 to c" in text
    assert "before" not in text
    assert move_line({**move, "name": "", "waits_for": {}}) == (
        "moving    0f from a to b: held for 1.5s"
    )


def test_a_move_that_was_given_up_is_said_until_the_next_one(capsys):
    print_fleet({**FLEET, "move_given_up": "after 4 s held: e1: 3 requests are at work"})
    text = capsys.readouterr().out
    assert "given up  the last move: after 4 s held: e1: 3 requests are at work" in text


def test_why_it_is_rolled_back_and_that_the_store_is_gone_are_said(capsys):
    promotion = {**FLEET["promotion"], "cause": "errors: 50 %", "zone": "", "watched_s": 0}
    print_fleet({**FLEET, "promotion": promotion, "store": {"ok": False, "why": "disk full"}})
    text = capsys.readouterr().out
    assert "because errors: 50 %" in text
    assert "store gone: disk full" in text


def test_an_act_is_a_line_with_who_what_and_why(capsys):
    act = {"revision": 7, "at_s": 1_800_000_000.0, "who": "ann", "verb": "promote",
           "why": "longer", "refusal": "",
           "facts": {"digest": DIGEST, "first": "", "n": 7}}  # fmt: skip
    refused = {**act, "facts": {"hosts": ["a", "b"]}, "why": "", "refusal": "no cell z"}
    print_audit({"entries": [act, refused]})
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "    7  2027-01-15 08:00:00  ann: promote  digest=sha256:3f3f3f3f3f3f n=7  (longer)"
    )
    assert second.endswith("ann: promote  hosts=a,b  REFUSED: no cell z")
