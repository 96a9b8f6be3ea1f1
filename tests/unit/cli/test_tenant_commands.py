"""`shedproxy control move-tenant`: the order, where the key comes from, and how its end is told."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from shedproxy.cli import plane_options, tenant_commands
from shedproxy.cli.main import app

TOLD = {"revision": 9, "key": "0f", "name": "acme", "from": "a", "to": "b"}
MOVE = {"key": "0f", "name": "acme", "from": "a", "to": "b", "phase": "held", "for_s": 1.0,
        "waits_for": {"e1": "why"}}  # fmt: skip
OVER = {"revision": 12, "move": None, "moved": [], "move_given_up": ""}


class Plane:
    """A control plane whose fleet is another one at each look."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.told = TOLD
        self.looks: list[dict] = []

    def ask(self, _url, _token, method, path, *, body=None, patience_s=0.0):
        if method == "GET":
            assert patience_s >= 10, "a control plane that restarts ends no wait"
            return self.looks.pop(0)
        self.asked.append((path, body))
        return self.told

    def run(self, *arguments: str, code: int = 0, text: str | None = None) -> str:
        result = CliRunner().invoke(app, ["control", *arguments], input=text)
        assert result.exit_code == code, (result.output, result.exception)
        return result.output


@pytest.fixture
def plane(monkeypatch):
    plane = Plane()
    for module in (plane_options, tenant_commands):
        monkeypatch.setattr(module, "ask_plane", plane.ask)
    monkeypatch.setattr(tenant_commands, "LOOK_S", 0.0)
    return plane


def test_a_tenant_is_moved_by_one_order(plane):
    said = plane.run("move-tenant", "acme", "--to", "b", "--why", "large", "--revision", "8")
    assert "moving acme from a to b: shedproxy control status (revision 9)" in said
    assert plane.asked == [
        ("/v1/move-tenant", {"key": "acme", "to": "b", "why": "large", "revision": 8})
    ]
    assert json.loads(plane.run("move-tenant", "acme", "--to", "b", "--json")) == TOLD


def test_a_key_that_nobody_is_to_see_is_read_and_called_by_its_hash(plane):
    plane.told = {**TOLD, "name": ""}
    said = plane.run("move-tenant", "-", "--to", "b", "--demand", "30", text="Sesame\n")
    assert "moving 0f from a" in said
    assert plane.asked == [
        ("/v1/move-tenant", {"key": "Sesame", "to": "b", "demand": 30.0, "why": ""})
    ]


def test_who_waits_is_told_each_change_and_the_end(plane):
    there = {**OVER, "moved": [{"key": "0f", "name": "acme", "cell": "b"}]}
    late = {**OVER, "revision": 8}
    marked = {"move": {**MOVE, "phase": "marked"}, "revision": 9}
    plane.looks = [late, marked, {**marked, "move": MOVE}, {**marked, "move": MOVE}, there]
    assert plane.run("move-tenant", "acme", "--to", "b", "--wait").splitlines() == [
        "moving    acme from a to b: marked for 1s, waits for 1 host: e1: why",
        "moving    acme from a to b: held for 1s, waits for 1 host: e1: why",
        "acme is in cell b (revision 12)",
    ]
    plane.looks = [marked, there]
    said = plane.run("move-tenant", "acme", "--to", "b", "--wait", "--json")
    assert json.loads(said) == {"moved": there["moved"], "move_given_up": ""}


def test_a_move_that_was_given_up_is_no_success(plane):
    another = {**MOVE, "key": "1e"}
    plane.looks = [{**OVER, "move": another, "move_given_up": "after 4 s held: e1: 3 at work"}]
    said = plane.run("move-tenant", "acme", "--to", "b", "--wait", code=1)
    assert "error: acme was not moved: after 4 s held: e1: 3 at work" in said


def test_the_way_back_is_an_order_too(plane):
    assert "acme stays in cell a (revision 9)" in plane.run("abort-move", "--why", "wrong one")
    assert plane.asked == [("/v1/abort-move", {"why": "wrong one"})]
