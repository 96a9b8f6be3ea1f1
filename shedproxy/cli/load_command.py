"""`shedproxy load`: play a load at a target, open loop, and say what its clients got."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import typer

from shedproxy.cli import calibrate_options as common
from shedproxy.cli import load_options as o
from shedproxy.cli.exit_codes import EXIT_INCONCLUSIVE, EXIT_INTERRUPTED
from shedproxy.cli.load_target import check_target, generator_count, request_set
from shedproxy.cli.report_files import check_folder, write_text
from shedproxy.core import seconds

if TYPE_CHECKING:
    from pathlib import Path

    from shedproxy.calibration.live import LivePlayer
    from shedproxy.calibration.load_test import LoadResult
    from shedproxy.calibration.measurement import Slo
    from shedproxy.cli.load_plan import LoadPlan

__all__ = ["load"]


def load(
    target: o.Target, rate: o.Rate = "", shape: o.Shape = "steady", for_: o.For = "",
    arrivals: common.Arrivals = "poisson", steps: o.Steps = 5, every: o.Every = "10s",
    pulse: o.Pulse = "2s", log: o.Log = None, speed: o.Speed = "1x",
    allow_method: o.AllowMethod = None, scenario: o.ScenarioName = "",
    request: common.Request = None, requests: common.RequestsFile = None,
    openapi: common.Openapi = None, access_log: common.AccessLog = None,
    mix: common.Mix = "critical=1", slo: common.Slo = "p99<250ms, errors<0.5%",
    deadline: o.Deadline = "5s", processes: o.Processes = "1",
    max_in_flight: o.MaxInFlight = 4_000, allow_host: common.AllowHost = None,
    seed: common.Seed = 1, as_json: o.AsJson = False, out: o.Out = None,
) -> None:  # fmt: skip
    """Play a load at a service or a proxy, open loop, and say what its clients got.

    What is due is sent, whatever came back; latency counts from when a request was due. A generator
    that was late, busy or died voids the result: exit code 4. Ctrl-C ends the sending, and what
    came is told; a second one ends all. Targets must be on loopback unless --allow-host names
    them. What a service can carry is `calibrate`'s to find out.

    Examples:
        shedproxy load http://127.0.0.1:8000 --rate 200 --for 30s
        shedproxy load http://127.0.0.1:8000 --shape step --rate 50..400 --steps 8 --for 80s
        shedproxy load http://127.0.0.1:8000 --shape search --rate 50 --slo "p99<100ms"
        shedproxy load http://127.0.0.1:8000 --log access.log --speed 2x
    """
    from shedproxy.calibration.live import LivePlayer
    from shedproxy.calibration.slo_text import parse_slo
    from shedproxy.cli.load_plan import Asked, make_plan
    from shedproxy.cli.load_views import LoadProgress, load_json, load_text
    from shedproxy.loadgen.crew import Crew
    from shedproxy.settings.quantities import parse_duration

    check_target(target, allow_host or ())
    try:
        objective, deadline_ns = parse_slo(slo), parse_duration(deadline)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    asked = Asked(
        rate=rate, shape=shape, length=for_, arrivals=arrivals, step_count=steps, every=every,
        pulse=pulse, log=log, speed=speed, allowed=tuple(allow_method or ()), scenario=scenario,
        mix=mix, seed=seed,
    )  # fmt: skip
    plan = make_plan(asked, request_set(request or (), requests, openapi, access_log, mix))
    if out is not None:
        check_folder(out)
    count, progress = generator_count(processes, target), LoadProgress()
    with Crew(count) if count > 1 else nullcontext() as crew:
        player = LivePlayer(
            target, plan.requests, deadline_ns=max(deadline_ns, seconds(0.001)),
            arrivals=arrivals, watch=progress.watch, crew=crew,
        )  # fmt: skip
        with _first_interrupt(player.stop):
            result = _played(player, plan, objective, max_in_flight)
    progress.close()
    body = json.dumps(load_json(target, plan, result, objective), indent=1)
    _tell(body if as_json else load_text(target, plan, result, objective), body, out)
    if result.faults:
        raise typer.Exit(EXIT_INCONCLUSIVE)
    if result.is_stopped:
        raise typer.Exit(EXIT_INTERRUPTED)


def _tell(shown: str, body: str, out: Path | None) -> None:
    print(shown)
    if out is not None:
        write_text(out, body + "\n")


@contextmanager
def _first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    def on_interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, former)
        stop()

    former = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _played(player: LivePlayer, plan: LoadPlan, slo: Slo, in_flight_max: int) -> LoadResult:
    from shedproxy.calibration.load_test import play_load, search_load

    if plan.search is not None:
        return search_load(
            player, plan.search, slo=slo, from_rps=plan.from_rps, upto_rps=plan.upto_rps,
            length_ns=plan.length_ns, in_flight_max=in_flight_max, routes=plan.requests.routes,
        )  # fmt: skip
    return play_load(
        player, plan.schedule, slo=slo, length_ns=plan.length_ns, in_flight_max=in_flight_max,
        routes=plan.requests.routes, levels=plan.levels,
    )  # fmt: skip
