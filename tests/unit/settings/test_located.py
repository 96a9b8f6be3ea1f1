"""A problem is shown where its value stands, and not at all beside one that was refused before."""

from __future__ import annotations

from shedproxy.settings.located import Check


def test_what_was_refused_before_is_not_spoken_of():
    check = Check([], [("cell", "a")])
    assert not list(check.error(("cell", "a", "limit"), "no"))
    assert not list(check.error(("server",), "no", related=("cell", "a")))
    (problem,) = check.error(("cell", "b"), "no")
    assert problem.message == "no"


def test_what_is_written_nowhere_has_no_line():
    assert not Check([], []).where(("server",))
