"""The runs that every other run of a scenario and seed is compared with."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

from shedproxy.core import Instant
from shedproxy.simulator.backend.service import capacity_rps
from shedproxy.simulator.clients import Chance
from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.figures import References
from shedproxy.simulator.registry import oracle_factory, queue_oracle_factory
from shedproxy.simulator.world import World
from shedproxy.workload.results import percentile
from shedproxy.workload.scenario import ClientSpec, Scenario

__all__ = ["MakeChance", "calm_scenario", "run_queue_oracle", "run_references"]

MakeChance = Callable[[int], Chance]
"""Streams of chance of a seed. A function of a module, so that processes can share it."""

_CALM_LOAD = 0.8
_CALM_ARRIVALS = 12_000
_CALM_UNSCORED = 500
_CALM_KEPT = 256


def run_references(
    scenario: Scenario, seed: int, make_chance: MakeChance, *, sample_count: int
) -> References:
    """The oracle's run, that of our queue behind the true limit, and what is calm latency."""
    calm = calm_scenario(scenario)
    return References(
        oracle=_run(scenario, oracle_factory(), seed, make_chance, sample_count),
        queue_oracle=run_queue_oracle(scenario, seed, make_chance, sample_count=sample_count),
        p99_calm_ns=None if calm is None else _calm_p99_ns(calm, seed, make_chance),
    )


def run_queue_oracle(
    scenario: Scenario, seed: int, make_chance: MakeChance, *, sample_count: int = 0
) -> World:
    """The run of our queue behind the true limit alone: all that refusals are compared with."""
    return _run(scenario, queue_oracle_factory(), seed, make_chance, sample_count)


def _run(
    scenario: Scenario,
    factory: Callable[[World, Instant, int], Controller],
    seed: int,
    make_chance: MakeChance,
    sample_count: int,
) -> World:
    world = World(
        scenario=scenario,
        make_controller=factory,
        chance=make_chance(seed),
        salt=seed,
        sample_count=sample_count,
    )
    world.run()
    return world


def calm_scenario(scenario: Scenario) -> Scenario | None:
    """The same backend and mix of work at 0.8 of its capacity, without anything that happens.

    Its name says nothing, so that scenarios that differ in load only have the same one. None for a
    backend whose capacity nothing bounds.
    """
    backend = scenario.backend
    capacity = capacity_rps(backend)
    if not math.isfinite(capacity):
        return None
    loads = [_load_of(client, capacity) for client in scenario.client]
    clients = tuple(
        ClientSpec(
            name=client.name,
            load=_CALM_LOAD * load / sum(loads),
            route=client.route,
            service_factor=client.service_factor,
            law=client.law,
            cost=client.cost,
        )
        for client, load in zip(scenario.client, loads, strict=True)
    )
    if len({replace(client, name="", load=None) for client in clients}) == 1:
        clients = (replace(clients[0], name="all", load=_CALM_LOAD),)
    work = [client.service_factor * client.cost / (client.load or 1.0) for client in clients]
    rate_rps = capacity * sum(1 / share for share in work)
    return Scenario(
        duration_s=_CALM_ARRIVALS / rate_rps,
        unscored_arrivals=_CALM_UNSCORED,
        deadline_ms=scenario.deadline_or_default_ms,
        backend=backend,
        client=clients,
    )


def _load_of(client: ClientSpec, capacity: float) -> float:
    """What a population offers at factor 1, over the capacity; closed ones count as 1."""
    if client.load is not None:
        return client.load
    if client.rate_rps is None:
        return 1.0
    work = client.service_factor * client.cost * client.calls_per_task
    return client.rate_rps * work / capacity


@functools.lru_cache(_CALM_KEPT)
def _calm_p99_ns(scenario: Scenario, seed: int, make_chance: MakeChance) -> int | None:
    """The lesser 99th percentile of nobody deciding and of the oracle."""
    found = []
    for factory in (_nobody, oracle_factory()):
        world = _run(scenario, factory, seed, make_chance, 0)
        p99_ns = percentile(sorted(world.tally.latencies_ns), 0.99)
        if p99_ns is not None:
            found.append(p99_ns)
    return min(found, default=None)


def _nobody(_world: World, _now: Instant, _index: int) -> Controller:
    return NoControl()
