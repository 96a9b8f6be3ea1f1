"""`shedproxy report`: a calibration, two of them, or other tools' load tests, to be read."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shedproxy.calibration.results import Calibration
    from shedproxy.cli.charts.table import Table

__all__ = ["report"]

_LOOPS = ("open", "closed")


def report(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="A report.json, or the folder that has one."),
    ],
    is_foreign: Annotated[
        bool,
        typer.Option("--from", help="The files are of Locust, k6, HdrHistogram, wrk2, wrk or hey."),
    ] = False,
    is_comparison: Annotated[
        bool, typer.Option("--compare", help="Two reports, the earlier first: what changed.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write an offline page there.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--md", metavar="FILE", help="Write Markdown there.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
    loop: Annotated[
        str | None,
        typer.Option(
            "--loop",
            metavar="open|closed",
            help="With --from: whether arrivals kept a schedule.  [default: as the file says]",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            "--unit",
            metavar="ns|us|ms|s",
            help="With --from: of values whose file names none.",
        ),
    ] = None,
) -> None:
    """Show a calibration, compare two, or read what another load test left.

    Without --html, --md and --json a summary is printed. Files of other tools are read as they are:
    what they support, and what they do not, is said with every figure.

    Examples:
        shedproxy report calibration/report.json --html report.html
        shedproxy report --compare last/report.json new/report.json --md change.md
        shedproxy report --from run_stats.csv run_stats_history.csv run_failures.csv
        shedproxy report --from summary.json --loop open --json
    """
    if is_foreign and is_comparison:
        raise typer.BadParameter("--from and --compare do not go together", param_hint="--from")
    for name, value in (("--loop", loop), ("--unit", unit)):
        if value is not None and not is_foreign:
            raise typer.BadParameter("only --from has use for it", param_hint=name)
    if is_foreign:
        _foreign(files, _chosen("--loop", loop, _LOOPS), unit, html, markdown, as_json=as_json)
    else:
        _check_count(files, 2 if is_comparison else 1)
        _own(files, html, markdown, as_json=as_json)


def _check_count(files: Sequence[Path], wanted: int) -> None:
    if len(files) != wanted:
        need = "two reports, the earlier first" if wanted > 1 else "one report"
        raise typer.BadParameter(f"name {need}; there are {len(files)}", param_hint="FILE")


def _chosen(name: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(allowed)}", param_hint=name)
    return value


# --- our own -----------------------------------------------------------------------------------


def _own(files: list[Path], html: Path | None, markdown: Path | None, *, as_json: bool) -> None:
    from shedproxy.calibration.comparison import compare
    from shedproxy.cli.calibration_markdown import calibration_as_markdown
    from shedproxy.cli.calibration_page import render_calibration
    from shedproxy.cli.comparison_views import comparison_as_plain, comparison_table
    from shedproxy.cli.report_files import read_calibration

    calibrations = [read_calibration(file) for file in files]
    newest = calibrations[-1]
    comparison = compare(calibrations[0], newest) if len(calibrations) > 1 else None
    table = None if comparison is None else comparison_table(comparison)
    _write(html, lambda: render_calibration(newest, comparison=table))
    _write(markdown, lambda: calibration_as_markdown(newest, comparison=table))
    if as_json:
        from shedproxy.calibration.results import encode_calibration

        plain: Any = encode_calibration(newest)
        typer.echo(json.dumps(plain if comparison is None else comparison_as_plain(comparison)))
    elif html is None and markdown is None:
        _print(newest, table)


def _write(file: Path | None, make: Any) -> None:
    from shedproxy.cli.report_files import write_text

    if file is not None:
        write_text(file, make())
        typer.echo(f"written: {file}", err=True)


def _print(calibration: Calibration, comparison: Table | None) -> None:
    from shedproxy.cli.calibration_tables import TABLES
    from shedproxy.cli.calibration_words import reasons_of, validity
    from shedproxy.cli.report_text import print_line, print_table

    verdict = calibration.verdict
    print_line(f"{verdict.headline} (confidence {verdict.confidence.name.lower()})", style="bold")
    print_line(validity(calibration))
    for reason in reasons_of(calibration):
        print_line(f"- {reason}")
    for name in ("changes", "estimates", "verification", "checks"):
        table = TABLES[name](calibration)
        if table is not None:
            print_table(table)
    if comparison is not None:
        print_table(comparison)


# --- other tools' ------------------------------------------------------------------------------


def _foreign(
    files: list[Path],
    loop: str | None,
    unit: str | None,
    html: Path | None,
    markdown: Path | None,
    *,
    as_json: bool,
) -> None:
    from shedproxy import __version__
    from shedproxy.calibration.imports.appraisal import appraise
    from shedproxy.calibration.imports.load_record import Loop
    from shedproxy.calibration.imports.percentile_text import UNITS_NS
    from shedproxy.calibration.imports.reading import read_records
    from shedproxy.calibration.imports.source_text import SourceText
    from shedproxy.cli.import_views import (
        appraisal_as_markdown,
        appraisal_tables,
        headline_of,
        render_appraisals,
    )
    from shedproxy.cli.report_files import read_text
    from shedproxy.cli.report_text import print_line, print_table
    from shedproxy.snapshot import to_plain

    _chosen("--unit", unit, tuple(UNITS_NS))
    sources = [SourceText(str(file), read_text(file)) for file in files]
    records = read_records(sources, loop=None if loop is None else Loop[loop.upper()], unit=unit)
    rng = random.Random(1)  # noqa: S311 - repeatable
    appraisals = [appraise(record, rng=rng) for record in records]
    _write(html, lambda: render_appraisals(appraisals, version=__version__))
    _write(markdown, lambda: "\n".join(map(appraisal_as_markdown, appraisals)))
    if as_json:
        runs = [to_plain(appraisal) for appraisal in appraisals]
        typer.echo(json.dumps({"format": "shedproxy-import", "schema": 1, "runs": runs}))
    elif html is None and markdown is None:
        for appraisal in appraisals:
            print_line(headline_of(appraisal), style="bold")
            for table in appraisal_tables(appraisal).values():
                print_table(table)
