"""`shedproxy calibrate`: measure a service, write what it can carry, prove it."""

from __future__ import annotations

import os
import random
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from shedproxy.cli import calibrate_options as o
from shedproxy.cli.calibrate_beside import (
    Beside,
    Streams,
    price_refusals,
    streams_asked,
    streams_held,
)
from shedproxy.cli.calibrate_engine import INTERRUPTED, check_engine, order_player, prove
from shedproxy.cli.calibrate_observed import observed_calibration
from shedproxy.cli.exit_codes import EXIT_INCONCLUSIVE, EXIT_INTERRUPTED
from shedproxy.cli.load_target import check_target, generator_count, request_set
from shedproxy.cli.output import print_problems
from shedproxy.cli.report_files import check_folder, write_views
from shedproxy.clock import wall_seconds
from shedproxy.core import Nanos, seconds
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.calibration.measurement import Plan
    from shedproxy.calibration.results import Calibration
    from shedproxy.calibration.run import Measured
    from shedproxy.calibration.storage import CalibrationFolder
    from shedproxy.cli.calibrate_view import CalibrationView
    from shedproxy.loadgen.requests import RequestSet

__all__ = ["calibrate"]

_REPEATS, _QUICK_REPEATS, _LONG_REPEATS = 5, 3, 8
_LONG_S = 480.0
_DEADLINE_MIN_NS = seconds(5)


def calibrate(
    context: typer.Context, target: o.Target = "", slo: o.Slo = "p99<250ms, errors<0.5%",
    budget: o.Budget = None, quick: o.Quick = False, request: o.Request = None,
    requests: o.RequestsFile = None, openapi: o.Openapi = None, access_log: o.AccessLog = None,
    mix: o.Mix = "critical=1", arrivals: o.Arrivals = "poisson", repeats: o.Repeats = None,
    seed: o.Seed = 1, max_rate: o.MaxRate = None, max_in_flight: o.MaxInFlight = 0,
    allow_host: o.AllowHost = None, verify: o.Verify = True, write: o.Write = None,
    diff: o.Diff = None, out: o.Out = None, resume: o.Resume = None, engine: o.Engine = "builtin",
    processes: o.Processes = "1", master: o.Master = None, from_observe: o.FromObserve = "",
    cell: o.Cell = "default", token_file: o.TokenFile = "", streams: o.StreamsPath = "",
    streams_kind: o.StreamsKind = "sse", streams_max: o.StreamsMax = 1_024,
    locustfile: o.Locustfile = None, build: o.Build = "",
) -> None:  # fmt: skip
    """Measure what a service can carry, write the thresholds, and prove them.

    Plays open-loop load at the service itself, in steps of random order, up to a little more than
    it can carry, never for long. Then it runs through the proxy at 0.8, 1.5 and 3 times capacity,
    without and with the thresholds. Targets are on loopback unless --allow-host names them. Where
    nothing may be loaded, --from-observe fits what a proxy saw.

    Examples:
        shedproxy calibrate http://127.0.0.1:8000 --slo "p99<250ms, errors<0.5%"
        shedproxy calibrate http://127.0.0.1:8000 --quick --write shedproxy.toml
        shedproxy calibrate --from-observe http://127.0.0.1:9900 --write shedproxy.toml
    """
    from shedproxy.calibration.storage import CalibrationFolder

    started_s, console = wall_seconds(), Console(stderr=True, highlight=False)
    _check_files(write, diff)
    if from_observe:
        calibration = observed_calibration(
            from_observe, cell=cell, slo=slo, token_file=token_file, started_s=started_s,
            build=o.build_named(build, cell, write, diff),
        )  # fmt: skip
        folder = CalibrationFolder(out or _default_folder(started_s))
        _hand_over(console, calibration, folder, cell=cell, write=write, diff=diff)
        return
    held = streams_asked(streams, streams_kind, streams_max, requests)
    if resume is not None:
        folder = CalibrationFolder(resume)
        known_target, plan, chosen, measured = folder.resume()
        target = o.resumed_target(context, known_target, target)
        check_target(target, allow_host or ())
    else:
        check_engine(engine, master, locustfile)
        check_target(target, allow_host or ())
        chosen = _chosen(held, locustfile, request, requests, openapi, access_log, mix)
        plan = _plan(
            slo=slo, budget=budget, quick=quick, arrivals=arrivals, repeats=repeats, seed=seed,
            max_rate=max_rate, max_in_flight=max_in_flight, chosen=chosen, mix=mix,
            engine=engine, processes=generator_count(processes, target), locustfile=locustfile,
            target_build=o.build_named(build, cell, write, diff),
        )  # fmt: skip
        folder = CalibrationFolder(out or _default_folder(started_s))
        measured = folder.begin(plan, target, chosen)
    calibration = _measured(
        console, target, plan, chosen, measured, folder, started_s, held,
        verifies=verify, master=master,
    )  # fmt: skip
    _hand_over(console, calibration, folder, cell=cell, write=write, diff=diff)


