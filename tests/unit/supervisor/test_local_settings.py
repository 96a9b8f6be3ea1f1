"""What a host may change for itself where snapshots rule, and that what it may not is named."""

from __future__ import annotations

import pytest

from shedproxy.settings import load_settings
from shedproxy.supervisor.local_settings import not_taken

BASE = {"cell.default.upstream": ["http://a:1"], "cell.default.limit": 7}


def names(**changes: object) -> list[str]:
    before = load_settings(overrides=BASE)
    after = load_settings(overrides={**BASE, **changes})
    return [".".join(problem.path) for problem in not_taken(before, after)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log.level", "debug"),
        ("control.livez_bound", "3s"),
        ("telemetry.endpoint", "http://collector:4318"),
        ("cell.default.upstream", ["http://b:1", "http://c:1"]),
        ("server.workers", 3),
    ],
)
def test_what_is_the_hosts_own_is_taken(name, value):
    assert names(**{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "observe"),
        ("log.access", "off"),
        ("control.budget", 9),
        ("server.timeouts.response", "3s"),
        ("server.zone", "a"),
    ],
)
def test_what_is_policy_is_not_and_is_named_alone(name, value):
    assert names(**{name: value, "log.level": "debug"}) == [name]


def test_a_cell_more_is_policy_with_all_that_is_said_of_it():
    assert "cell.b.limit.max" in names(**{"cell.b.limit": 3})


def test_a_secret_shows_no_difference_and_is_refused_all_the_same():
    before = load_settings(overrides={**BASE, "headers.salt": "one"})
    after = load_settings(overrides={**BASE, "headers.salt": "two"})
    (problem,) = not_taken(before, after)
    assert problem.path == ("snapshot", "source")
