"""Problems go to standard error, coloured where that is wanted."""

from __future__ import annotations

import sys

import pytest

from shedproxy.cli.output import print_problems
from shedproxy.errors import Problem


@pytest.mark.parametrize("is_terminal", [True, False])
def test_terminals_are_coloured_and_files_are_not(monkeypatch, capsys, is_terminal):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    print_problems([Problem(message="no")])
    assert ("\x1b[" in capsys.readouterr().err) is is_terminal


def test_no_problem_is_no_output(capsys):
    print_problems([])
    assert capsys.readouterr() == ("", "")
