"""`shedproxy control`: each verb as one order, and what is said of it."""

from __future__ import annotations

import functools
import json

import httpx2
import pytest
from typer.testing import CliRunner

from shedproxy.cli import plane_client
from shedproxy.cli.control_client import ControlClient
from shedproxy.cli.main import app

DIGEST = f"sha256:{'3f' * 32}"


class Cli:
    """The command before a control plane that answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict]] = []
        self.answer: tuple[int, dict] = (200, {"revision": 9, "digest": DIGEST})
        self.token = ""

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content) if request.content else {}
        self.asked.append((request.method, str(request.url).partition(":9800")[2], body))
        self.token = request.headers.get("authorization", "")
        status, content = self.answer
        return httpx2.Response(status, json=content)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["control", *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output


@pytest.fixture
def cli(monkeypatch, tmp_path):
    cli = Cli()
    transport = httpx2.MockTransport(cli.handle)
    monkeypatch.setattr(
        plane_client, "ControlClient", functools.partial(ControlClient, transport=transport)
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge.toml").write_text("mode = 'observe'\n")
    return cli


@pytest.mark.parametrize(
    ("arguments", "path", "body", "said"),
    [
        (
            ["publish", "edge.toml", "--cell", "eu", "--force"],
            "/v1/publish",
            {"texts": {"eu": "mode = 'observe'\n"}, "names": {"eu": "edge.toml"}, "force": True},
            f"published {DIGEST} (revision 9)",
        ),
        (
            ["promote", "3f", "--first", "e1", "--bake", "2s", "--requests", "7", "--miss", "1"],
            "/v1/promote",
            {"digest": "3f", "first": "e1", "bake": "2s", "requests": 7, "miss": 1},
            "promoting 3f",
        ),
        (["promote", "3f"], "/v1/promote", {"digest": "3f", "first": ""}, "promoting 3f"),
        (["roll-back"], "/v1/roll-back", {}, "rolling back"),
        (
            ["quarantine-cell", "eu"],
            "/v1/quarantine-cell",
            {"cell": "eu", "end": False},
            "cell eu is in quarantine",
        ),
        (
            ["quarantine-cell", "eu", "--end"],
            "/v1/quarantine-cell",
            {"cell": "eu", "end": True},
            "cell eu is out of quarantine",
        ),
        (
            ["clone-cell", "eu", "eu-2", "--host", "e7@a", "--host", "e8"],
            "/v1/clone-cell",
            {"source": "eu", "cell": "eu-2", "hosts": ["e7@a", "e8"]},
            "cell eu-2 is like eu, with 2 hosts",
        ),
        (
            ["shift-zone", "b", "--for", "30m"],
            "/v1/shift-zone",
            {"zone": "b", "for": "30m"},
            "zone b is away for 30m",
        ),
        (
            ["shift-zone", "b", "--back"],
            "/v1/shift-zone",
            {"zone": "b", "back": True},
            "zone b is back",
        ),
        (
            ["add-host", "e9", "--cell", "eu", "--zone", "a"],
            "/v1/add-host",
            {"host": "e9", "cell": "eu", "zone": "a"},
            "host e9 is in cell eu",
        ),
        (["remove-host", "e9"], "/v1/remove-host", {"host": "e9"}, "e9 is out of the fleet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_verb_is_one_order(cli, arguments, path, body, said):
    assert said in cli(*arguments, "--why", "because", "--revision", "8")
    assert cli.asked == [("POST", path, {**body, "why": "because", "revision": 8})]
    assert json.loads(cli(*arguments, "--json")) == {"revision": 9, "digest": DIGEST}
    assert cli.asked[-1][2] == {**body, "why": ""}


def test_what_was_published_is_promoted_by_a_few_digits(cli):
    assert "shedproxy control promote sha256:3f3f3f3f3f3f" in cli("publish", "edge.toml")


def test_a_zone_without_upstreams_is_said_to_move_nothing(cli):
    cli.answer = (200, {"revision": 9, "upstreams": 0})
    assert "name no upstream there" in cli("shift-zone", "b")
    cli.answer = (200, {"revision": 9, "upstreams": 2})
    assert "no upstream" not in cli("shift-zone", "b")


def test_that_a_release_is_forced_is_said(cli):
    assert "changes nothing" not in cli("publish", "edge.toml", "--force")
    cli.answer = (200, {"revision": 9, "digest": DIGEST, "force": True})
    assert "forced" in cli("publish", "edge.toml")
    assert "forced" in cli("promote", "3f")
    cli.answer = (200, {"revision": 9, "digest": DIGEST, "force": False})
    assert "changes nothing" in cli("publish", "edge.toml", "--force")


def test_a_file_that_cannot_be_read_is_said(cli, tmp_path):
    assert "cannot read gone.toml" in cli("publish", "gone.toml", code=3)
    (tmp_path / "edge.toml").write_bytes(b"\xff")
    assert "not UTF-8" in cli("publish", "edge.toml", code=3)


def test_the_audit_leaves_out_what_was_only_watched(cli):
    entries = [
        {"revision": n, "at_s": 1.8e9, "who": "ann", "verb": verb, "why": "", "refusal": "",
         "facts": {}}
        for n, verb in enumerate(("promote", "watch"), 1)
    ]  # fmt: skip
    cli.answer = (200, {"entries": entries})
    assert "watch" not in cli("audit", "--from", "3")
    assert cli.asked == [("GET", "/v1/audit?from=3", {})]
    assert "watch" in cli("audit", "--all")
    assert len(json.loads(cli("audit", "--json"))["entries"]) == 1
