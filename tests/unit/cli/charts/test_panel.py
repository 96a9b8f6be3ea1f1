"""A panel carries its numbers, rounded, and nothing that would not be drawn."""

from __future__ import annotations

import json
import math

import pytest
from harness.pages import Page

from shedproxy.cli.charts.panel import Chart, Key, Line, Panel, panel_markup, rounded


def panel(*charts: Chart, keys: tuple[str, ...] = ("a", "b"), x=(0.0, 1.0)) -> Panel:
    return Panel(
        x_label="time",
        x_unit="s",
        x=x,
        keys=[Key(name=name, hue=hue) for hue, name in enumerate(keys)],
        charts=charts,
    )


def chart(*lines: Line) -> Chart:
    return Chart(title="Queue", unit="requests", lines=lines)


def data_of(shown: Panel) -> dict:
    return json.loads(Page(panel_markup(shown)).data[0])


def test_what_the_script_needs_is_all_there():
    line = Line(key="a", values=[1.0, 2.0], label="limit", shape="step")
    assert data_of(panel(chart(line))) == {
        "x": {"label": "time", "unit": "s", "values": [0, 1]},
        "keys": [{"name": "a", "hue": 0, "shown": True}],
        "charts": [
            {
                "title": "Queue",
                "unit": "requests",
                "log": False,
                "lines": [{"key": "a", "label": "limit", "shape": "step", "values": [1, 2]}],
            }
        ],
    }


def test_lines_charts_and_keys_without_a_value_are_left_out():
    empty = Line(key="b", values=[None, None])
    shown = data_of(panel(chart(Line(key="a", values=[None, 1.0]), empty), chart(empty)))
    assert [key["name"] for key in shown["keys"]] == ["a"]
    assert [len(drawn["lines"]) for drawn in shown["charts"]] == [1]


def test_a_panel_without_a_chart_is_nothing():
    assert not panel_markup(panel(chart()))


def test_points_in_time_stay_apart():
    """Measured values have four digits; ten minutes in steps of 50 ms need more."""
    times = [599.90, 599.95]
    shown = data_of(panel(chart(Line(key="a", values=[1.23456, 2.0])), x=times))
    assert shown["x"]["values"] == times
    assert shown["charts"][0]["lines"][0]["values"] == [1.235, 2]


@pytest.mark.parametrize(
    ("peaks", "is_log"),
    [((1.0, 9.0), False), ((1.0, 11.0), True), ((0.0, 11.0), False), ((), False)],
)
def test_lines_far_apart_get_a_logarithmic_axis(peaks, is_log):
    lines = [Line(key="a", values=[0.0, peak, None]) for peak in peaks]
    assert chart(*lines).is_log is is_log


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.98765432, 0.9877),
        (123456.7, 123500),
        (800.0, 800),
        (0.0, 0),
        (-0.00012345, -0.0001234),
        (None, None),
        (math.nan, None),
        (math.inf, None),
    ],
)
def test_numbers_are_rounded_to_four_digits(value, expected):
    assert rounded(value) == expected


def test_whole_numbers_are_written_as_such():
    assert json.dumps(rounded(800.0)) == "800"


def test_an_axis_may_be_chosen():
    lines = [Line(key="a", values=[0.1, 100.0])]
    assert not Chart(title="t", unit="", lines=lines, has_log_axis=False).is_log
    assert Chart(title="t", unit="", lines=lines, has_log_axis=True).is_log
