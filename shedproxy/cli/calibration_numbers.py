"""How the numbers of a calibration are written, with unit and interval."""

from __future__ import annotations

from shedproxy.calibration.results import Interval
from shedproxy.cli.charts.table import Cell
from shedproxy.core import NS_PER_MS, NS_PER_S

__all__ = [
    "NOTHING",
    "count_cell",
    "interval_cell",
    "ms_cell",
    "number_cell",
    "percent_cell",
    "show_interval",
    "show_length",
    "show_ms",
    "show_number",
]

NOTHING = "-"
"""Stands where a value is missing."""


def show_number(value: float | None) -> str:
    """Three or four significant digits, thousands apart."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size and size < 0.01:
        return f"{value:.2g}"
    decimals = 3 if size < 1 else 2 if size < 10 else 1 if size < 1000 else 0
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def show_ms(length_ns: float | None) -> str:
    """In ms."""
    return NOTHING if length_ns is None else show_number(length_ns / NS_PER_MS)


def show_length(length_ns: float | None) -> str:
    """In the unit that suits it."""
    if length_ns is None:
        return NOTHING
    if length_ns < NS_PER_S:
        return f"{show_ms(length_ns)} ms"
    length_s = length_ns / NS_PER_S
    if length_s < 120:
        return f"{show_number(length_s)} s"
    if length_s < 7_200:
        return f"{show_number(length_s / 60)} min"
    hours = length_s / 3600
    return f"{show_number(hours)} h" if hours < 48 else f"{show_number(hours / 24)} days"


def show_interval(interval: Interval | None, *, scale: float = 1.0) -> str:
    """`203 (199 to 207)`."""
    if interval is None:
        return NOTHING
    value, low, high = (
        show_number(each * scale) for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def number_cell(value: float | None) -> Cell:
    """A number."""
    return Cell(show_number(value), value)


def count_cell(value: int | None) -> Cell:
    """A whole number."""
    return Cell(NOTHING if value is None else f"{value:,}", value)


def ms_cell(length_ns: int | None) -> Cell:
    """A length, shown in ms."""
    return Cell(show_ms(length_ns), None if length_ns is None else length_ns / NS_PER_MS)


def percent_cell(ratio: float | None, tone: str = "") -> Cell:
    """A ratio, shown in percent."""
    text = NOTHING if ratio is None else f"{show_number(round(100 * ratio, 4))}%"
    return Cell(text, ratio, tone)


def interval_cell(interval: Interval | None, *, scale: float = 1.0) -> Cell:
    """An estimate with its interval."""
    value = None if interval is None else interval.value * scale
    return Cell(show_interval(interval, scale=scale), value)
