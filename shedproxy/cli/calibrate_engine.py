"""Who plays the orders of a calibration: our own player, or Locust beside us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shedproxy.calibration.locust_player import LocustRequest
    from shedproxy.calibration.measurement import Plan
    from shedproxy.calibration.orders import Order, Played
    from shedproxy.loadgen.requests import RequestSet

__all__ = ["ENGINES", "check_engine", "locust_requests", "order_player"]

ENGINES = ("builtin", "locust")


def check_engine(engine: str, processes: int, master: str | None) -> str:
    """The engine, if it can be meant.

    Raises:
        typer.BadParameter: no such engine, or options that it has no use for.
    """
    if engine not in ENGINES:
        raise typer.BadParameter(
            f"{engine!r} is none of {', '.join(ENGINES)}", param_hint="--engine"
        )
    if engine == "builtin" and (processes > 1 or master is not None):
        raise typer.BadParameter(
            "workers are Locust's: add --engine locust", param_hint="--processes"
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
        from shedproxy.calibration.locust_player import LocustPlayer

        with LocustPlayer(
            target,
            locust_requests(chosen),
            deadline_ns=plan.deadline_ns,
            arrivals=plan.arrivals,
            processes=plan.processes,
            master=master,
            watch=watch,
        ) as player:
            yield player.play
        return
    from shedproxy.calibration.live import LivePlayer

    yield LivePlayer(
        target, chosen, deadline_ns=plan.deadline_ns, arrivals=plan.arrivals, watch=watch
    ).play


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
