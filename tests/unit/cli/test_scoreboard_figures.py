"""The page of one scenario has every figure, by the name that an expectation would use."""

from __future__ import annotations

from typing import Any

from harness.pages import Page

from shedproxy.cli.charts.page import render_page
from shedproxy.cli.scoreboard_figures import figures_table


def figure(median: float) -> dict[str, Any]:
    return {"median": median, "worst": median, "low": None, "high": None}


def test_a_line_for_each_figure_and_a_column_for_each_controller() -> None:
    results = [
        {"controller": "a", "score": 0.1, "figures": {"limit_max": figure(1234.5)}},
        {"controller": "b", "score": 0.9, "figures": {"wasted_ratio": figure(0.012345)}},
        {"controller": "c", "score": None},
    ]
    table = figures_table({"name": "s", "results": results})
    assert table is not None
    words = Page(render_page(title="t", header=table, body=table, footer="f")).text
    assert words.index("limit_max") < words.index("wasted_ratio")
    assert "1,234" in words
    assert "highest limit" in words
    assert "0.01235" in words
    assert '<th scope="col">b</th><th scope="col">a</th>' in table, "the best first"


def test_without_figures_there_is_no_table() -> None:
    assert figures_table({"name": "s", "results": [{"controller": "a"}]}) is None
