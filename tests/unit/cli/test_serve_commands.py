"""Flags become settings; the serving itself is tests/integration/test_run.py."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from shedproxy.cli import serve_commands
from shedproxy.cli.serve_commands import make_overrides
from shedproxy.errors import StartupError
from shedproxy.supervisor import run as run_module


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs a command line; `options` holds what the supervisor would have been started with."""
    monkeypatch.chdir(tmp_path)

    class Cli:
        options: list = []
        error: Exception | None = None

        def __call__(self, *arguments: str):
            app = typer.Typer()
            app.command("run")(serve_commands.run)
            app.command("app")(serve_commands.app)
            return CliRunner().invoke(app, list(arguments))

    cli = Cli()
    cli.options = []

    def run_supervisor(options) -> int:
        cli.options.append(options)
        if cli.error is not None:
            raise cli.error
        return 0

    monkeypatch.setattr(run_module, "run_supervisor", run_supervisor)
    return cli


def test_flags_are_settings_and_those_left_out_are_none():
    given = make_overrides(
        upstreams=["http://a"],
        listen=None,
        control=":9",
        limit=7,
        mode="off",
        workers=None,
        state=None,
    )
    assert given == {
        "mode": "off",
        "server.listen": None,
        "server.workers": None,
        "server.state_file": None,
        "control.listen": ":9",
        "cell.default.upstream": ["http://a"],
        "cell.default.limit": 7,
    }


def test_run_takes_several_upstreams_and_listeners(cli):
    result = cli("run", "http://a", "http://b", "--listen", ":1", "--listen", ":2", "--observe")
    assert result.exit_code == 0, result.output
    (options,) = cli.options
    assert options.kind == "wire"
    assert options.overrides["cell.default.upstream"] == ["http://a", "http://b"]
    assert options.overrides["server.listen"] == [":1", ":2"]
    assert options.overrides["mode"] == "observe"


def test_app_hands_the_application_to_its_workers(cli):
    assert cli("app", "shop.web:make", "--factory", "--app-dir", "src").exit_code == 0
    (options,) = cli.options
    assert options.kind == "asgi"
    assert options.worker_arguments == (
        *("--app", "shop.web:make"),
        *("--app-dir", "src", "--factory"),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "http://a", "--observe", "--off"),
        ("run", "http://a", "--limit", "0"),
        ("run", "http://a", "--workers", "0"),
        ("run", "http://a", "--workers", "many"),
        ("app", "module"),
        ("app", ":app"),
        ("app",),
    ],
)
def test_contradictions_are_usage_errors(cli, arguments):
    assert cli(*arguments).exit_code == 2
    assert cli.options == []


def test_a_startup_failure_is_one_line_and_exit_code_3(cli):
    cli.error = StartupError("127.0.0.1:1 is taken")
    result = cli("run", "http://a")
    assert result.exit_code == 3
    assert result.stderr == "error: 127.0.0.1:1 is taken\n"


@pytest.mark.parametrize("command", ["run", "app"])
def test_a_recording_is_the_workers_business(cli, command):
    assert cli(command, "http://a", "--record", "t.jsonl").exit_code == 0
    (options,) = cli.options
    assert options.worker_arguments[-2:] == ("--record", "t.jsonl")


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("auto", 2)])
def test_workers_are_a_number_or_as_many_as_processors(cli, monkeypatch, text, count):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5})
    assert cli("run", "http://a", "--workers", text).exit_code == 0
    (options,) = cli.options
    assert options.overrides["server.workers"] == count


@pytest.mark.parametrize("command", ["run", "app"])
def test_a_state_file_is_a_setting(cli, command):
    assert cli(command, "http://a", "--state", "s.json").exit_code == 0
    (options,) = cli.options
    assert options.overrides["server.state_file"] == "s.json"
    shown = cli("run", "http://127.0.0.1:1", "--state", "s.json", "--print-config").stdout
    assert 'server.state_file = "s.json"  # flag --state\n' in shown


def test_a_recording_that_can_never_be_written_is_a_startup_failure(cli):
    result = cli("run", "http://a", "--record", "gone/t.jsonl")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: cannot record to gone/t.jsonl: there is no folder ")
    assert cli.options == []


def test_check_config_starts_nothing(cli, tmp_path):
    (tmp_path / "a.toml").write_text('[cell.default]\nupstream = "http://127.0.0.1:1"\n')
    result = cli("run", "--config", "a.toml", "--check-config")
    assert (result.exit_code, result.stdout) == (0, "configuration is good\n")
    (tmp_path / "a.toml").write_text("speed = 1\n")
    assert cli("run", "http://a", "--config", "a.toml", "--check-config").exit_code == 3
    assert cli("run", "--check-config", "--config", "none.toml").exit_code == 3
    assert cli.options == []


def test_check_config_of_run_wants_an_upstream_and_of_app_none(cli):
    assert cli("run", "--check-config").exit_code == 3
    assert cli("app", "a:b", "--check-config").exit_code == 0


def test_print_config_names_the_flag(cli):
    result = cli("run", "http://127.0.0.1:1", "--workers", "2", "--print-config")
    assert "server.workers = 2  # flag --workers\n" in result.stdout
    assert 'cell.default.upstream = ["http://127.0.0.1:1"]  # argument UPSTREAM\n' in result.stdout
