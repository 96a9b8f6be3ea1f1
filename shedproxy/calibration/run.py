"""Runs a plan: orders to a player, steps to whoever keeps them. Knows neither clock nor network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shedproxy.calibration.digest import digest
from shedproxy.calibration.measurement import Phase, Plan, Step
from shedproxy.calibration.orders import Order, Played
from shedproxy.calibration.plan import Outcome, step_orders
from shedproxy.calibration.results import RouteFit
from shedproxy.calibration.routes import fit_routes
from shedproxy.core import Instant
from shedproxy.workload import RandomSource

__all__ = ["Measured", "run_plan"]


@dataclass(slots=True)
class Measured:
    """What has been measured so far; grows while a plan runs, so that nothing is lost."""

    steps: list[Step] = field(default_factory=list)
    routes: tuple[RouteFit, ...] = ()
    stopped_by: str = ""


def run_plan(
    plan: Plan,
    play: Callable[[Order], Played],
    measured: Measured,
    *,
    rng: RandomSource,
    routes: Sequence[str] = (),
    on_step: Callable[[Measured], None] = lambda _: None,
) -> None:
    """Play what the plan still lacks; steps that `measured` has are not played again.

    Args:
        plan: what is to be found out.
        play: plays one order from idle to idle.
        measured: where everything goes, step by step.
        rng: chance; equal seeds and equal steps give equal orders, which is how to go on.
        routes: names by number.
        on_step: called after each new step.
    """
    known = list(measured.steps)
    orders = step_orders(plan, rng)
    origin: int | None = None
    try:
        order = next(orders)
        while True:
            if known:
                step = known.pop(0)
            else:
                played = play(order)
                if origin is None:
                    # Going on, time begins where the last step ended.
                    spent = measured.steps[-1].ended_at_ns if measured.steps else 0
                    origin = played.started_at - spent
                step = digest(
                    order, played, slo=plan.slo, index=len(measured.steps), origin=origin,
                    routes=routes,
                )  # fmt: skip
                if step.phase is Phase.IDLE:
                    from_at = Instant(played.started_at + step.cut_ns)
                    measured.routes = fit_routes(played, routes, from_at=from_at)
                measured.steps.append(step)
                on_step(measured)
            order = orders.send(step)
    except StopIteration as end:
        outcome: Outcome = end.value
        measured.stopped_by = outcome.stopped_by
