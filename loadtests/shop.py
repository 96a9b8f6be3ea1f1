"""A shop of six services and five APIs in a surge, simulated: ours before every one, and others

Five APIs share six services; checkout calls all of them. Demand goes to seven to twelve times what
it was. Before every service stands a controller: ours, DAGOR, Breakwater's credits, or none. Then
once more with an autoscaler whose workers come a minute after they were ordered.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from shedproxy.core import Instant, milliseconds
from shedproxy.simulator.controllers.breakwater import BreakwaterControl
from shedproxy.simulator.controllers.dagor import DagorControl
from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.controllers.ours import make_ours
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.shop import (
    HOSTS,
    SERVICE_MS,
    ShopFigures,
    ShopPlan,
    run_shop,
)
from shedproxy.workload.scenario import Scenario

MAKERS: dict[str, Callable[[int], Controller]] = {
    "shedproxy": lambda _: make_ours(Scenario(), now=Instant(0)),
    "dagor": lambda workers: DagorControl(slots=workers),
    "breakwater": lambda workers: BreakwaterControl(
        slots=workers, service_ns=milliseconds(SERVICE_MS), rtt_ns=milliseconds(1)
    ),
    "none": lambda _: NoControl(),
}
"""Ours is told nothing; the others how many workers there are at the beginning."""

OPTIMUM_RPS = HOSTS["catalogue"] * 1000 / SERVICE_MS
"""Every API needs the catalogue once: nobody can serve more than that in all."""

_OBJECTIVE_MS = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be asked for."""
    parser.add_argument("--surge", type=float, default=60.0, help="seconds without autoscaler")
    parser.add_argument("--scaled", type=float, default=300.0, help="seconds with one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")


def play(name: str, plan: ShopPlan, seed: int) -> ShopFigures:
    """One controller's run."""
    return run_shop(
        plan,
        chance=lambda stream: random.Random(f"{seed}/{stream}"),
        make_controller=MAKERS[name],
    )


def promises(surge: dict[str, ShopFigures], scaled: dict[str, ShopFigures]) -> list[str]:
    """What was not kept, of the tenth experiment."""
    ours = surge["shedproxy"]
    alone = scaled["none"]
    starved = [
        name
        for name, rate_rps in ours.api_goodput_rps.items()
        if rate_rps < 0.95 * ours.api_before_rps[name]
    ]
    found = {
        "goodput is below 1.9 x that of DAGOR": ours.goodput_rps < 1.9 * surge["dagor"].goodput_rps,
        "goodput is below 2.3 x that of Breakwater": ours.goodput_rps
        < 2.3 * surge["breakwater"].goodput_rps,
        "the tail is above the objective": not ours.p99_ms <= _OBJECTIVE_MS,
        f"less than before the surge: {', '.join(starved)}": bool(starved),
        "with the autoscaler less than 3.9 x what it serves alone": scaled["shedproxy"].goodput_rps
        < 3.9 * alone.goodput_rps,
        "the autoscaler reacts later": scaled["shedproxy"].scaled_at_s > alone.scaled_at_s,
    }
    return [what for what, is_so in found.items() if is_so]


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run everything, print it, and return the exit code."""
    if not 5 <= chosen.surge <= 600 or not 100 <= chosen.scaled <= 1200:
        parser.error("5 to 600 seconds of surge, 100 to 1200 with the autoscaler")
    surge_plan = ShopPlan(surge_s=chosen.surge)
    surge = {name: play(name, surge_plan, chosen.seed) for name in MAKERS}
    scaled_plan = ShopPlan(surge_s=chosen.scaled, has_autoscaler=True)
    scaled = {name: play(name, scaled_plan, chosen.seed) for name in ("shedproxy", "none")}
    broken = promises(surge, scaled)
    if chosen.json:
        shown: dict[str, Any] = {
            "surge": {name: asdict(figures) for name, figures in surge.items()},
            "scaled": {name: asdict(figures) for name, figures in scaled.items()},
        }
        print(json.dumps({**shown, "optimum_rps": OPTIMUM_RPS, "broken": broken}))
        return 1 if broken else 0
    for title, runs in (("surge", surge), ("with autoscaler", scaled)):
        for name, figures in runs.items():
            apis = ", ".join(f"{api} {rps:.0f}" for api, rps in figures.api_goodput_rps.items())
            print(
                f"{title:>15} {name:<10} {figures.goodput_rps:6.1f}/s p99 {figures.p99_ms:4.0f} ms "
                f"wasted {figures.wasted_ratio:4.0%}  {apis}"
            )
    print(f"without autoscaler at most {OPTIMUM_RPS:.0f}/s are possible")
    for what in broken:
        print(f"NOT KEPT: {what}")
    return 1 if broken else 0
