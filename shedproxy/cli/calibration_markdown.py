"""A calibration in Markdown, for a pull request: verdict, changes and the tables that matter."""

from __future__ import annotations

from shedproxy.calibration.results import Calibration
from shedproxy.cli.calibration_numbers import show_interval
from shedproxy.cli.calibration_tables import TABLES
from shedproxy.cli.calibration_words import (
    method_notes,
    reasons_of,
    reproduce,
    toml_of,
    validity,
)
from shedproxy.cli.charts.table import Table, table_as_markdown

__all__ = ["calibration_as_markdown"]

_SHOWN = (
    "estimates",
    "observed",
    "verification",
    "refusal",
    "residents",
    "classes",
    "curve",
    "checks",
)
_FOLDED = (
    "concurrency",
    "rates",
    "objectives",
    "limits",
    "routes",
    "proxy",
    "errors",
    "provenance",
)


def calibration_as_markdown(calibration: Calibration, *, comparison: Table | None = None) -> str:
    """The report; what is long is folded."""
    verdict = calibration.verdict
    parts = [
        f"# Calibration of {calibration.provenance.target}\n",
        f"**{verdict.headline}** (confidence {verdict.confidence.name.lower()})\n",
        validity(calibration) + "\n",
        "".join(f"- {reason}\n" for reason in reasons_of(calibration)),
        _figures(calibration),
    ]
    changes = TABLES["changes"](calibration)
    if changes is not None:
        parts += ["## What changes\n", table_as_markdown(changes)]
        parts.append(f"```toml\n{toml_of(calibration)}\n```\n")
    if comparison is not None:
        parts += ["## Comparison\n", f"{comparison.note}\n", table_as_markdown(comparison)]
    for name in _SHOWN:
        table = TABLES[name](calibration)
        if table is not None:
            parts += [f"## {table.title}\n", table_as_markdown(table)]
    for name in _FOLDED:
        table = TABLES[name](calibration)
        if table is not None:
            summary = f"<details><summary>{table.title}</summary>\n"
            parts += [summary, table_as_markdown(table), "</details>\n"]
    notes = "".join(f"- {note}\n" for note in method_notes(calibration))
    parts += ["## Method\n", notes, f"```sh\n{reproduce(calibration)}\n```\n"]
    return "\n".join(part for part in parts if part)


def _figures(calibration: Calibration) -> str:
    limit, found = calibration.verdict.limit, calibration.findings
    return (
        f"Limit {'none' if limit is None else limit} in flight; keeps the objective up to"
        f" {show_interval(found.slo_rps)} /s; capacity {show_interval(found.capacity_rps)} /s.\n"
    )
