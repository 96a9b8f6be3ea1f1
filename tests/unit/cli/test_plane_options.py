"""What all orders have in common: what is sent, and what is said of it."""

from __future__ import annotations

import json

import pytest

from shedproxy.cli import plane_options
from shedproxy.cli.plane_options import order, say


@pytest.fixture
def asked(monkeypatch):
    asked = []

    def ask(*arguments, body):
        asked.append((*arguments, body))
        return {"revision": 9}

    monkeypatch.setattr(plane_options, "ask_plane", ask)
    return asked


def test_an_order_has_its_parts_a_reason_and_the_revision_that_it_is_for(asked):
    order("promote", {"digest": "3f"}, "because", 8, "http://h", "token")
    order("roll-back", {}, "", None, "http://h", "")
    assert asked == [
        ("http://h", "token", "POST", "/v1/promote",
         {"digest": "3f", "why": "because", "revision": 8}),
        ("http://h", "", "POST", "/v1/roll-back", {"why": ""}),
    ]  # fmt: skip


def test_what_was_done_is_said_with_its_revision_or_as_it_came(capsys):
    say({"revision": 9}, "done", as_json=False)
    assert capsys.readouterr().out == "done (revision 9)\n"
    say({"revision": 9}, "done", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"revision": 9}
