"""The page of a calibration: verdict first, then what it rests on, then how to do it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.calibration.results import Calibration, Confidence
from shedproxy.cli.calibration_charts import CHARTS
from shedproxy.cli.calibration_numbers import show_interval, show_length, show_number
from shedproxy.cli.calibration_tables import TABLES
from shedproxy.cli.calibration_words import (
    method_notes,
    reasons_of,
    reproduce,
    toml_of,
    validity,
)
from shedproxy.cli.charts.markup import Html, element, join
from shedproxy.cli.charts.page import render_page
from shedproxy.cli.charts.table import Table, table_markup

__all__ = ["render_calibration"]

_MANY_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A section: its chart and tables by name, and what is to be known before looking at them."""

    title: str
    lead: str = ""
    chart: str = ""
    tables: tuple[str, ...] = ()


_PARTS = (
    _Part(title="What changes", tables=("changes", "thresholds")),
    _Part(
        title="Live traffic",
        lead="Nothing was played: what the proxy saw of the service, a dot for each while.",
        chart="observed",
        tables=("observed",),
    ),
    _Part(
        title="Throughput",
        lead="So many requests at a time, always. Dots are measured, one for each pass; the line is"
        " the fitted Universal Scalability Law, grey its 95 % band.",
        chart="concurrency",
        tables=("curve", "concurrency"),
    ),
    _Part(
        title="Latency",
        lead="Arrivals that do not wait for answers. Latency counts from when a request was meant"
        " to be sent; lines are of all passes together.",
        chart="rates",
        tables=("estimates", "rates"),
    ),
    _Part(
        title="Goodput off and on",
        lead="The same load once more through the proxy. Good is what was answered with success"
        " within the objective.",
        chart="verification",
        tables=("verification", "refusal"),
    ),
    _Part(title="Streams", tables=("residents",)),
    _Part(title="Classes", lead="Who was served when not everybody could be.", tables=("classes",)),
    _Part(
        title="Distribution",
        lead="One nine is the 90th percentile, two are the 99th, three the 99.9th.",
        chart="distribution",
        tables=("routes",),
    ),
    _Part(title="Sensitivity", lead="What another objective, or a wrong limit, would come to.",
          tables=("objectives", "limits")),
    _Part(title="Checks", tables=("checks",)),
    _Part(
        title="Steadiness",
        lead="Every step in the order in which it was played; what is void counts for nothing.",
        chart="steadiness",
        tables=("steps",),
    ),
    _Part(
        title="Signals",
        lead="Of the proxy while load went through it, and of the generator: a step in which that"
        " was late or busy is void. The service's own are not taken.",
        chart="signals",
        tables=("proxy", "generator"),
    ),
    _Part(title="Errors", tables=("errors",)),
    _Part(title="Provenance", tables=("provenance",)),
)  # fmt: skip


