"""`shedproxy whatif`: another load, another limit or a lost cell, in virtual time."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.calibration.cell_models import CellLoad
    from shedproxy.calibration.results import Calibration
    from shedproxy.cli.charts.table import Table
    from shedproxy.core import Criticality
    from shedproxy.simulator.clients import Chance
    from shedproxy.simulator.forecast import CellForecast, CellModel
    from shedproxy.workload import RandomSource

__all__ = ["whatif"]

_LOAD = re.compile(r"(\d+(?:\.\d+)?)\s*(x|/s)")
_REQUESTS_MAX = 400_000
_SHORTEST_S = 5.0


def whatif(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A report.json or its folder, or settings with a profile."
        ),
    ],
    load: Annotated[
        str,
        typer.Option("--load", metavar="2x|300/s", help="Offered: times capacity, or a rate."),
    ] = "1x",
    lost: Annotated[
        list[str] | None,
        typer.Option("--lose-cell", metavar="CELL", help="The others take its load; repeatable."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="A fixed limit, in place of the profile's."
        ),
    ] = None,
    length_s: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=_SHORTEST_S, help="Simulated time.")
    ] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Of arrivals and service times.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Say what each class would get under another load, by the service that was measured.

    The real admission decides in virtual time, before a station with the capacity and the service
    times of the profile. It does not know a service that breaks under load.

    Examples:
        shedproxy whatif calibration/report.json --load 2x
        shedproxy whatif calibration/ --load 300/s --limit 40
        shedproxy whatif shedproxy.toml --load 1.2x --lose-cell b --json
    """
    from shedproxy.calibration.cell_models import share_loads

    models, mix, remarks = _read(file)
    if limit is not None:
        models = [_with_limit(model, limit) for model in models]
    offered_rps = _offered(load, sum(model.capacity_rps for model in models))
    try:
        loads = share_loads(models, offered_rps, lost=lost or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--lose-cell") from error
    shortened_s = min(length_s, max(_SHORTEST_S, _REQUESTS_MAX / offered_rps))
    if shortened_s < length_s:
        remarks.append(f"{shortened_s:.0f} s were simulated: {_REQUESTS_MAX:,} requests are enough")
    objective_ms = loads[0].model.objective_ms
    if objective_ms is not None:
        remarks.append(f"in time, and good: within {objective_ms:g} ms, the objective")
    forecasts = [_forecast(each, mix, shortened_s, seed) for each in loads]
    if as_json:
        typer.echo(json.dumps(_as_plain(forecasts, loads, remarks), indent=2))
    else:
        _print(forecasts, loads, remarks)


# --- what is known -----------------------------------------------------------------------------


def _read(file: Path) -> tuple[list[CellModel], Sequence[tuple[Criticality, float]], list[str]]:
    from shedproxy.cli.profile_models import models_of_settings
    from shedproxy.cli.report_files import read_calibration
    from shedproxy.core import Criticality

    if file.suffix != ".toml":
        return _of_calibration(file, read_calibration(file))
    models = models_of_settings(file)
    laws = ", ".join(dict.fromkeys(model.law for model in models))
    remark = f"service times: {laws}, by the profile's scatter; critical requests only"
    return models, [(Criticality.CRITICAL, 1.0)], [remark]


def _of_calibration(
    file: Path, calibration: Calibration
) -> tuple[list[CellModel], Sequence[tuple[Criticality, float]], list[str]]:
    from shedproxy.calibration.cell_models import cell_models, class_mix

    models = cell_models(calibration)
    if models is None:
        raise StartupError(
            f"{file} has no capacity or no latency without load: calibrate again, with a larger"
            " --budget"
        )
    return models, class_mix(calibration), [_law_remark(models[0], calibration)]


def _law_remark(model: CellModel, calibration: Calibration) -> str:
    remark = f"service times: {model.law}, as measured without load"
    alone = next(each.latency for each in calibration.findings.routes if each.name == "*")
    if model.law != "recorded" or alone is None:
        return remark
    known = 100 * (1 - 1 / max(2, alone.count))
    return f"{remark} of {alone.count} requests: nothing is known of them beyond p{known:.4g}"


def _with_limit(model: CellModel, limit: int) -> CellModel:
    fixed = replace(
        model.limit, algorithm="fixed", initial=limit, minimum=1, maximum=max(1000, limit)
    )
    return replace(model, limit=fixed)


def _offered(text: str, capacity_rps: float) -> float:
    match = _LOAD.fullmatch(text.strip())
    value = float(match[1]) if match is not None else 0.0
    if match is None or value <= 0:
        raise typer.BadParameter(
            f"{text!r} is no load: say 2x for twice the capacity, or 300/s", param_hint="--load"
        )
    return value * capacity_rps if match[2] == "x" else value


# --- simulating --------------------------------------------------------------------------------


def _forecast(
    load: CellLoad, mix: Sequence[tuple[Criticality, float]], length_s: float, seed: int
) -> CellForecast:
    from shedproxy.simulator.forecast import forecast

    return forecast(
        load.model,
        offered_rps=load.offered_rps,
        mix=mix,
        length_s=length_s,
        chance=_chance(seed, load.model.name),
    )


def _chance(seed: int, cell: str) -> Chance:
    def stream(name: str) -> RandomSource:
        return random.Random(f"{seed}/{cell}/{name}")  # noqa: S311 - repeatable, not a secret

    return stream


# --- showing -----------------------------------------------------------------------------------


def _as_plain(
    forecasts: Sequence[CellForecast], loads: Sequence[CellLoad], remarks: Sequence[str]
) -> dict[str, object]:
    from shedproxy.snapshot import to_plain

    cells = []
    for each, load in zip(forecasts, loads, strict=True):
        plain = to_plain(each)
        plain["goodput_ratio"] = each.goodput_ratio
        plain["station"] = {"slots": load.model.slots, "service_ms": load.model.service_ms}
        cells.append(plain)
    return {
        "format": "shedproxy-forecast", "schema": 1, "cells": cells, "remarks": list(remarks),
    }  # fmt: skip


def _print(
    forecasts: Sequence[CellForecast], loads: Sequence[CellLoad], remarks: Sequence[str]
) -> None:
    from shedproxy.cli.report_text import print_line, print_table

    for each, load in zip(forecasts, loads, strict=True):
        print_line(
            f"cell {each.name}: {each.offered_rps:,.1f}/s offered to {each.capacity_rps:,.1f}/s"
            f" ({load.model.slots} x {load.model.service_ms:.4g} ms): {each.goodput_rps:,.1f}/s"
            f" good, {100 * each.goodput_ratio:.1f}% of what can be",
            style="bold",
        )
        print_line(
            f"limit {each.limit_mean:.1f} and {each.in_flight_mean:.1f} in flight on average,"
            f" {each.request_count:,} requests"
        )
        print_table(_table(each))
    for remark in remarks:
        print_line(f"note: {remark}")


def _table(forecast: CellForecast) -> Table:
    from shedproxy.cli.calibration_numbers import number_cell, percent_cell
    from shedproxy.cli.charts.table import Cell, Table

    columns = ["Class", "Offered/s", "Admitted", "Served in time", "Wait p50, ms", "Wait p99, ms"]
    rows = [
        [
            Cell(each.name),
            number_cell(each.offered_rps),
            percent_cell(each.admitted_ratio),
            percent_cell(each.served_ratio),
            number_cell(each.wait_p50_ms),
            number_cell(each.wait_p99_ms),
            number_cell(each.p50_ms),
            number_cell(each.p99_ms),
            Cell(", ".join(f"{name} {count:,}" for name, count in each.refused)),
        ]
        for each in forecast.classes
    ]
    return Table(title="Classes", columns=[*columns, "p50, ms", "p99, ms", "Refused"], rows=rows)
