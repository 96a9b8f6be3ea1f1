"""`shedproxy calibrate --from-observe`: where the points come from, and what is made of them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shedproxy.cli.control_client import ControlClient, ControlError
from shedproxy.cli.report_files import read_text
from shedproxy.cli.token_file import read_token
from shedproxy.clock import wall_seconds
from shedproxy.core import Nanos, seconds
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.calibration.results import Calibration

__all__ = ["observed_calibration"]

_PATH = "/-/points"


def observed_calibration(
    source: str, *, cell: str, slo: str, token_file: str, started_s: float, build: str = ""
) -> Calibration:
    """The calibration that live traffic bears out; nothing is sent but one GET.

    Raises:
        StartupError: no points can be had there.
        typer.BadParameter: the objective is none.
    """
    from shedproxy.calibration.measurement import Plan
    from shedproxy.calibration.observed import read_points
    from shedproxy.calibration.observed_profile import conclude_observed
    from shedproxy.calibration.provenance import make_provenance
    from shedproxy.calibration.slo_text import parse_slo

    try:
        objective = parse_slo(slo)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    points = read_points(_text(source, token_file), cell)
    made = make_provenance(
        target=source,
        command=shlex.join(["shedproxy", *sys.argv[1:]]),
        started_s=started_s,
        source="observed",
        target_build=build,
    )
    span_s = points[-1].at_s - points[0].at_s if points else 0.0
    plan = Plan(
        slo=objective,
        budget_ns=seconds(max(0.0, span_s)),
        # As for load that is played; what-if has clients wait so long.
        deadline_ns=Nanos(max(seconds(5), 4 * objective.latency_ns)),
        arrivals="as they came",
        profile="observed",
        engine="none",
        repeats=1,
        target_build=build,
    )
    return conclude_observed(points, plan, made, cell=cell, now_s=wall_seconds())


def _text(source: str, token_file: str) -> str:
    if "://" not in source and not source.startswith("unix:") and _is_file(source):
        return read_text(Path(source))
    try:
        with ControlClient(source, token=read_token(token_file)) as client:
            return json.dumps(client.ask("GET", _PATH))
    except ControlError as error:
        raise StartupError(f"no points: {error}") from error


def _is_file(source: str) -> bool:
    """Whether it is meant as a file, there or not; a host's name has no slash and no such end."""
    return Path(source).exists() or "/" in source or source.endswith(".json")
