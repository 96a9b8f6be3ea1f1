"""Every other figure of a scenario on its page: what single experiments bound, levels, waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shedproxy.cli.charts.markup import Html, element
from shedproxy.cli.charts.table import Cell, Table, table_markup
from shedproxy.cli.scoreboard_metrics import NOTHING
from shedproxy.cli.scoreboard_verdict import by_score
from shedproxy.simulator.figure_names import describe

__all__ = ["figures_table"]

_WHOLE = 1000
"""From here on decimals say nothing."""


def figures_table(scenario: Mapping[str, Any]) -> Html | None:
    """A line for each figure and a column for each controller, to be opened; None without any.

    Names are those that an expectation uses, so that whoever writes one finds them here.
    """
    results = by_score(scenario["results"])
    names = sorted({name for result in results for name in result.get("figures") or {}})
    if not names:
        return None
    rows = [
        (Cell(name), Cell(describe(name)), *(_cell(result, name) for result in results))
        for name in names
    ]
    table = Table(
        title=f"More figures of {scenario['name']}",
        columns=("Figure", "What it is", *(result["controller"] for result in results)),
        rows=rows,
    )
    return element(
        "details",
        element("summary", "More figures, medians over the seeds"),
        table_markup(table, name=f"figures-{scenario['name']}"),
    )


def _cell(result: Mapping[str, Any], name: str) -> Cell:
    figure = (result.get("figures") or {}).get(name)
    if figure is None:
        return Cell(NOTHING)
    value = figure["median"]
    return Cell(f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.4g}", value)
