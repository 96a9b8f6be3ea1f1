"""What `shedproxy simulate --list` shows: scenarios by group, and who can be compared on them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from shedproxy.workload.scenario import Scenario

__all__ = ["list_as_json", "list_as_text"]

_WIDTH = 100


def list_as_text(scenarios: Sequence[Scenario], controllers: Sequence[str]) -> str:
    """A line each under its group, in the order of names; then the controllers."""
    width = max(len(scenario.name) for scenario in scenarios)
    lines = []
    for group, members in groupby(_by_group(scenarios), key=lambda scenario: scenario.group):
        lines += [group, *(f"  {one.name:{width}}  {one.title}".rstrip() for one in members), ""]
    names = ", ".join(("all", *controllers))
    lines += [
        f"{len(scenarios)} scenarios; a pattern such as 'meta-*' names a family.",
        textwrap.fill(f"Controllers: {names}", _WIDTH, break_on_hyphens=False),
    ]
    return "\n".join(lines)


def list_as_json(scenarios: Sequence[Scenario]) -> str:
    """One JSON list: what a scenario says of itself, and what is expected of it."""
    content = [
        {
            "name": scenario.name,
            "title": scenario.title,
            "group": scenario.group,
            "source": scenario.source,
            "explanation": scenario.explanation,
            "duration_s": scenario.duration_s,
            "live": scenario.live,
            "expect": [asdict(expectation) for expectation in scenario.expect],
        }
        for scenario in _by_group(scenarios)
    ]
    return json.dumps(content, indent=2)


def _by_group(scenarios: Sequence[Scenario]) -> list[Scenario]:
    return sorted(scenarios, key=lambda scenario: (scenario.group, scenario.name))
