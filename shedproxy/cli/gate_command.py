"""`shedproxy gate`: whether a calibration is good enough to be let through, by exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shedproxy.cli.exit_codes import EXIT_INCONCLUSIVE, EXIT_REGRESSED

if TYPE_CHECKING:
    from shedproxy.calibration.comparison import Judgement, Result

__all__ = ["gate"]


_CODES = {"FAILED": EXIT_REGRESSED, "UNKNOWN": EXIT_INCONCLUSIVE}
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)")


def gate(
    file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json, or the folder that has one.")
    ],
    against: Annotated[
        Path, typer.Option("--against", metavar="BASE", help="The report to hold it against.")
    ],
    max_regression: Annotated[
        str, typer.Option("--max-regression", metavar="SHARE", help="What may be lost.")
    ] = "10%",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Intervals too wide to see such a loss are inconclusive."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML there.")
    ] = None,
) -> None:
    """Fail when capacity, goodput or latency got worse than noise explains.

    A figure fails when its loss is above the bound and its interval leaves out "no loss". Exit code
    0: passed, 4: inconclusive, 5: failed.

    Examples:
        shedproxy gate new/report.json --against main/report.json
        shedproxy gate new/report.json --against main/report.json --max-regression 5% --strict
    """
    from shedproxy.calibration.comparison import compare, judge, overall
    from shedproxy.cli.report_files import read_calibration

    bound = _share(max_regression)
    before, after = read_calibration(against), read_calibration(file)
    comparison = compare(before, after)
    lines = judge(comparison, max_regression=bound, after=after)
    result = overall(lines, is_strict=strict)
    _show(lines, comparison.remarks, result, bound, as_json=as_json, junit=junit)
    if code := _CODES.get(result.name):
        raise typer.Exit(code)


def _show(
    lines: Sequence[Judgement],
    remarks: Sequence[str],
    result: Result,
    bound: float,
    *,
    as_json: bool,
    junit: Path | None,
) -> None:
    from shedproxy.cli.comparison_views import judgements_as_junit, judgements_table
    from shedproxy.cli.report_files import write_text
    from shedproxy.cli.report_text import print_line, print_table
    from shedproxy.snapshot import to_plain

    if junit is not None:
        write_text(junit, judgements_as_junit(lines))
    word = {"UNKNOWN": "inconclusive"}.get(result.name, result.name.lower())
    if as_json:
        plain = {
            "result": word,
            "max_regression": bound,
            "lines": [to_plain(line) for line in lines],
            "remarks": list(remarks),
        }
        typer.echo(json.dumps(plain, indent=2))
        return
    print_table(judgements_table(lines))
    for remark in remarks:
        print_line(f"note: {remark}")
    print_line(f"gate {word}", style="bold")


def _share(text: str) -> float:
    match = _SHARE.fullmatch(text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match is not None else -1.0
    if not 0 <= value < 1:
        raise typer.BadParameter(
            f"{text!r} is no share from 0 to 1, as 10% or 0.1 are", param_hint="--max-regression"
        )
    return value
