"""What `shedproxy calibrate` measures beside the capacity: streams, and what a refusal costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from shedproxy.cli.load_target import is_loopback
from shedproxy.core import Nanos, seconds
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shedproxy.calibration.measurement import Plan
    from shedproxy.calibration.results import (
        Calibration,
        RefusalCost,
        ResidentLevel,
        ResidentsFit,
        VerificationRun,
    )
    from shedproxy.loadgen.requests import RequestSet

__all__ = ["Beside", "Streams", "price_refusals", "streams_asked", "streams_held"]

_ORDINARY_RATIO = 0.5
_ORDINARY_MAX_RPS = 500.0
_QUICK_HOLD_S, _HOLD_S = 1.5, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What goes into a calibration besides its steps."""

    runs: tuple[VerificationRun, ...] = ()
    refusal: RefusalCost | None = None
    residents: ResidentsFit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Which streams are to be opened. No `path`: none."""

    path: str = ""
    kind: str = "sse"
    most: int = 1_024


def streams_asked(path: str, kind: str, most: int, requests: Path | None = None) -> Streams:
    """The streams, if they can be meant: of the flags, else of the file of requests.

    Raises:
        typer.BadParameter: no such kind, or no path.
        StartupError: the file cannot be read, or understood.
    """
    from shedproxy.loadgen.requests import RequestSetError, stream_from_toml
    from shedproxy.loadgen.residents import KINDS

    if not path and requests is not None:
        try:
            path, kind = stream_from_toml(requests) or (path, kind)
        except RequestSetError as error:
            raise StartupError(str(error)) from None
    if kind not in KINDS:
        raise typer.BadParameter(
            f"{kind!r} is none of {', '.join(KINDS)}", param_hint="--streams-kind"
        )
    if path and (not path.startswith("/") or not path.isascii() or not path.isprintable()):
        raise typer.BadParameter(f"{path!r}: a path begins with /", param_hint="--streams")
    if " " in path:
        raise typer.BadParameter(f"{path!r} has a space", param_hint="--streams")
    return Streams(path=path, kind=kind, most=most)


def streams_held(
    target: str,
    plan: Plan,
    chosen: RequestSet,
    calibration: Calibration,
    streams: Streams,
    on_level: Callable[[ResidentLevel], None],
) -> ResidentsFit:
    """Open streams beside half of what the service carries, up to the bound."""
    from shedproxy.calibration.residents import ResidentPlan, find_residents
    from shedproxy.calibration.target_memory import memory_max, watch_port

    parts, capacity = urlsplit(target), calibration.findings.capacity_rps
    is_here = is_loopback(parts.hostname or "")
    rate = _ORDINARY_RATIO * capacity.value if capacity is not None else 10.0
    return find_residents(
        ResidentPlan(
            url=target,
            path=streams.path,
            kind=streams.kind,
            most=streams.most,
            slo=plan.slo,
            ordinary_rps=min(_ORDINARY_MAX_RPS, plan.rate_max_rps or rate, rate),
            hold_s=_QUICK_HOLD_S if plan.is_quick else _HOLD_S,
            memory=watch_port(parts.port or 80) if is_here else lambda: None,
            memory_max=memory_max() if is_here else None,
        ),
        chosen,
        on_level,
    )


def price_refusals(
    target: str, plan: Plan, chosen: RequestSet, calibration: Calibration
) -> RefusalCost | None:
    """What a refusal costs with these thresholds; None where it cannot be told.

    Raises:
        StartupError: the proxy does not start.
    """
    from shedproxy.calibration.live import LivePlayer
    from shedproxy.calibration.profile_file import with_profile
    from shedproxy.calibration.refusal_cost import measure_refusals

    assert calibration.findings.capacity_rps is not None
    deadline_ns = Nanos(max(seconds(1), 2 * plan.slo.latency_ns))
    try:
        return measure_refusals(
            target,
            with_profile(calibration, ""),
            lambda url, watch: LivePlayer(
                url, chosen, deadline_ns=deadline_ns, arrivals=plan.arrivals, watch=watch
            ),
            capacity_rps=calibration.findings.capacity_rps.value,
            is_quick=plan.is_quick,
        )
    except RuntimeError as problem:
        raise StartupError(f"the proxy did not start to be measured: {problem}") from problem
