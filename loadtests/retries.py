"""Retries of five layers over a failing bottom, and clients that throttle themselves, simulated

Five layers try three times each: always, from budgets of their own, or as the proxy does. Then 500
clients with a throttle each (Google's with K = 1.1 and 2, the CUBIC of the AWS SDKs, none) before a
real Shedder: a minute in which everything fails, the time after it, and overload of twice capacity.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from shedproxy.core import Instant, seconds
from shedproxy.simulator.client_throttle import (
    CubicThrottle,
    NoThrottle,
    SreThrottle,
    Throttle,
)
from shedproxy.simulator.layers import Retrying, run_layers
from shedproxy.simulator.throttled_clients import ThrottleFigures, ThrottlePlan, run_throttled
from shedproxy.workload import RandomSource

WINDOW_NS = seconds(5)
REJECT_MAX = 0.8
"""Of Google's throttle, so that it can regain the full rate within seconds: what it remembers, and
the most that it refuses (as Envoy's)."""

THROTTLES: dict[str, Callable[[RandomSource], Throttle]] = {
    "none": lambda _: NoThrottle(),
    "cubic": lambda _: CubicThrottle(now=Instant(0)),
    "sre K = 1.1": lambda rng: SreThrottle(
        rng=rng, multiplier=1.1, window_ns=WINDOW_NS, reject_max=REJECT_MAX
    ),
    "sre K = 2": lambda rng: SreThrottle(
        rng=rng, multiplier=2.0, window_ns=WINDOW_NS, reject_max=REJECT_MAX
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may be asked for."""
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")


def amplifications(seed: int, length_s: int = 60) -> dict[str, dict[str, float]]:
    """Attempts at the bottom over requests of users, by rule and share that fails."""
    found: dict[str, dict[str, float]] = {}
    for retrying in Retrying:
        # 243 attempts a request: a few seconds of it say as much.
        length = 3 if retrying is Retrying.NAIVE else length_s
        for failing in (1.0, 0.3):
            rng = random.Random(f"{seed}/bottom")
            run = run_layers(retrying, rng=rng, failing=failing, length_s=length)
            found.setdefault(retrying.name.lower(), {})[f"{failing:.0%}"] = run.amplification
    return found


def throttled(name: str, plan: ThrottlePlan, seed: int) -> ThrottleFigures:
    """Clients of one kind."""
    return run_throttled(
        plan,
        chance=lambda stream: random.Random(f"{seed}/{stream}"),
        make_throttle=THROTTLES[name],
    )


def promises(layers: dict[str, dict[str, float]], clients: dict[str, ThrottleFigures]) -> list[str]:
    """What was not kept, of the thirteenth experiment."""
    found = {
        "more than 1.10 attempts a request where everything fails": layers["ours"]["100%"] > 1.10,
        "more than 1.20 attempts a request where 30 % fail": layers["ours"]["30%"] > 1.20,
        "with K = 1.1 the backend sees more than 1.15 of its capacity": clients[
            "sre K = 1.1"
        ].seen_load
        > 1.15,
    }
    for name, figures in clients.items():
        found[f"{name}: the full rate was not regained within 10 s"] = figures.regained_s > 10
        found[f"{name}: clients are served unequally"] = figures.fairness < 0.95
    return [what for what, is_so in found.items() if is_so]


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run everything, print it, and return the exit code."""
    if not 10 <= chosen.clients <= 2000 or chosen.clients % 10:
        parser.error("10 to 2000 clients, by tens")
    plan = ThrottlePlan(clients=chosen.clients, slots=chosen.clients // 10)
    layers = amplifications(chosen.seed)
    clients = {name: throttled(name, plan, chosen.seed) for name in THROTTLES}
    broken = promises(layers, clients)
    if chosen.json:
        shown: dict[str, Any] = {name: asdict(figures) for name, figures in clients.items()}
        print(json.dumps({"amplification": layers, "clients": shown, "broken": broken}))
        return 1 if broken else 0
    for name, by_share in layers.items():
        shares = ", ".join(f"{share} failing: {times:.3f}" for share, times in by_share.items())
        print(f"{name:>12} {shares}")
    for name, figures in clients.items():
        print(
            f"{name:>12} the backend sees {figures.seen_load:.2f} of its capacity and serves "
            f"{figures.goodput_ratio:.2f}, full rate after {figures.regained_s:.1f} s, fairness "
            f"{figures.fairness:.3f}, {figures.wasted_sends:.2f} sent while all fails"
        )
    for what in broken:
        print(f"NOT KEPT: {what}")
    return 1 if broken else 0