def _measured(
    console: Console,
    target: str,
    plan: Plan,
    chosen: RequestSet,
    measured: Measured,
    folder: CalibrationFolder,
    started_s: float,
    streams: Streams,
    *,
    verifies: bool,
    master: str | None,
) -> Calibration:
    from shedproxy.calibration.verdict import LOAD_RATIOS
    from shedproxy.cli.calibrate_view import CalibrationView

    with CalibrationView(console, plan) as view:
        _measure(target, plan, chosen, measured, folder, view, master)
        beside = Beside()
        calibration = _conclude(target, plan, measured, started_s, beside)
        if measured.stopped_by:
            return calibration
        # Proxies that do not start end the command: what is known by now is not lost with them.
        folder.finish(calibration)
        try:
            if streams.path:
                residents = streams_held(
                    target, plan, chosen, calibration, streams, view.resident_level
                )
                beside = replace(beside, residents=residents)
                calibration = _conclude(target, plan, measured, started_s, beside)
            if verifies and calibration.thresholds is not None:
                runs, measured.stopped_by = prove(target, plan, chosen, calibration, view.proving)
                beside = replace(beside, runs=runs)
                # Of somebody's tasks nobody knows how to send one alone.
                if len(runs) == 2 * len(LOAD_RATIOS) and not plan.locustfile:
                    refusal = price_refusals(target, plan, chosen, calibration)
                    beside = replace(beside, refusal=refusal)
        except KeyboardInterrupt:
            measured.stopped_by = INTERRUPTED
        return _conclude(target, plan, measured, started_s, beside)


def _hand_over(
    console: Console,
    calibration: Calibration,
    folder: CalibrationFolder,
    *,
    cell: str,
    write: Path | None,
    diff: Path | None,
) -> None:
    from shedproxy.calibration.measurement import Confidence
    from shedproxy.calibration.profile_file import for_cell, write_profile
    from shedproxy.calibration.target_build import build_problems
    from shedproxy.cli.calibrate_view import show_result

    calibration = for_cell(calibration, cell)
    # Whatever is the matter with these files, what was measured is kept.
    folder.finish(calibration)
    for file in filter(None, (write, diff)):
        calibration = _with_changes(calibration, file)
    report = folder.finish(calibration)
    write_views(folder.path, calibration)
    show_result(console, calibration, report)
    for file in dict.fromkeys(filter(None, (diff, write))):
        print_problems(list(build_problems(calibration, file)))
    is_conclusive = calibration.verdict.confidence is not Confidence.INCONCLUSIVE
    is_interrupted = calibration.provenance.stopped_by == INTERRUPTED
    if write is not None and is_conclusive and not is_interrupted:
        try:
            write_profile(calibration, write)
        except (OSError, ValueError) as error:
            raise StartupError(f"cannot write {write}: {error}") from error
        console.print(f"profile written to {write}")
    elif write is not None:
        why = "interrupted" if is_interrupted else "inconclusive"
        console.print(f"nothing written to {write}: the calibration is {why}")
    if not is_conclusive:
        raise typer.Exit(EXIT_INCONCLUSIVE)
    if is_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _measure(
    target: str,
    plan: Plan,
    chosen: RequestSet,
    measured: Measured,
    folder: CalibrationFolder,
    view: CalibrationView,
    master: str | None,
) -> None:
    from shedproxy.calibration.run import run_plan

    def on_step(measured: Measured) -> None:
        folder.keep(measured)
        view.step(measured.steps[-1])

    try:
        with order_player(target, plan, chosen, master=master, watch=view.watch) as play:
            run_plan(
                plan,
                play,
                measured,
                rng=random.Random(plan.seed),  # noqa: S311 - repeatable, not a secret
                routes=chosen.routes,
                on_step=on_step,
            )
    except KeyboardInterrupt:
        measured.stopped_by = INTERRUPTED


