"""The command tree: complete, quick to open, honest about failure."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from shedproxy.cli import main
from shedproxy.errors import ConfigInvalidError, Problem, StartupError


def invoke(*arguments):
    return CliRunner().invoke(main.app, list(arguments))


def test_the_overview_names_every_command():
    result = invoke("--help")
    assert result.exit_code == 0
    for name, command in main.COMMANDS.items():
        assert re.search(rf"^  {name} ", result.output, re.MULTILINE), name
        assert f"{command.panel}:\n" in result.output


def test_the_overview_imports_no_command_and_nothing_slow():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from shedproxy.cli import main\n"
        "assert CliRunner().invoke(main.app, ['--help']).exit_code == 0\n"
        "print(' '.join(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"pydantic", "rich", "starlette", "uvloop", "tomlkit", "opentelemetry"}
    assert not {name for name in loaded if name.startswith("shedproxy.cli.") and "command" in name}


_SUBCOMMAND = {"control": "run", "export": "schema", "shards": "plan", "snapshot": "sign"}


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_its_summary_and_examples(name):
    command = main.COMMANDS[name]
    module = __import__(f"shedproxy.cli.{command.module}", fromlist=[command.attribute])
    target = getattr(module, command.attribute)
    arguments = [name]
    if isinstance(target, typer.Typer):
        arguments.append(_SUBCOMMAND[name])
    result = invoke(*arguments, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples:\n +shedproxy {name}\b", result.output), result.output
    if not isinstance(target, typer.Typer):
        assert inspect.getdoc(target).split("\n")[0] == command.summary


def test_no_command_shows_the_help():
    assert "Begin with: shedproxy demo" in invoke().output


def test_the_version_is_an_option_too():
    assert invoke("--version").output.startswith("shedproxy ")


def test_a_wrong_command_is_corrected():
    result = invoke("chek")
    assert result.exit_code == 2
    assert "Did you mean 'check'?" in result.output
    assert "No such command 'zzzz'." in invoke("zzzz").output


def ending_of(monkeypatch, capsys, error):
    def fail():
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.run()
    return caught.value.code, capsys.readouterr().err


def test_a_configuration_error_ends_with_3_and_its_problems(monkeypatch, capsys):
    error = ConfigInvalidError([Problem(message="no"), Problem(message="neither")])
    assert ending_of(monkeypatch, capsys, error) == (3, "error: no\n\nerror: neither\n\n2 errors\n")


def test_a_startup_error_ends_with_3(monkeypatch, capsys):
    assert ending_of(monkeypatch, capsys, StartupError("port taken")) == (3, "error: port taken\n")


def test_an_interrupt_ends_with_130(monkeypatch, capsys):
    assert ending_of(monkeypatch, capsys, KeyboardInterrupt()) == (130, "")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("run", "[UPSTREAM]..."),
        ("app", "MODULE:APP"),
        ("status", "[URL]"),
        ("mode", "{observe|enforce|off|configured} [URL]"),
    ],
)
def test_usage_marks_what_may_be_left_out_and_nothing_else(name, arguments):
    usage = " ".join(invoke(name, "--help").output.partition("\n\n")[0].split())
    assert usage.endswith(f" {name} [OPTIONS] {arguments}")