def render_calibration(calibration: Calibration, *, comparison: Table | None = None) -> str:
    """A self-contained HTML page, for a browser without a network.

    Args:
        calibration: what was found.
        comparison: with an earlier one, where there is one.
    """
    made = calibration.provenance
    sections = {"Verdict": _verdict(calibration)}
    for part in _PARTS:
        section = _section(calibration, part)
        if section is not None:
            sections[part.title] = section
    if comparison is not None:
        sections["Comparison"] = join(
            element("h2", "Comparison"),
            element("p", comparison.note, class_="lead") if comparison.note else None,
            table_markup(comparison, name="comparison"),
        )
    sections["Method"] = _method(calibration)
    links = [element("li", element("a", name, href=f"#{_anchor(name)}")) for name in sections]
    header = join(
        element("h1", f"Calibration of {made.target}"),
        element("p", f"{made.finished}, shedproxy {made.version}", class_="about"),
        element("nav", element("ul", *links[1:], class_="links"), aria_label="Sections"),
    )
    body = [
        element("section", section, id=_anchor(name), class_="card")
        for name, section in sections.items()
    ]
    return render_page(
        title=f"Calibration of {made.target}",
        header=header,
        body=join(*body),
        footer=f"Made by shedproxy {made.version}. One file, no network.",
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


# --- verdict -----------------------------------------------------------------------------------


def _verdict(calibration: Calibration) -> Html:
    verdict = calibration.verdict
    is_good = verdict.confidence is Confidence.HIGH
    badge = element(
        "span",
        f"confidence {verdict.confidence.name.lower()}",
        class_=f"badge {'good' if is_good else 'bad' if _is_open(calibration) else ''}".rstrip(),
    )
    reasons = [element("li", reason) for reason in reasons_of(calibration)]
    return join(
        element("h2", "Verdict", class_="hidden"),
        element("p", verdict.headline, class_="headline"),
        element("p", badge, f" {validity(calibration)}", class_="lead"),
        element("dl", *_tiles(calibration), class_="tiles"),
        element("h3", "Why so sure, and no surer"),
        element("ul", *reasons, class_="findings"),
    )


def _is_open(calibration: Calibration) -> bool:
    return calibration.verdict.confidence is Confidence.INCONCLUSIVE


def _tiles(calibration: Calibration) -> list[Html]:
    verdict, found = calibration.verdict, calibration.findings
    words = {None: "not known", True: "yes", False: "no"}
    tiles = [
        _tile("Limit", "none" if verdict.limit is None else str(verdict.limit), "in flight"),
        _tile("Keeps the objective up to", show_interval(found.slo_rps), "/s"),
        _tile("Capacity", show_interval(found.capacity_rps), "/s"),
        _tile("Knee", show_interval(found.knee_in_flight), "in flight"),
    ]
    if found.collapse_rps is not None:
        tiles.append(_tile("Goodput collapses at", show_number(found.collapse_rps), "/s"))
    met = words[verdict.slo_is_met]
    tiles.append(_tile("Objective can be met", met, is_bad=verdict.slo_is_met is False))
    verified = "not done" if verdict.is_verified is None else words[verdict.is_verified]
    tiles.append(_tile("Thresholds verified", verified, is_bad=verdict.is_verified is False))
    if calibration.thresholds is not None:
        tiles.append(_tile("Good for", show_length(calibration.thresholds.expires_after_ns)))
    return tiles


def _tile(label: str, value: str, more: str = "", *, is_bad: bool = False) -> Html:
    head, _, interval = value.partition(" (")
    shown = f"✗ {head}" if is_bad else head
    return element(
        "div",
        element("dt", label),
        element(
            "dd",
            shown,
            element("small", f" {more}") if more else None,
            element("small", interval.removesuffix(")"), class_="range") if interval else None,
            class_="bad" if is_bad else None,
        ),
    )


# --- the rest ----------------------------------------------------------------------------------


def _section(calibration: Calibration, part: _Part) -> Html | None:
    tables = [(name, TABLES[name](calibration)) for name in part.tables]
    shown = [(name, table) for name, table in tables if table is not None]
    chart = CHARTS[part.chart](calibration) if part.chart else Html("")
    if not shown and not chart:
        return None
    toml = toml_of(calibration) if part.title == "What changes" else ""
    return join(
        element("h2", part.title),
        element("p", part.lead, class_="lead") if part.lead else None,
        chart or None,
        *(
            _tabled(name, table, is_named=len(shown) > 1 and table.title != part.title)
            for name, table in shown
        ),
        element("h3", "For the settings file") if toml else None,
        element("pre", toml, class_="copy") if toml else None,
    )


def _tabled(name: str, table: Table, *, is_named: bool) -> Html:
    drawn = table_markup(table, name=name)
    note = element("p", table.note, class_="lead") if table.note else None
    if len(table.rows) > _MANY_ROWS:
        summary = element("summary", f"{table.title}: {len(table.rows)} rows")
        return element("details", summary, note, drawn, class_="rows")
    heading = element("h3", table.title) if is_named else None
    return join(heading, note, drawn)


def _method(calibration: Calibration) -> Html:
    notes: Sequence[str] = method_notes(calibration)
    return join(
        element("h2", "Method"),
        element("ul", *(element("li", note) for note in notes), class_="rules"),
        element("h3", "To reproduce"),
        element("pre", reproduce(calibration), class_="copy"),
    )
