"""Cells carry what they show and what they sort by."""

from __future__ import annotations

from harness.pages import Page

from shedproxy.cli.charts.markup import element
from shedproxy.cli.scoreboard_cells import (
    controller_cell,
    find_text,
    metric_cell,
    metric_heading,
    row_of,
    scenario_link,
    scrolling,
    title_of,
)
from shedproxy.cli.scoreboard_metrics import METRICS, SCORE

GOODPUT, REGRET = METRICS[0], METRICS[1]


def test_a_cell_sorts_by_the_rounded_value_and_shows_it_as_written():
    assert metric_cell(SCORE, 0.97345678) == '<td data-value="0.9735">0.973</td>'


def test_a_missing_value_sorts_as_nothing():
    assert metric_cell(SCORE, None) == '<td data-value="">-</td>'


def test_the_worst_stands_below_where_it_reads_differently():
    assert Page(metric_cell(GOODPUT, 0.99, worst=0.98)).text == "99.0%98.0%"
    assert Page(metric_cell(GOODPUT, 0.99, worst=0.99001)).text == "99.0%"


def test_a_heading_sorts_by_the_better_end_first():
    assert 'data-first="descending"' in metric_heading(GOODPUT)
    assert 'data-first="ascending"' in metric_heading(REGRET)


def test_ours_stands_out_and_a_yardstick_says_that_it_is_one():
    cell = controller_cell("fixed", is_yardstick=True)
    assert Page(cell).text == "fixed yardstick"
    assert 'class="ours"' in row_of("shedproxy", cell)
    assert "class=" not in row_of("vegas", element("td", "x"))


def test_who_was_told_the_capacity_is_marked():
    assert Page(controller_cell("apf", is_yardstick=False, knows_capacity=True)).text == (
        "apf told the capacity"
    )


def test_a_name_with_odd_characters_is_still_linked():
    assert scenario_link("a b/#?", "text") == '<a href="#scenario-a%20b/%23%3F">text</a>'


def test_the_filter_finds_by_name_title_and_group():
    scenario = {"name": "over-4x5", "title": "Four Slots", "group": "Overload"}
    assert find_text(scenario) == "over-4x5 four slots overload"
    assert find_text({"name": "x", "title": None}) == "x"


def test_a_scenario_without_a_title_goes_by_its_name():
    assert title_of({"name": "x", "title": None}) == "x"
    assert title_of({"name": "x", "title": "T"}) == "T"


def test_a_wide_table_scrolls_by_keyboard():
    assert scrolling(element("table")) == '<div class="scroll" tabindex="0"><table></table></div>'
