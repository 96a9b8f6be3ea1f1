"""`check`, `init`, `export schema` and `version`, as a user runs them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import shedproxy
from shedproxy.cli import main
from shedproxy.errors import ConfigInvalidError
from shedproxy.observability.build import BUILD


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("SHEDPROXY_CONFIG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(main.app, list(arguments))


GOOD = """\
[cell.default]
upstream = "http://127.0.0.1:8000"
[cell.checkout]
limit = 64
[[rule]]
cell = "checkout"
"""


def test_an_old_profile_of_another_machine_is_warned_of(folder):
    profile = """
[cell.default.profile]
id = "x"
fitted_at = "2020-01-01T00:00:00Z"
fingerprint = "sha256:elsewhere"
capacity = [200.0]
knee = [4.0]
"""
    (folder / "shedproxy.toml").write_text(GOOD + profile)
    result = invoke("check")
    assert result.exit_code == 0
    assert "days old" in result.stderr
    assert "another machine" in result.stderr
    assert invoke("check", "--strict").exit_code == 3


def test_a_good_file_is_summed_up(folder):
    (folder / "shedproxy.toml").write_text(GOOD)
    result = invoke("check")
    assert result.exit_code == 0
    assert result.stdout == (
        "shedproxy.toml: good\n"
        "  mode     enforce\n"
        "  listen   127.0.0.1:8080\n"
        "  control  127.0.0.1:9900\n"
        "  cell     default: limit adaptive from 8, 1 to 1000 -> http://127.0.0.1:8000\n"
        "  cell     checkout: limit fixed 64 -> http://127.0.0.1:8000\n"
        "  rules    1\n"
    )
    assert result.stderr == ""


def test_a_bad_file_ends_with_3_and_every_problem(folder):
    (folder / "edge.toml").write_text('mode = "on"\n[server]\nworkers = 0\n')
    result = invoke("check", "edge.toml")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "--> edge.toml:1:8" in result.stderr
    assert "--> edge.toml:3:11" in result.stderr
    assert result.stderr.endswith("2 errors\n")


def test_warnings_fail_only_when_asked(folder):
    (folder / "shedproxy.toml").write_text("[[rule]]\nlimit = 0\n")
    assert invoke("check").exit_code == 0
    assert "1 warning" in invoke("check").stderr
    assert invoke("check", "--strict").exit_code == 3


def test_hints_never_fail(folder):
    (folder / "shedproxy.toml").write_text("[cell.default.transport]\ncancels = true\n")
    assert invoke("check", "--strict").exit_code == 0


def test_check_without_a_file_checks_the_environment(monkeypatch):
    assert "no file: defaults and environment: good" in invoke("check").stdout
    monkeypatch.setenv("SHEDPROXY_SERVER__WORKERS", "0")
    result = invoke("check")
    assert result.exit_code == 3
    assert "SHEDPROXY_SERVER__WORKERS=0" in result.stderr


def test_the_file_may_be_named_by_the_environment(folder, monkeypatch):
    (folder / "other.toml").write_text("mode = 1\n")
    monkeypatch.setenv("SHEDPROXY_CONFIG", "other.toml")
    assert "other.toml:1:8" in invoke("check").stderr


def test_check_prints_json(folder):
    (folder / "shedproxy.toml").write_text('mode = "on"\n')
    result = invoke("check", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "file": "shedproxy.toml",
        "good": False,
        "problems": [
            {
                "severity": "error",
                "message": "mode must be one of enforce, observe, off",
                "path": "mode",
                "source": "shedproxy.toml",
                "line": 1,
                "column": 8,
                "length": 4,
                "note": '"on" is none of them',
                "help": "",
            }
        ],
    }
    (folder / "shedproxy.toml").write_text("")
    assert json.loads(invoke("check", "--json").stdout)["good"] is True


@pytest.mark.parametrize("flags", [[], ["--minimal"]])
def test_init_writes_a_file_that_is_good(folder, flags):
    result = invoke("init", "edge.toml", "--upstream", "http://10.0.0.5:80", *flags)
    assert result.exit_code == 0
    assert "shedproxy run --config edge.toml" in result.stdout
    checked = invoke("check", "edge.toml", "--strict")
    assert checked.exit_code == 0
    assert "http://10.0.0.5:80" in checked.stdout


def test_init_replaces_nothing_unless_told(folder):
    file = folder / "shedproxy.toml"
    file.write_text("mine")
    result = invoke("init")
    assert result.exit_code == 1
    assert "--force replaces it" in result.stderr
    assert file.read_text() == "mine"
    assert invoke("init", "--force").exit_code == 0
    assert file.read_text().startswith("#:schema")


def test_init_refuses_what_is_no_upstream(folder):
    result = invoke("init", "--upstream", "localhost:80")
    assert isinstance(result.exception, ConfigInvalidError)
    assert not (folder / "shedproxy.toml").exists()


def test_init_prints_to_standard_output(folder):
    assert invoke("init", "-").stdout.startswith("#:schema")
    assert list(folder.iterdir()) == []


def test_init_says_where_it_cannot_write():
    result = invoke("init", "no/such/folder.toml")
    assert result.exit_code == 1
    assert "cannot write no/such/folder.toml" in result.stderr


def test_export_schema_prints_or_writes(folder):
    printed = invoke("export", "schema").stdout
    assert json.loads(printed)["title"] == "shedproxy settings"
    assert invoke("export", "schema", "--out", "s.json").stdout == "wrote s.json\n"
    assert (folder / "s.json").read_text() == printed
    assert invoke("export", "schema", "--out", "no/s.json").exit_code == 1


def test_version_names_what_it_runs_on():
    assert invoke("version").stdout.startswith(
        f"shedproxy {shedproxy.__version__}\nbuild {BUILD}\npython 3."
    )
    assert json.loads(invoke("version", "--json").stdout)["shedproxy"] == shedproxy.__version__
