"""Problems look as they should, on a terminal and off it."""

from __future__ import annotations

import re

import pytest

from shedproxy.errors import Problem
from shedproxy.settings import has_color, render_problems

EXPECTED = """\
error: cell "checkout": limit.max must be at least limit.min
  --> {file}:10:7
   |
 9 | min = 96
10 | max = 64        # calibrated
   |       ^^ 64 is below min = 96 (line 9)
   = help: lower min or raise max

error: unknown key "max_lenght" in [cell.checkout.queue]
  --> {file}:13:1
   |
13 | max_lenght = 32
   | ^^^^^^^^^^ did you mean "length_max"?

warning: SHEDPROXY_SERVRE__X is not a setting
 --> environment
  |
  | SHEDPROXY_SERVRE__X
  | ^^^^^^^^^^^^^^^^^^^ did you mean SHEDPROXY_SERVER__X?

2 errors, 1 warning
"""

TEXT = """\
[server]
workers = 1





[cell.checkout.limit]
min = 96
max = 64        # calibrated

[cell.checkout.queue]
max_lenght = 32
[[rule]]
cell = "checkout"
"""


def test_the_whole_picture(written):
    problems = written.problems(TEXT, environ={"SHEDPROXY_SERVRE__X": "1"})
    assert render_problems(problems) == EXPECTED.format(file=written.file)


def test_colour_changes_nothing_but_colour(written):
    problems = written.problems(TEXT)
    plain, colored = render_problems(problems), render_problems(problems, color=True)
    assert "\x1b[1;31merror" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain
    assert "\x1b" not in plain


def test_nothing_wrong_is_nothing_said():
    assert render_problems([]) == ""


def test_a_problem_without_a_place_has_no_arrow():
    shown = render_problems([Problem(message="no", note="so", help="do")])
    assert shown == "error: no\n  = note: so\n  = help: do\n\n1 error\n"


def problem(line, column, length=1, **kwargs):
    return Problem(
        message="m",
        source="f",
        line=1,
        column=column,
        length=length,
        excerpt=((1, line),),
        **kwargs,
    )


def lines_of(line, column, length=1):
    shown = render_problems([problem(line, column, length)]).split("\n")
    return shown[3][4:], shown[4][4:]


def test_the_caret_stands_under_what_is_shown():
    assert lines_of("ab = cd", 6, 2) == ("ab = cd", "     ^^")
    assert lines_of("\tab = 1", 2, 2) == ("    ab = 1", "    ^^")
    assert lines_of("\u6f22 = 1", 5) == ("\u6f22 = 1", "     ^")
    assert lines_of("a = '\u6f22'", 5, 3) == ("a = '\u6f22'", "    ^^^^")
    assert lines_of("a =", 4) == ("a =", "   ^")


def test_a_long_line_is_cut_around_the_caret():
    line, caret = lines_of("x" * 500 + "HERE" + "y" * 500, 501, 4)
    assert len(line) <= 160
    assert line[caret.index("^") :].startswith("HERE")
    assert caret.strip() == "^^^^"


def test_a_file_cannot_write_on_the_terminal():
    shown = render_problems([problem("a = '\x1b[31m\x07'", 5, 3, note="\x1b[2J", help="\r")])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", shown)


def test_errors_come_before_warnings_and_hints():
    severities = ["hint", "warning", "error", "error"]
    shown = render_problems([Problem(message="m", severity=s) for s in severities])
    assert re.findall(r"^(\w+): m$", shown, re.MULTILINE) == ["error", "error", "warning", "hint"]
    assert shown.endswith("2 errors, 1 warning, 1 hint\n")


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("plain_environment")
def test_terminals_are_coloured_and_files_are_not():
    assert has_color(is_terminal=True)
    assert not has_color(is_terminal=False)


@pytest.mark.usefixtures("plain_environment")
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_declined(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not has_color(is_terminal=True)


@pytest.mark.usefixtures("plain_environment")
def test_colour_can_be_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert has_color(is_terminal=False)
