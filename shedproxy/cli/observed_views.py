"""What a live proxy saw, in a calibration's report: points, and levels of load with their means."""

from __future__ import annotations

import math

from shedproxy.calibration.results import Calibration
from shedproxy.cli.calibration_numbers import count_cell, number_cell
from shedproxy.cli.charts.markup import Html
from shedproxy.cli.charts.panel import Chart, Key, Line, Panel, panel_markup
from shedproxy.cli.charts.table import Cell, Table

__all__ = ["observed_chart", "observed_table"]

_SEEN = "seen"


def observed_chart(calibration: Calibration) -> Html:
    """Throughput and latency by how much was in flight."""
    observed = calibration.observed
    if observed is None or not observed.points:
        return Html("")
    by_load = sorted({point[0]: point for point in observed.points}.values())
    x = [point[0] for point in by_load]
    return panel_markup(
        Panel(
            x_label="in flight",
            x_unit="",
            x=x,
            keys=[Key(name=_SEEN, hue=0)],
            charts=[
                Chart(
                    title=title,
                    unit=unit,
                    lines=[
                        Line(key=_SEEN, values=[point[at] for point in by_load], shape="points")
                    ],
                    has_log_axis=False,
                )
                for title, unit, at in (("Throughput", "answers/s", 1), ("Mean latency", "ms", 2))
            ],
        )
    )


def observed_table(calibration: Calibration) -> Table | None:
    """A row for each half octave of load that was there."""
    observed = calibration.observed
    if observed is None or not observed.points:
        return None
    levels: dict[int, list[tuple[float, float, float]]] = {}
    for point in observed.points:
        levels.setdefault(math.floor(2 * math.log2(max(1e-6, point[0]))), []).append(point)
    rows = [
        [Cell(f"{2 ** (level / 2):.3g} to {2 ** ((level + 1) / 2):.3g}"), count_cell(len(points))]
        + [number_cell(math.fsum(point[at] for point in points) / len(points)) for at in range(3)]
        for level, points in sorted(levels.items())
    ]
    return Table(
        title="Load that was seen",
        columns=["In flight", "Points", "Mean in flight", "Answers/s", "Mean latency, ms"],
        rows=rows,
        note=f"{observed.upstreams} healthy upstreams; latency is that at the upstream.",
    )
