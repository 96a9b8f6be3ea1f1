"""Problems go to standard error, coloured where that is wanted."""

from __future__ import annotations

import io

import pytest

from shedproxy.cli.output import has_color, print_problems
from shedproxy.errors import Problem


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_terminals_are_coloured_and_files_are_not():
    assert has_color(Terminal())
    assert not has_color(io.StringIO())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_declined(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not has_color(Terminal())


def test_colour_can_be_forced(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_problems([Problem(message="no")])
    assert "\x1b[" in capsys.readouterr().err


def test_no_problem_is_no_output(capsys):
    print_problems([])
    assert capsys.readouterr() == ("", "")
