"""`shedproxy control init`, `token`, and what `run` says before it runs."""

from __future__ import annotations

import asyncio
import hashlib
import tomllib

import pytest
from typer.testing import CliRunner

from shedproxy.cli.main import app, run
from shedproxy.controlplane.ledger import Ledger
from shedproxy.core import seconds
from shedproxy.store import open_store

SETTINGS = '[cell.default]\nupstream = "http://127.0.0.1:8000"\n'


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("LOGNAME", "ann")
    (tmp_path / "edge.toml").write_text(SETTINGS)

    def cli(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["control", *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return cli


def begin(cli, tmp_path, *arguments: str, code: int = 0) -> str:
    store = f"file://{tmp_path}/fleet"
    return cli("init", "edge.toml", "--store", store, "--host", "e1=eu@a", *arguments, code=code)


def test_init_makes_all_that_a_fleet_needs(cli, tmp_path):
    text = begin(cli, tmp_path, "--host", "e2@b")
    assert f'source = "file://{tmp_path}/fleet/hosts/{{instance}}"' in text
    control = tomllib.loads((tmp_path / "control.toml").read_text())
    token = (tmp_path / "ann.token").read_text().strip()
    assert control["token"]["ann"]["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert token not in (tmp_path / "control.toml").read_text()
    for name in ("ann.token", "fleet.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    store = open_store(f"file://{tmp_path}/fleet", timeout=seconds(5))
    fleet = asyncio.run(Ledger(store).head()).fleet
    assert [(h.name, h.cell, h.zone) for h in fleet.hosts] == [
        ("e1", "eu", "a"),
        ("e2", "default", "b"),
    ]
    assert (tmp_path / "fleet/hosts/e2").stat().st_size == 256 * 1024
    assert "exists already" in begin(cli, tmp_path, code=1)


@pytest.mark.parametrize(
    ("settings", "host", "code", "what"),
    [
        ("[cell.default]\nlimit = 0\n", "e2", 3, "edge.toml:2"),
        (SETTINGS, "../e2", 1, "is no name of a host"),
        (SETTINGS, "e1", 1, "there is a host e1 already"),
    ],
)
def test_what_cannot_be_begun_leaves_nothing_behind(cli, tmp_path, settings, host, code, what):
    (tmp_path / "edge.toml").write_text(settings)
    assert what in begin(cli, tmp_path, "--host", host, code=code)
    assert not [file.name for file in tmp_path.iterdir() if file.suffix in {".key", ".token"}]
    assert not (tmp_path / "control.toml").exists()


def test_a_store_that_has_a_fleet_is_left_alone(cli, tmp_path):
    begin(cli, tmp_path)
    (tmp_path / "other").mkdir()
    text = begin(cli, tmp_path, "--out", "other/control.toml", code=1)
    assert "there is a fleet already" in text
    assert list((tmp_path / "other").iterdir()) == []
    assert "No such file" in cli("init", "gone.toml", "--store", "file:///x", "--host", "e", code=1)


def test_a_token_is_shown_once_and_only_its_hash_goes_into_the_file(cli, tmp_path):
    text = cli("token", "ci", "--role", "publisher", "--token-out", "ci.token")
    made = tomllib.loads(text)["token"]["ci"]
    token = (tmp_path / "ci.token").read_text().strip()
    assert made == {"sha256": hashlib.sha256(token.encode()).hexdigest(), "role": "publisher"}
    assert "token of bob: " in cli("token", "bob")
    assert "cannot write ci.token" in cli("token", "ci", "--token-out", "ci.token", code=1)
    assert "is none of" in cli("token", "bob", "--role", "boss", code=2)


def test_run_says_what_is_wrong_with_its_file(cli, tmp_path, monkeypatch, capsys):
    begin(cli, tmp_path)
    file = tmp_path / "control.toml"
    text = file.read_text()
    for broken, what in (
        (text.replace("127.0.0.1:9800", "here"), 'expected "host:port"\n'),
        (text.replace("listen", "lisen"), 'did you mean "listen"?'),
        (text.replace("127.0.0.1:9800", "0.0.0.0:9800").partition("[token")[0], "no token"),
        (text.replace("fleet.key", "gone.key"), "gone.key: No such file"),
    ):
        file.write_text(broken)
        monkeypatch.setattr("sys.argv", ["shedproxy", "control", "run", "control.toml"])
        with pytest.raises(SystemExit) as caught:
            run()
        assert caught.value.code == 3
        assert what in capsys.readouterr().err


def test_run_says_who_writes_a_file_that_is_not_there(cli, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["shedproxy", "control", "run", "gone.toml"])
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 3
    assert "`shedproxy control init`" in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:x", "unix:/run/plane", ":70000"])
def test_an_address_that_is_none_is_a_usage_error(cli, tmp_path, listen):
    begin(cli, tmp_path)
    text = " ".join(cli("run", "control.toml", "--listen", listen, code=2).split())
    assert "--listen" in text
    assert f'"{listen}" is not' in text
