"""A list shows what could be run, by group, and says of each what it says of itself."""

from __future__ import annotations

import json

from shedproxy.cli.scenario_list import list_as_json, list_as_text
from shedproxy.workload.scenario import Expectation, Scenario

SCENARIOS = (
    Scenario(name="longer-name", title="Third", group="Steps"),
    Scenario(name="b", title="Second", group="Drift", source="Here", live=True),
    Scenario(
        name="a", title="First", group="Drift", expect=(Expectation(metric="regret", at_most=0.1),)
    ),
)


def test_names_stand_under_their_group_with_their_titles() -> None:
    assert list_as_text(SCENARIOS, ("shedproxy", "vegas")).splitlines() == [
        "Drift",
        "  a            First",
        "  b            Second",
        "",
        "Steps",
        "  longer-name  Third",
        "",
        "3 scenarios; a pattern such as 'meta-*' names a family.",
        "Controllers: all, shedproxy, vegas",
    ]


def test_json_has_what_is_expected() -> None:
    first, second, third = json.loads(list_as_json(SCENARIOS))
    assert (first["name"], second["name"], third["name"]) == ("a", "b", "longer-name")
    assert first["expect"] == [
        {"metric": "regret", "at_least": None, "at_most": 0.1, "by": ["shedproxy"]}
    ]
    assert (second["source"], second["live"]) == ("Here", True)
