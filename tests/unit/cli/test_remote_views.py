"""Views on a terminal and elsewhere; test_remote_commands.py reads what they say."""

from __future__ import annotations

import sys

import pytest

from shedproxy.cli.remote_views import print_explanation, print_mode, print_profiles, print_reload

OFFLINE = {
    "rule": None,
    "cell": "default",
    "criticality": "critical",
    "is_retry": False,
    "lane": "data",
    "kind": "auto",
    "cost": 1,
    "mode": "enforce",
    "time_left_ms": None,
    "flips": [],
}


def test_a_profile_is_shown_with_its_age(capsys):
    profile = {
        "id": "2026-11-01T1200Z-ab12", "age_days": 31, "is_expired": True, "weight": 2,
        "slowdown": None, "alarm": None,
    }  # fmt: skip
    print_profiles([{"name": "default", "profile": profile}, {"name": "b", "profile": None}])
    out = capsys.readouterr().out
    assert "31 days, expired" in out
    assert "ab12" in out
    print_profiles([{"name": "c", "profile": {**profile, "age_days": None, "is_expired": False}}])
    assert "days" not in capsys.readouterr().out
    print_profiles([{"name": "b", "profile": None}])
    assert capsys.readouterr().out == ""


def test_without_a_running_instance_there_is_no_now(capsys):
    print_explanation(OFFLINE)
    out = capsys.readouterr().out
    assert "rule: none (defaults)" in out
    assert "now:" not in out


def test_a_terminal_gets_a_table_with_the_same_words(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_explanation({**OFFLINE, "cell": "[red]"})
    out = capsys.readouterr().out
    assert "none (defaults)" in out
    assert "[red]" in out, "values are not markup"


@pytest.mark.parametrize(
    ("override", "line"), [(None, "off\n"), ({"expires_in_s": 5400}, "off for 90m\n")]
)
def test_a_mode_is_shown_with_its_end(capsys, override, line):
    print_mode({"mode": "off", "override": override})
    assert capsys.readouterr().out == line


def test_a_refused_reload_says_what_stays(capsys):
    problem = {"message": "unknown key", "source": "a.toml", "line": 0}
    print_reload({"ok": False, "revision": 2, "problems": [problem]})
    assert capsys.readouterr().out == "refused; revision 2 stays in force\n  unknown key\n"
