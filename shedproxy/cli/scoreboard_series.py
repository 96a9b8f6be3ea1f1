"""One run of a scenario over time, as a panel of charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shedproxy.cli.charts.panel import Chart, Key, Line, Panel, Shape, Values

__all__ = ["series_panel"]

_OFFERED, _CAPACITY, _ORACLE = "offered", "capacity", "oracle"
_SHOWN_AT_FIRST = 6
_PERCENT = "%"

_CHARTS: tuple[tuple[str, str, tuple[tuple[str, str, Shape], ...]], ...] = (
    ("Goodput, load and capacity", "/s", (("goodput_rps", "", "line"),)),
    ("Refused", "/s", (("refused_rps", "", "line"),)),
    ("p99 latency", "ms", (("p99_ms", "", "line"),)),
    (
        "Limit, and in flight (thin)",
        "requests",
        (("limit", "limit", "step"), ("in_flight", "in flight", "thin")),
    ),
    ("Queue", "requests", (("queue_length", "", "line"),)),
    ("Refused share", _PERCENT, (("refused_share", "", "line"),)),
    ("Baseline latency", "ms", (("baseline_ms", "", "line"),)),
)
"""Title, unit, and for each line the column, what it is called beside others, and its shape."""


def series_panel(series: Mapping[str, Any], hues: Mapping[str, int]) -> Panel:
    """The charts of `series`, whose controllers have the hues given.

    Six controllers are shown at first, in the order of the hues; the legend has the others.
    """
    columns: Mapping[str, Mapping[str, Values]] = series["controllers"]
    names = sorted((name for name in columns if name != _ORACLE), key=hues.__getitem__)
    keys = [Key(name=_OFFERED), Key(name=_CAPACITY), Key(name=_ORACLE)]
    keys += [
        Key(name=name, hue=hues[name], is_shown=place < _SHOWN_AT_FIRST)
        for place, name in enumerate(names)
    ]
    title, unit, of_goodput = _CHARTS[0]
    goodput = [
        *_line(_OFFERED, "area", series.get("offered_rps")),
        *_line(_CAPACITY, "reference", series.get("capacity_rps")),
        *_line(_ORACLE, "line", columns.get(_ORACLE, {}).get("goodput_rps")),
        *_lines(columns, names, of_goodput, unit),
    ]
    charts = [Chart(title=title, unit=unit, lines=goodput)]
    charts += [
        Chart(title=title, unit=unit, lines=list(_lines(columns, names, parts, unit)))
        for title, unit, parts in _CHARTS[1:]
    ]
    return Panel(x_label="time", x_unit="s", x=series["t_s"], keys=keys, charts=charts)


def _lines(
    columns: Mapping[str, Mapping[str, Values]],
    names: Sequence[str],
    parts: Sequence[tuple[str, str, Shape]],
    unit: str,
) -> Iterator[Line]:
    # The best is drawn last, over the others.
    for name in reversed(names):
        for column, label, shape in parts:
            values = columns[name].get(column)
            if values is not None and unit == _PERCENT:
                values = [None if value is None else 100 * value for value in values]
            yield from _line(name, shape, values, label)


def _line(key: str, shape: Shape, values: Values | None, label: str = "") -> Iterator[Line]:
    if values is not None:
        yield Line(key=key, values=values, label=label, shape=shape)
