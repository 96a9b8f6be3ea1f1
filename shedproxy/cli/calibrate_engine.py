"""Who plays the orders of a calibration: our own player, or Locust beside us; and its proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shedproxy.core import Nanos, seconds
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.calibration.locust_player import LocustPlayer, LocustRequest
    from shedproxy.calibration.measurement import Plan
    from shedproxy.calibration.orders import Order, Played
    from shedproxy.calibration.proving import OrderPlayer, Proof
    from shedproxy.calibration.results import Calibration, VerificationRun
    from shedproxy.loadgen.crew import Crew
    from shedproxy.loadgen.requests import RequestSet

__all__ = ["ENGINES", "INTERRUPTED", "check_engine", "locust_requests", "order_player", "prove"]

ENGINES = ("builtin", "locust")
INTERRUPTED = "interrupted"


def check_engine(engine: str, master: str | None, locustfile: Path | None = None) -> str:
    """The engine, if it can be meant.

    Raises:
        typer.BadParameter: no such engine, or options that it has no use for.
    """
    if engine not in ENGINES:
        raise typer.BadParameter(
            f"{engine!r} is none of {', '.join(ENGINES)}", param_hint="--engine"
        )
    if engine == "builtin" and master is not None:
        raise typer.BadParameter("workers elsewhere are Locust's: add --engine locust")
    if engine == "builtin" and locustfile is not None:
        raise typer.BadParameter(
            "what a locustfile asks for is known only when Locust runs it: add --engine locust, or "
            "name requests with --request, --requests, --openapi or --access-log",
            param_hint="--locustfile",
        )
    if master is not None and not master.rpartition(":")[2].isdigit():
        raise typer.BadParameter(f"{master!r} is no HOST:PORT", param_hint="--master")
    return engine


@contextmanager
def order_player(
    target: str,
    plan: Plan,
    chosen: RequestSet,
    *,
    master: str | None,
    watch: Callable[[Order, float], None],
) -> Iterator[Callable[[Order], Played]]:
    """What plays an order, by the engine of the plan.

    Raises:
        StartupError: Locust is not installed.
    """
    if plan.engine == "locust":
        with _locust(target, plan, chosen, plan.deadline_ns, master=master, watch=watch) as player:
            yield player.play
        return
    from shedproxy.calibration.live import LivePlayer

    with _crew(plan) as crew:
        yield LivePlayer(
            target,
            chosen,
            deadline_ns=plan.deadline_ns,
            arrivals=plan.arrivals,
            watch=watch,
            crew=crew,
        ).play


def _locust(
    url: str,
    plan: Plan,
    chosen: RequestSet,
    deadline_ns: Nanos,
    *,
    master: str | None = None,
    watch: Callable[[Order, float], None] | None = None,
) -> LocustPlayer:
    from shedproxy.calibration.locust_player import LocustPlayer

    return LocustPlayer(
        url,
        locust_requests(chosen),
        deadline_ns=deadline_ns,
        arrivals=plan.arrivals,
        processes=plan.processes,
        master=master,
        watch=watch,
        locustfile=plan.locustfile,
    )


@contextmanager
def _crew(plan: Plan) -> Iterator[Crew | None]:
    """The generator's processes; None where one is enough, which is this one."""
    if plan.processes == 1 or plan.engine != "builtin":
        yield None
        return
    from shedproxy.loadgen.crew import Crew

    with Crew(plan.processes) as crew:
        yield crew


def prove(
    target: str,
    plan: Plan,
    chosen: RequestSet,
    calibration: Calibration,
    on_run: Callable[[int, int], None],
) -> tuple[tuple[VerificationRun, ...], str]:
    """The same load through the proxy, and why it was given up, or "".

    `on_run` is told how many runs of how many are done.

    Our own player makes it, but somebody's own tasks are Locust's to run, by processes here. Loads
    above the plan's cap on the rate are left out; so is what comes after an interruption.

    Raises:
        StartupError: the proxy does not start.
    """
    from shedproxy.calibration.live import LivePlayer
    from shedproxy.calibration.proving import UnprovedError, proof_ratios, proving_runs

    # Clients of the overload give up soon: a service in collapse is not held there.
    deadline_ns = Nanos(max(seconds(1), 2 * plan.slo.latency_ns))
    runs: list[VerificationRun] = []
    with _crew(plan) as crew:

        def open_player(url: str) -> AbstractContextManager[OrderPlayer]:
            if plan.locustfile:
                return _locust(url, plan, chosen, deadline_ns)
            return nullcontext(
                LivePlayer(url, chosen, deadline_ns=deadline_ns, arrivals=plan.arrivals, crew=crew)
            )

        proof = _proof(target, plan, calibration, open_player)
        count = 2 * len(proof_ratios(plan, proof.capacity_rps))
        try:
            for run in proving_runs(proof):
                runs.append(run)
                on_run(len(runs), count)
        except KeyboardInterrupt:
            return tuple(runs), INTERRUPTED
        except UnprovedError as problem:
            return tuple(runs), str(problem)
        except RuntimeError as problem:
            raise StartupError(
                f"the proxy did not start for the verification: {problem}"
            ) from problem
    return tuple(runs), ""


def _proof(
    target: str,
    plan: Plan,
    calibration: Calibration,
    open_player: Callable[[str], AbstractContextManager[OrderPlayer]],
) -> Proof:
    from shedproxy.calibration.profile_file import with_profile
    from shedproxy.calibration.proving import Proof, proof_length_s

    assert calibration.findings.capacity_rps is not None
    capacity_rps = calibration.findings.capacity_rps.value
    alone = calibration.findings.routes[0]
    length_s, bare_s = proof_length_s(
        capacity_rps=capacity_rps, cv=alone.law.cv if alone.law else 1.0, is_quick=plan.is_quick
    )
    return Proof(
        plan=plan,
        target=target,
        settings=with_profile(calibration, ""),
        capacity_rps=capacity_rps,
        open_player=open_player,
        alone_ns=Nanos(round(alone.baseline.value)),
        length_s=length_s,
        bare_s=bare_s,
        after_s=3.0 if plan.is_quick else 5.0,
    )


def locust_requests(chosen: RequestSet) -> list[LocustRequest]:
    """Every request in every class that it is sent in."""
    from shedproxy.calibration.locust_player import LocustRequest

    return [
        LocustRequest(
            method=spec.method,
            path=spec.path,
            name=spec.route,
            weight=weight,
            headers=spec.headers,
            body=spec.body.decode("utf-8", "replace") or None,
            route=place,
            criticality=criticality,
        )
        for place, criticality, weight in chosen.weighted()
        for spec in [chosen.specs[place]]
    ]
