"""A panel: charts over one axis with one legend, cursor and zoom. `report.js` draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shedproxy.cli.charts.markup import Html, element
from shedproxy.cli.charts.page import embedded_json

__all__ = ["Chart", "Key", "Line", "Panel", "Shape", "Values", "panel_markup", "rounded"]

Shape = Literal["line", "step", "thin", "area", "reference", "points", "edge"]
"""`thin` is a second line of a key; `area` and `reference` are what others are held against;
`points` are not joined; two `edge`s of a key, one after the other, enclose a band."""

Values = Sequence[float | None]

_LOG_FROM = 10.0
"""Lines whose peaks differ by more than this many times are unreadable on one linear axis."""
_DIGITS = 4
_X_DIGITS = 7
"""Ten minutes in steps of 50 ms need more digits than a measured value does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of the legend; it shows and hides all lines that name it."""

    name: str
    hue: int | None = None
    """0 is the accent, 1 and up are the others; None is the grey of references."""
    is_shown: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart. A value that is None leaves a gap."""

    key: str
    values: Values
    label: str = ""
    """What of the key this line is, where a chart has several lines of one key."""
    shape: Shape = "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over the x axis of their panel; y begins at 0."""

    title: str
    unit: str
    lines: Sequence[Line]
    has_log_axis: bool | None = None
    """None: as the values want it."""

    @property
    def is_log(self) -> bool:
        """Whether the peaks of its lines are too far apart for a linear axis."""
        if self.has_log_axis is not None:
            return self.has_log_axis
        peaks = [max((v for v in line.values if v is not None), default=0.0) for line in self.lines]
        peaks = [peak for peak in peaks if peak > 0]
        return bool(peaks) and max(peaks) > _LOG_FROM * min(peaks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Charts over one axis."""

    x_label: str
    x_unit: str
    x: Sequence[float]
    """Strictly ascending."""
    keys: Sequence[Key]
    charts: Sequence[Chart]


def panel_markup(panel: Panel) -> Html:
    """Where the panel will be drawn, with its data. Charts without a single value are left out.

    Inside a `details` element it is drawn when that is opened, else with the page.
    """
    charts = [data for chart in panel.charts if (data := _chart_data(chart))["lines"]]
    if not charts:
        return Html("")
    used = {line["key"] for chart in charts for line in chart["lines"]}
    data = {
        "x": {
            "label": panel.x_label,
            "unit": panel.x_unit,
            "values": [rounded(value, _X_DIGITS) for value in panel.x],
        },
        "keys": [
            {"name": key.name, "hue": key.hue, "shown": key.is_shown}
            for key in panel.keys
            if key.name in used
        ],
        "charts": charts,
    }
    note = element("noscript", "Charts are drawn by a script; the tables do without.")
    return element("div", embedded_json(data), note, class_="panel")


def _chart_data(chart: Chart) -> dict[str, Any]:
    lines = [
        {
            "key": line.key,
            "label": line.label,
            "shape": line.shape,
            "values": [rounded(value) for value in line.values],
        }
        for line in chart.lines
        if any(value is not None for value in line.values)
    ]
    return {"title": chart.title, "unit": chart.unit, "log": chart.is_log, "lines": lines}


def rounded(value: float | None, digits: int = _DIGITS) -> float | int | None:
    """`value` to so many significant digits, an int where it is whole; None if it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    result = float(f"{value:.{digits}g}")
    return int(result) if result.is_integer() else result
