from __future__ import annotations

import json
import os

import pytest

from shedproxy.errors import Problem
from shedproxy.supervisor.journal import Journal


class Pipe:
    def __init__(self, settings, *, is_terminal: bool = False) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.journal = Journal(
            settings, fd=self.write_fd, is_terminal=is_terminal, wall=lambda: 1700000000.5
        )

    def lines(self) -> list[str]:
        self.journal.close()
        os.close(self.write_fd)
        with os.fdopen(self.read_fd) as stream:
            return stream.read().splitlines()


def settings(**values):
    from shedproxy.settings import LogSettings

    return LogSettings(**values)


def test_events_are_json_lines_away_from_a_terminal():
    pipe = Pipe(settings())
    pipe.journal.report("reloaded", {"revision": 2})
    (line,) = pipe.lines()
    assert json.loads(line) == {
        "kind": "event",
        "time": "2023-11-14T22:13:20.500Z",
        "level": "info",
        "event": "reloaded",
        "revision": 2,
    }


def test_events_are_text_on_a_terminal():
    pipe = Pipe(settings(), is_terminal=True)
    pipe.journal.report("worker died", {"how": "a\nb"})
    assert pipe.lines() == [r'2023-11-14T22:13:20.500Z warning worker died how="a\nb"']


def test_lower_levels_are_left_out():
    pipe = Pipe(settings(level="error"))
    pipe.journal.report("reloaded", {})
    pipe.journal.report("worker crash loop", {})
    assert [json.loads(line)["event"] for line in pipe.lines()] == ["worker crash loop"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_problems_are_shown_with_their_place(is_terminal):
    pipe = Pipe(settings(), is_terminal=is_terminal)
    pipe.journal.show_problems([Problem(message="unknown key", source="a.toml", line=3, column=1)])
    text = "\n".join(pipe.lines())
    assert "unknown key" in text
    assert "a.toml" in text


def test_a_worker_cannot_forge_a_line():
    pipe = Pipe(settings())
    pipe.journal.pass_on(['{"kind":"access"}', "one\ntwo"])
    assert pipe.lines() == ['{"kind":"access"}', r"one\ntwo"]


@pytest.mark.parametrize("severity", ["error", "warning", "hint"])
def test_a_problem_is_as_loud_as_it_is_severe(severity):
    pipe = Pipe(settings(level="warning"))
    pipe.journal.show_problems([Problem(message="no", severity=severity, help="yes")])
    lines = [json.loads(line) for line in pipe.lines()]
    told = [(line["level"], line["help"]) for line in lines]
    assert told == ([] if severity == "hint" else [(severity, "yes")])