def _conclude(
    target: str,
    plan: Plan,
    measured: Measured,
    started_s: float,
    beside: Beside,
) -> Calibration:
    from shedproxy.calibration.conclude import conclude
    from shedproxy.calibration.provenance import make_provenance

    made = make_provenance(
        target=target,
        command=shlex.join(["shedproxy", *sys.argv[1:]]),
        started_s=started_s,
        stopped_by=measured.stopped_by,
        target_build=plan.target_build,
    )
    return conclude(
        plan,
        measured,
        made,
        rng=random.Random(plan.seed),  # noqa: S311 - of resampling
        verification=beside.runs,
        refusal=beside.refusal,
        residents=beside.residents,
    )


def _check_files(write: Path | None, diff: Path | None) -> None:
    """Say before minutes of measuring that a file is not fit for its result."""
    from shedproxy.calibration.profile_file import check_profile_file

    for file in filter(None, (write, diff)):
        check_folder(file)
        try:
            check_profile_file(file)
        except (OSError, ValueError) as error:
            raise StartupError(f"a profile cannot go into {file}: {error}") from error
    if write is not None and not os.access(write.absolute().parent, os.W_OK):
        raise StartupError(f"cannot write {write}: its folder is not yours to write in")


def _with_changes(calibration: Calibration, file: Path) -> Calibration:
    """The same, with what would change in this file."""
    from shedproxy.calibration.profile_file import profile_changes

    if calibration.thresholds is None:
        return calibration
    try:
        changes = profile_changes(calibration, file.read_text() if file.exists() else "")
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot read {file}: {error}") from error
    return replace(calibration, thresholds=replace(calibration.thresholds, changes=changes))


def _plan(
    *,
    slo: str,
    budget: str | None,
    quick: bool,
    arrivals: str,
    repeats: int | None,
    seed: int,
    max_rate: float | None,
    max_in_flight: int,
    chosen: RequestSet,
    mix: str,
    engine: str,
    processes: int,
    locustfile: Path | None,
    target_build: str,
) -> Plan:
    from shedproxy.calibration.measurement import Plan, Share
    from shedproxy.calibration.slo_text import parse_slo
    from shedproxy.loadgen.requests import parse_mix
    from shedproxy.settings.quantities import parse_duration

    try:
        objective = parse_slo(slo)
        budget_ns = parse_duration(budget or (o.QUICK_BUDGET if quick else o.BUDGET))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not seconds(20) <= budget_ns <= seconds(7200):
        raise typer.BadParameter(f"a budget is from 20s to 2h, not {budget}")
    if arrivals not in {"poisson", "constant"}:
        raise typer.BadParameter(f"{arrivals!r}: arrivals are poisson or constant")
    usual = _LONG_REPEATS if budget_ns >= seconds(_LONG_S) else _REPEATS
    classes = parse_mix(mix)
    total, weights = sum(classes.values()), sum(spec.weight for spec in chosen.specs)
    return Plan(
        slo=objective,
        budget_ns=budget_ns,
        deadline_ns=Nanos(max(_DEADLINE_MIN_NS, 4 * objective.latency_ns)),
        arrivals=arrivals,
        engine=engine,
        processes=processes,
        seed=seed,
        repeats=repeats or (_QUICK_REPEATS if quick else usual),
        rate_max_rps=max_rate,
        in_flight_max=max_in_flight,
        classes=tuple(Share(name=one.label, ratio=w / total) for one, w in classes.items()),
        routes=tuple(Share(name=spec.route, ratio=spec.weight / weights) for spec in chosen.specs),
        is_quick=quick,
        locustfile=str(locustfile or ""),
        target_build=target_build,
    )


def _chosen(
    streams: Streams,
    locustfile: Path | None,
    request: list[str] | None,
    requests: Path | None,
    openapi: Path | None,
    access_log: Path | None,
    mix: str,
) -> RequestSet:
    if locustfile is None:
        return request_set(request or (), requests, openapi, access_log, mix)
    from shedproxy.calibration.locust_file import read_locustfile
    from shedproxy.loadgen.requests import RequestSet

    if streams.path:
        raise typer.BadParameter("streams are held beside named requests, not a locustfile's")
    if request or requests or openapi or access_log:
        raise typer.BadParameter("a locustfile brings its own requests: leave the others out")
    return RequestSet(read_locustfile(locustfile))


def _default_folder(started_s: float) -> Path:
    from shedproxy.calibration.provenance import timestamp

    return Path("calibration") / timestamp(started_s).replace(":", "")
