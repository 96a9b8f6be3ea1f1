"""A run over time becomes charts: what was offered, what each made of it, and how."""

from __future__ import annotations

import pytest

from shedproxy.cli.scoreboard_series import series_panel


@pytest.fixture
def series() -> dict:
    return {
        "seed": 1,
        "t_s": [0.0, 1.0],
        "offered_rps": [100.0, 300.0],
        "capacity_rps": [100.0, 100.0],
        "controllers": {
            "vegas": {"goodput_rps": [90.0, 80.0], "refused_share": [0.25, None]},
            "oracle": {"goodput_rps": [100.0, 100.0]},
            "shedproxy": {"goodput_rps": [99.0, 98.0], "limit": [4.0, None], "in_flight": [3, 4]},
        },
    }


HUES = {"shedproxy": 0, "vegas": 1}


def lines_of(panel, title: str) -> list[tuple[str, str, str]]:
    (chart,) = [chart for chart in panel.charts if chart.title.startswith(title)]
    return [(line.key, line.label, line.shape) for line in chart.lines]


def test_goodput_is_held_against_load_capacity_and_the_oracle(series):
    """Ours is drawn last, over the others."""
    assert lines_of(series_panel(series, HUES), "Goodput") == [
        ("offered", "", "area"),
        ("capacity", "", "reference"),
        ("oracle", "", "line"),
        ("vegas", "", "line"),
        ("shedproxy", "", "line"),
    ]


def test_limit_and_in_flight_share_a_chart_and_are_told_apart(series):
    assert lines_of(series_panel(series, HUES), "Limit") == [
        ("shedproxy", "limit", "step"),
        ("shedproxy", "in flight", "thin"),
    ]


def test_a_share_is_shown_in_percent_with_its_gaps(series):
    (chart,) = [c for c in series_panel(series, HUES).charts if c.title == "Refused share"]
    assert chart.unit == "%"
    assert list(chart.lines[0].values) == [25.0, None]


def test_what_nobody_recorded_has_no_line(series):
    panel = series_panel(series, HUES)
    assert lines_of(panel, "Queue") == []
    assert lines_of(panel, "Baseline") == []


def test_references_are_grey_and_controllers_have_their_hue(series):
    hues = {key.name: key.hue for key in series_panel(series, HUES).keys}
    assert hues == {"offered": None, "capacity": None, "oracle": None, **HUES}
    assert list(hues)[3:] == ["shedproxy", "vegas"]


def test_six_controllers_are_shown_at_first():
    names = ["shedproxy", *"abcdefg"]
    columns = {name: {"goodput_rps": [1.0]} for name in reversed(names)}
    panel = series_panel(
        {"seed": 1, "t_s": [0.0], "controllers": columns},
        {name: hue for hue, name in enumerate(names)},
    )
    shown = [key.name for key in panel.keys if key.is_shown and key.hue is not None]
    assert shown == ["shedproxy", *"abcde"]
    assert sum(not key.is_shown for key in panel.keys) == 2
