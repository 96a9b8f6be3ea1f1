"""Runs that were saved, put together: their rounds add up, and the tables are printed anew.

A machine is seldom quiet for long, so that nine rounds of much may be run in parts. Rounds stay
whole: each value of a ratio is still of two values of the same seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import acceptance, overload
from benchmarks.load import Sample, Turns
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread

__all__ = ["as_text", "put_together"]


def as_text(files: Sequence[Path], command: str) -> str:
    """The tables of all rounds.

    Raises:
        NotMeasuredError: a file is none of ours, or they are of different benchmarks.
    """
    runs = [_read(file) for file in files]
    try:
        report = put_together(runs)
    except (ValueError, KeyError, TypeError) as error:
        raise NotMeasuredError(f"not saved by --save: {error!r}") from error
    ran = [f"  {run['command']}" for run in runs]
    machines = dict.fromkeys(_machine_text(run["machine"]) for run in runs)
    return "\n".join([f"$ {command}", *ran, *machines, *report.tables()])


def _read(file: Path) -> dict[str, Any]:
    try:
        run = json.loads(file.read_text())
    except OSError as error:
        raise NotMeasuredError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise NotMeasuredError(f"{file} was not saved by --save: it is no JSON") from error
    if not isinstance(run, dict) or "benchmark" not in run:
        raise NotMeasuredError(f"{file} was not saved by --save")
    return run


def put_together(runs: Sequence[dict[str, Any]]) -> Any:
    """One report of the rounds of all.

    Raises:
        NotMeasuredError: they are of different benchmarks.
    """
    if len({run["benchmark"] for run in runs}) != 1:
        raise NotMeasuredError("these are runs of different benchmarks")
    if runs[0]["benchmark"] == "overload":
        return overload.together(runs)
    if runs[0]["benchmark"] == "acceptance":
        return acceptance.together(runs, _rows(runs, "lines"))
    turns = [Turns(samples=_samples(run)) for run in runs]
    whole = Turns(samples=[sample for each in turns for sample in each.samples])
    said = [
        note
        for run, each in zip(runs, turns, strict=True)
        for note in run["notes"]
        if note not in each.notes()
    ]
    return Report(
        title=runs[0]["title"],
        unit=runs[0]["unit"],
        rows=_rows(runs, "rows"),
        ratios=_rows(runs, "ratios"),
        absent=list(dict.fromkeys(name for run in runs for name in run["absent"])),
        notes=[*dict.fromkeys(said), *whole.notes()],
        versions={k: v for run in runs for k, v in run["machine"]["versions"].items()},
        builds=[*dict.fromkeys(run["machine"]["build"] for run in runs)],
    )


def _samples(run: dict[str, Any]) -> list[Sample]:
    """Those of servers; `workers` has others besides."""
    return [
        Sample(**sample | {"faults": tuple(sample["faults"])})
        for sample in run["samples"]
        if "server" in sample
    ]


def _rows(runs: Sequence[dict[str, Any]], kind: str) -> list[Row]:
    values: dict[str, list[float]] = {}
    budgets: dict[str, Budget | None] = {}
    for run in runs:
        for row in run[kind]:
            those = [math.nan if value is None else value for value in row["values"]]
            values.setdefault(row["name"], []).extend(those)
            budgets[row["name"]] = budget_of(row)
    return [Row(name, Spread.of(those), budgets[name]) for name, those in values.items()]


def _machine_text(machine: dict[str, Any]) -> str:
    return (
        f"{machine['system']}, {machine['processor']}, {machine['python']}, {machine['cores']}"
        f" cores, load average {machine['load_average']}, {machine['stolen_share']:.1%} stolen"
    )


def budget_of(row: dict[str, Any]) -> Budget | None:
    """The one that a saved row has, if any."""
    if "floor" not in row:
        return None
    return Budget(row["target"], row["floor"], is_least=row.get("is_least", False))
