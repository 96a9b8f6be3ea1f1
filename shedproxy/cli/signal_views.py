"""What the verification says of the proxy itself: signals by run, and whether ranks were kept."""

from __future__ import annotations

from itertools import pairwise

from shedproxy.calibration.results import Calibration, ProxySignals, VerificationRun
from shedproxy.cli.calibration_numbers import (
    NOTHING,
    count_cell,
    ms_cell,
    number_cell,
    percent_cell,
)
from shedproxy.cli.charts.markup import Html
from shedproxy.cli.charts.panel import Chart, Key, Line, Panel, panel_markup
from shedproxy.cli.charts.table import Cell, Table
from shedproxy.core import Criticality

__all__ = ["class_order", "run_name", "signals_chart", "signals_table"]

_BYTES_PER_MB = 1_000_000
_BUSY_RATIO = 0.8
_RANKS = [criticality.label for criticality in sorted(Criticality, reverse=True)]
_CHANCE = 0.01
"""Shares of two classes that differ by less are alike."""


def run_name(run: VerificationRun) -> str:
    """Load and whether it was shed: `3 x, on`."""
    state = "on" if run.is_shedding else "off"
    return f"{run.load_ratio:g} x, {state}" + (", void" if run.is_void else "")


def _signals(calibration: Calibration) -> list[tuple[VerificationRun, ProxySignals]]:
    return [(run, run.signals) for run in calibration.verification if run.signals is not None]


def signals_table(calibration: Calibration) -> Table | None:
    """A row for each run through the proxy."""
    found = _signals(calibration)
    rows = []
    for run, signals in found:
        limits = [limit for _, limit, _, _ in signals.points]
        shown = f"{min(limits):.0f} to {max(limits):.0f}" if run.is_shedding else NOTHING
        waiting = max(count for *_, count in signals.points)
        rows.append(
            [
                Cell(run_name(run)),
                percent_cell(signals.cpu_ratio),
                ms_cell(signals.loop_lag_max_ns),
                Cell(shown),
                count_cell(round(waiting)),
                ms_cell(signals.queue_wait_mean_ns),
                ms_cell(signals.queue_wait_p99_ns),
                number_cell(signals.memory_bytes / _BYTES_PER_MB),
            ]
        )
    if not rows:
        return None
    return Table(
        title="The proxy itself",
        columns=[
            "Run", "CPU of a core", "Loop lag max, ms", "Limit", "Waiting, most",
            "Wait for a slot, mean ms", "p99 up to, ms", "Memory, MB",
        ],
        rows=rows,
        note=_who_was_short([signals.cpu_ratio for _, signals in found]),
    )  # fmt: skip


def _who_was_short(ratios: list[float | None]) -> str:
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return ""
    most = f"The proxy used {max(known):.0%} of a core at most"
    if max(known) < _BUSY_RATIO:
        return f"{most}: the service was what was short."
    return f"{most}: it may itself have been what was short; give it more workers, or a core."


def signals_chart(calibration: Calibration) -> Html:
    """Limit, and how many waited, over each run with shedding."""
    runs = [
        (f"{run.load_ratio:g} x", signals)
        for run, signals in _signals(calibration)
        if run.is_shedding
    ]
    x = sorted({at for _, signals in runs for at, *_ in signals.points})
    if len(x) < 2:
        return Html("")

    def lines(place: int) -> list[Line]:
        return [
            Line(key=name, values=_held([(row[0], row[place]) for row in signals.points], x))
            for name, signals in runs
        ]

    return panel_markup(
        Panel(
            x_label="time",
            x_unit="s",
            x=x,
            keys=[Key(name=name, hue=hue) for hue, (name, _) in enumerate(runs)],
            charts=[
                Chart(title="Limit", unit="in flight", lines=lines(1), has_log_axis=False),
                Chart(title="Waiting for a slot", unit="requests", lines=lines(3),
                      has_log_axis=False),
            ],
        )
    )  # fmt: skip


def _held(points: list[tuple[float, float]], x: list[float]) -> list[float | None]:
    """At each instant what was seen last; None before the first and after the last."""
    values: list[float | None] = []
    place = -1
    for at in x:
        while place + 1 < len(points) and points[place + 1][0] <= at:
            place += 1
        values.append(points[place][1] if place >= 0 and at <= points[-1][0] else None)
    return values


def class_order(calibration: Calibration) -> str:
    """Whether a class was served less of what it asked for than one below it."""
    runs = [run for run in calibration.verification if run.is_shedding and not run.is_void]
    turned, compared = [], 0
    for run in runs:
        shares = {
            each.name: each.served_count / each.offered_count
            for each in run.classes
            if each.offered_count
        }
        ranked = [name for name in _RANKS if name in shares]
        for higher, lower in pairwise(ranked):
            compared += 1
            if shares[higher] < shares[lower] - _CHANCE:
                turned.append(f"at {run.load_ratio:g} x {higher} was served less than {lower}")
    if not compared:
        return ""
    if turned:
        return f"Ranks were turned round: {'; '.join(turned)}."
    return "With shedding no class was served a smaller share than one below it."
