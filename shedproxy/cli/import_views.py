"""A load test of another tool, shown: tables, a page and Markdown, all with what it supports."""

from __future__ import annotations

import math

from shedproxy.calibration.imports.appraisal import Appraisal, measured_points
from shedproxy.calibration.imports.load_record import LatencyFigures, RouteRecord
from shedproxy.cli.calibration_charts import band_lines, between
from shedproxy.cli.calibration_numbers import (
    NOTHING,
    count_cell,
    interval_cell,
    ms_cell,
    number_cell,
    show_length,
    show_number,
)
from shedproxy.cli.charts.markup import Html, element, join
from shedproxy.cli.charts.page import render_page
from shedproxy.cli.charts.panel import Chart, Key, Line, Panel, panel_markup
from shedproxy.cli.charts.table import Cell, Table, table_as_markdown, table_markup
from shedproxy.core import NS_PER_MS

__all__ = ["appraisal_as_markdown", "appraisal_tables", "headline_of", "render_appraisals"]

_SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)
_MEASURED, _FIT = "measured", "fitted curve"


def headline_of(appraisal: Appraisal) -> str:
    """The most that can be said, in one sentence."""
    record = appraisal.record
    what = f"{record.tool}{f' {record.version}' if record.version else ''}"
    if appraisal.knee_in_flight is not None:
        return (
            f"{what}: {show_number(appraisal.capacity_rps)} answers/s, from about"
            f" {show_number(appraisal.knee_in_flight)} in flight on"
        )
    if appraisal.capacity_rps is not None:
        return f"{what}: {show_number(appraisal.capacity_rps)} answers/s; no knee from this"
    return f"{what}: no capacity can be read off this"


def appraisal_tables(appraisal: Appraisal) -> dict[str, Table]:
    """By name, without those that would be empty."""
    tables = {
        "conclusions": _conclusions(appraisal),
        "requests": _requests(appraisal),
        "levels": _levels(appraisal),
        "fit": _fit(appraisal),
        "failures": _failures(appraisal),
        "facts": _facts(appraisal),
    }
    return {name: table for name, table in tables.items() if table.rows}


def _conclusions(appraisal: Appraisal) -> Table:
    rows = [
        [
            Cell(each.question),
            Cell(
                "yes" if each.is_supported else "no", None, "good" if each.is_supported else "bad"
            ),
            Cell(each.text),
        ]
        for each in appraisal.conclusions
    ]
    return Table(title="What it supports", columns=["Question", "Answered", "How"], rows=rows)


def _requests(appraisal: Appraisal) -> Table:
    record = appraisal.record
    columns = ["Requests of", "Count", "Failed", "/s", "Mean, ms"]
    columns += [f"p{100 * share:g}, ms" for share in _SHARES]
    rows = [
        [
            Cell(each.name),
            count_cell(each.request_count),
            count_cell(each.failed_count),
            number_cell(each.rate_rps),
            *_latency(each.latency),
        ]
        for each in _all(record.total, record.routes)
    ]
    return Table(title="Requests", columns=[*columns, "Max, ms"], rows=rows)


def _all(total: RouteRecord, routes: tuple[RouteRecord, ...]) -> list[RouteRecord]:
    return [*routes, total]


def _latency(latency: LatencyFigures) -> list[Cell]:
    percentiles = [ms_cell(latency.at(share)) for share in _SHARES]
    return [ms_cell(latency.mean_ns), *percentiles, ms_cell(latency.max_ns)]


def _levels(appraisal: Appraisal) -> Table:
    rows = [
        [
            Cell(_users(point.users)),
            number_cell(in_flight),
            number_cell(throughput),
            ms_cell(point.latency.mean_ns),
            ms_cell(point.latency.at(0.99)),
            count_cell(point.request_count),
            count_cell(point.failed_count),
            Cell(show_length(point.length_ns)),
        ]
        for in_flight, throughput, point in measured_points(appraisal.record)
    ]
    columns = ["Level", "In flight", "Answers/s", "Mean, ms", "p99, ms", "Requests", "Failed"]
    return Table(title="Levels of load", columns=[*columns, "Length"], rows=rows)


def _users(users: float | None) -> str:
    if users is None:
        return NOTHING
    return f"{users:g} user" if users == 1 else f"{users:g} users"


def _fit(appraisal: Appraisal) -> Table:
    usl = appraisal.usl
    rows = [] if usl is None else [
        [Cell("Lambda: answers/s of one at a time"), interval_cell(usl.lambda_rps)],
        [Cell("Sigma: contention"), interval_cell(usl.sigma)],
        [Cell("Kappa: coherency"), interval_cell(usl.kappa)],
        [Cell("Best in flight"), interval_cell(usl.peak_in_flight)],
        [Cell("Ceiling, answers/s"), interval_cell(usl.ceiling_rps)],
        [Cell("R²"), number_cell(usl.r_squared)],
    ]  # fmt: skip
    return Table(
        title="Universal Scalability Law", columns=["Figure", "Value (95 % interval)"], rows=rows
    )


