"""Cells, headings and links that the tables of the scoreboard page share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from shedproxy.cli.charts.markup import Html, element
from shedproxy.cli.charts.panel import rounded
from shedproxy.cli.scoreboard_metrics import Metric
from shedproxy.cli.scoreboard_verdict import OURS

__all__ = [
    "controller_cell",
    "find_text",
    "metric_cell",
    "metric_heading",
    "row_of",
    "scenario_link",
    "scrolling",
    "title_of",
]


def title_of(scenario: Mapping[str, Any]) -> str:
    """What a scenario is called before people."""
    return str(scenario.get("title") or scenario["name"])


def find_text(scenario: Mapping[str, Any]) -> str:
    """What the filter looks in."""
    words = (scenario["name"], scenario.get("title"), scenario.get("group"))
    return " ".join(word for word in words if word).lower()


def scenario_link(name: str, text: str) -> Html:
    """A link that opens the section of a scenario."""
    return element("a", text, href=f"#scenario-{quote(name)}")


def metric_heading(metric: Metric) -> Html:
    """The head of a metric's column, which is sorted by the better end first."""
    first = "descending" if metric.better == "high" else "ascending"
    return element("th", metric.heading, scope="col", data_first=first)


def metric_cell(
    metric: Metric,
    value: float | None,
    *,
    below: str | None = None,
    worst: float | None = None,
    classes: str | None = None,
) -> Html:
    """A value as it is written, with what sorting needs.

    `below` is a second, smaller line; the worst value goes there when it reads differently.
    """
    shown = metric.show(value)
    if worst is not None and metric.show(worst) != shown:
        below = metric.show(worst)
    return element(
        "td",
        shown,
        element("small", below) if below else None,
        class_=classes,
        data_value="" if value is None else rounded(value),
    )


def controller_cell(
    name: str, *, is_yardstick: bool, knows_capacity: bool = False, place: Html | None = None
) -> Html:
    """The head of a controller's row, with what sets it apart from others."""
    word = "yardstick" if is_yardstick else "told the capacity" if knows_capacity else None
    badge = element("span", word, class_="badge") if word else None
    return element("th", place, name, badge and " ", badge, scope="row", class_="first")


def row_of(name: str, *cells: Html) -> Html:
    """A controller's row; ours stands out."""
    return element("tr", *cells, class_="ours" if name == OURS else None)


def scrolling(table: Html) -> Html:
    """A table that scrolls sideways where the window is narrow, by keyboard too."""
    return element("div", table, class_="scroll", tabindex=0)
