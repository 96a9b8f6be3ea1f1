"""Small simulated worlds for tests: calls by hand, and runs of a scenario under a controller."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from shedproxy.core import NS_PER_MS, Criticality, Instant, RequestInfo
from shedproxy.simulator.call import Call
from shedproxy.simulator.controllers.ours import make_ours
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.oracle import OracleControl
from shedproxy.simulator.world import ControllerFactory, World
from shedproxy.workload import RandomSource
from shedproxy.workload.scenario import BackendSpec, ClientSpec, Scenario

__all__ = ["Answers", "chance_of", "erlang_c", "make_call", "oracle", "ours", "run_world", "steady"]


def chance_of(seed: int) -> Callable[[str], RandomSource]:
    """Streams by name, equal for equal seeds in every process."""
    return lambda name: random.Random(f"{seed}/{name}")


def make_call(serial: int = 1, *, work_ns: int = NS_PER_MS, **info: Any) -> Call:
    """A call that no population sent."""
    request = RequestInfo(criticality=Criticality.CRITICAL, **info)
    return Call(serial, None, None, request, 0, 0, Instant(0), 10**18, work_ns)


class Answers:
    """What a backend has answered: (serial, status, instant)."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.seen: list[tuple[int, int, int]] = []

    def __call__(self, call: Call, status: int) -> None:
        self.seen.append((call.serial, status, self.engine.now))


def oracle(world: World, now: Instant, index: int) -> Controller:
    scenario = world.scenario
    wait_max_ms = scenario.deadline_or_default_ms - scenario.backend.service_ms
    return OracleControl(
        best_limit=world.backend.best_limit, wait_max_ns=int(wait_max_ms * NS_PER_MS)
    )


def ours(world: World, now: Instant, index: int) -> Controller:
    return make_ours(world.scenario, now=now)


def steady(
    load: float = 0.8, *, arrivals: int = 20_000, backend: BackendSpec | None = None, **more: Any
) -> Scenario:
    """Constant load on a backend, 4 slots of 20 ms unless given, for so many arrivals."""
    backend = backend or BackendSpec()
    client = {key: more.pop(key) for key in list(more) if key in ClientSpec.__slots__}
    rate_rps = load * backend.hosts * backend.slots / backend.service_ms * 1000
    return Scenario(
        duration_s=arrivals / rate_rps,
        backend=backend,
        client=(ClientSpec(rate_rps=rate_rps, **client),),
        **more,
    )


def run_world(
    scenario: Scenario, make_controller: ControllerFactory, *, seed: int = 1, **more: Any
) -> World:
    world = World(
        scenario=scenario,
        make_controller=make_controller,
        chance=chance_of(seed),
        salt=seed,
        **more,
    )
    world.run()
    return world


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival waits in M/M/c; `load` is per server, below 1."""
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
