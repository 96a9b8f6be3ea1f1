"""`shedproxy snapshot`: from keys and settings to a snapshot that instances take."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from shedproxy.cli.main import app

TOML = """\
[cell.default]
upstream = "http://127.0.0.1:8000"
limit = {limit}
[cells]
key = "header:x-tenant"
secret = "s"
pins = {{ "acme" = "default" }}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*arguments: str, code: int = 0) -> str:
        result = runner.invoke(app, ["snapshot", *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    (tmp_path / "edge.toml").write_text(TOML.format(limit=7))
    return run


@pytest.fixture
def signed(run):
    run("keygen", "fleet")
    run("sign", "edge.toml", "--key", "fleet.key", "--revision", "7", "--out", "edge.snapshot")
    return run


def test_what_is_signed_is_good_and_says_what_it_is(signed):
    assert "good: revision 7" in signed("verify", "edge.snapshot", "--key", "fleet.pub")
    shown = json.loads(signed("show", "edge.snapshot", "--json"))
    assert (shown["revision"], shown["size"], shown["force"]) == (7, 256 * 1024, False)
    assert shown["document"]["policy"]["cells"][0]["limit"]["maximum"] == 7
    assert shown["table_bytes"] > 65536
    assert "revision       7" in signed("show", "edge.snapshot")


def test_a_key_is_not_written_over(signed):
    assert "exists" in signed("keygen", "fleet", code=1)


def test_a_stranger_and_damage_are_told_apart(signed, tmp_path):
    signed("keygen", "other")
    assert "unknown_key" in signed("verify", "edge.snapshot", "--key", "other.pub", code=3)
    data = (tmp_path / "edge.snapshot").read_bytes()
    (tmp_path / "edge.snapshot").write_bytes(data.replace(b'"revision":7', b'"revision":8'))
    assert "signature" in signed("verify", "edge.snapshot", "--key", "fleet.pub", code=3)
    (tmp_path / "edge.snapshot").write_bytes(data[:500])
    assert "truncated" in signed("verify", "edge.snapshot", "--key", "fleet.pub", code=3)


def test_a_snapshot_is_signed_once_more_with_both_keys(signed):
    signed("keygen", "new")
    keys = ("--key", "fleet.key", "--key", "new.key")
    more = ("--revision", "8", "--size", "1MiB", "--expires-in", "1h", "--force")
    signed("sign", "edge.snapshot", *keys, *more, "--out", "both.snapshot")
    for key in ("fleet.pub", "new.pub"):
        assert "revision 8" in signed("verify", "both.snapshot", "--key", key)
    shown = json.loads(signed("show", "both.snapshot", "--json"))
    assert (shown["size"], shown["force"]) == (1 << 20, True)
    assert shown["expires_at_s"] == shown["issued_at_s"] + 3600
    assert signed("diff", "edge.snapshot", "both.snapshot") == ""


def test_differences_are_named(signed, tmp_path):
    text = TOML.format(limit=9).replace('"acme"', '"bolt"')
    (tmp_path / "edge.toml").write_text(text)
    arguments = ("--key", "fleet.key", "--revision", "8", "--out", "new.snapshot")
    signed("sign", "edge.toml", *arguments)
    lines = signed("diff", "edge.snapshot", "new.snapshot", code=1).splitlines()
    assert "- policy.cells.0.limit.maximum = 7" in lines
    assert "+ policy.cells.0.limit.maximum = 9" in lines
    assert lines[-1] == "~ table of cells: 0 buckets, 2 pinned keys"


def test_mistakes_are_located_and_explained(signed, tmp_path):
    (tmp_path / "bad.toml").write_text("[cell.default]\nlimitt = 3\n")
    arguments = ("--key", "fleet.key", "--revision", "8", "--out", "x")
    assert "bad.toml:2" in signed("sign", "bad.toml", *arguments, code=3)
    assert "public key" in signed(
        "sign", "edge.toml", "--key", "fleet.pub", "--revision", "1", "--out", "x", code=3
    )
    assert "not one of the sizes" in signed(
        "sign", "edge.toml", *arguments, "--size", "5MiB", code=2
    )
    signed("sign", "edge.toml", *arguments, "--expires-in", "soon", code=2)
    assert "cannot read" in signed("show", "none.snapshot", code=3)
    assert "not a snapshot" in signed("show", "edge.toml", code=3)
    signed("verify", "edge.snapshot", code=2)


def test_what_every_host_would_refuse_as_empty_is_not_signed(run, tmp_path):
    (tmp_path / "empty.toml").write_text("")
    run("keygen", "fleet")
    said = run("sign", "empty.toml", "--key", "fleet.key", "--revision", "1", "--out", "x", code=3)
    assert "empty.toml says nothing: every host would refuse it" in said
    assert not (tmp_path / "x").exists()