def _failures(appraisal: Appraisal) -> Table:
    rows = [[Cell(error.name), count_cell(error.count)] for error in appraisal.record.errors]
    return Table(title="Failures", columns=["Kind", "Count"], rows=rows)


def _facts(appraisal: Appraisal) -> Table:
    record = appraisal.record
    facts = {
        "Files": ", ".join(record.files),
        "Tool": f"{record.tool} {record.version}".strip(),
        "Loop": record.loop.name.lower(),
        "Length": show_length(record.length_ns),
        "Users": "" if record.users is None else f"{record.users:g}",
        "Latency without load": show_length(appraisal.idle_ns),
    }
    rows = [[Cell(name), Cell(text)] for name, text in facts.items() if text not in {"", NOTHING}]
    rows += [[Cell("Note"), Cell(note)] for note in record.notes]
    return Table(title="Where it comes from", columns=["What", "Value"], rows=rows)


# --- charts ------------------------------------------------------------------------------------


def _curve_panel(appraisal: Appraisal) -> Html:
    points = measured_points(appraisal.record)
    if len(points) < 2:
        return Html("")
    band = appraisal.usl.band if appraisal.usl is not None else ()
    throughput = {round(n, 6): rps for n, rps, _ in points}
    mean_ms = {round(n, 6): (point.latency.mean_ns or 0) / NS_PER_MS for n, _, point in points}
    x = sorted({*throughput, *(row[0] for row in band)})
    places = [row[0] for row in band]
    fitted_ms = [1000 * row[0] / row[1] for row in band]
    latency = [Line(key=_MEASURED, shape="points", values=[mean_ms.get(at) for at in x])]
    if band:
        latency.append(Line(key=_FIT, values=[between(places, fitted_ms, at) for at in x]))
    dots = Line(key=_MEASURED, shape="points", values=[throughput.get(at) for at in x])
    return panel_markup(
        Panel(
            x_label="in flight",
            x_unit="",
            x=x,
            keys=[Key(name=_MEASURED, hue=0), Key(name=_FIT, hue=1)],
            charts=[
                Chart(title="Throughput", unit="answers/s", has_log_axis=False,
                      lines=[*band_lines(band, x), dots]),
                Chart(title="Mean latency", unit="ms", has_log_axis=False, lines=latency),
            ],
        )
    )  # fmt: skip


def _percentile_panel(appraisal: Appraisal) -> Html:
    total = appraisal.record.total.latency
    known = {round(-math.log10(1 - s), 6): ns / NS_PER_MS for s, ns in total.percentiles if s < 1}
    if len(known) < 3:
        return Html("")
    line = Line(key="all requests", values=[known[at] for at in sorted(known)])
    return panel_markup(
        Panel(
            x_label="share of requests",
            x_unit="nines",
            x=sorted(known),
            keys=[Key(name="all requests", hue=0)],
            charts=[Chart(title="Latency by percentile", unit="ms", lines=[line])],
        )
    )


# --- page and Markdown -------------------------------------------------------------------------


def render_appraisals(appraisals: list[Appraisal], *, version: str) -> str:
    """A self-contained HTML page of one run or several."""
    sections = [
        element("section", _section(appraisal, number), class_="card", id=f"run-{number}")
        for number, appraisal in enumerate(appraisals, 1)
    ]
    title = "Load tests of other tools"
    header = join(element("h1", title), element("p", f"shedproxy {version}", class_="about"))
    footer = f"Made by shedproxy {version}. One file, no network."
    return render_page(title=title, header=header, body=join(*sections), footer=footer)


def _section(appraisal: Appraisal, number: int) -> Html:
    parts: list[Html | None] = [element("p", headline_of(appraisal), class_="headline")]
    for name, table in appraisal_tables(appraisal).items():
        parts.append(element("h2" if name == "conclusions" else "h3", table.title))
        if name == "requests":
            parts.append(_percentile_panel(appraisal) or None)
        elif name == "levels":
            parts.append(_curve_panel(appraisal) or None)
        parts.append(table_markup(table, name=f"{name}-{number}"))
    return join(*parts)


def appraisal_as_markdown(appraisal: Appraisal) -> str:
    """The same tables."""
    parts = [f"## {headline_of(appraisal)}\n"]
    for table in appraisal_tables(appraisal).values():
        parts += [f"### {table.title}\n", table_as_markdown(table)]
    return "\n".join(parts)
