"""Workers of one host in virtual time: one page, bells that ring a little later, one limit."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

from harness.worlds import chance_of, steady
from shedproxy.core import NS_PER_US, SHARE_WORDS, CellShare, Instant
from shedproxy.simulator.call import Call
from shedproxy.simulator.controllers.ours import make_ours
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.world import World
from shedproxy.workload.scenario import BackendSpec, ProxySpec

__all__ = ["HostWorld", "goodput_of", "run_host"]

_BELL_NS = 100 * NS_PER_US
"""From the call to the loop that hears it."""


class HostWorld(World):
    """A world whose proxies are workers of one host; each has a part of the requests."""

    __slots__ = ("_bounds",)

    def deal(self, parts: Sequence[float]) -> None:
        """Of all requests, what each worker's connections bring; they add up to 1."""
        self._bounds = list(itertools.accumulate(parts))[:-1]

    def _offer_in_turn(self, call: Call) -> None:
        # Without a pattern: by the call's own number.
        chance = (call.serial * 0x9E3779B97F4A7C15 >> 32) % 65536 / 65536
        self.proxies[bisect.bisect(self._bounds, chance)].offer(call)


def run_host(
    parts: Sequence[float], *, load: float, law: Any, seconds: float, seed: int
) -> HostWorld:
    """Poisson arrivals on 4 slots of 20 ms, cold, before them a worker for each part."""
    workers = len(parts)
    backend = BackendSpec(law=law)
    rate_rps = load * backend.slots * 1000 / backend.service_ms
    scenario = steady(
        load,
        arrivals=round(rate_rps * seconds),
        backend=backend,
        proxy=ProxySpec(count=workers),
    )
    words = memoryview(bytearray(SHARE_WORDS * workers * 8)).cast("q")

    def make(world: World, now: Instant, index: int) -> Controller:
        shedder = make_ours(world.scenario, now=now)

        def wake(worker: int) -> None:
            world.engine.at(world.engine.now + _BELL_NS, hear, worker)

        def hear(worker: int) -> None:
            proxy = world.proxies[worker]
            proxy.deliver(proxy.controller.tick(now=Instant(world.engine.now)))

        if workers > 1:
            share = CellShare(
                words, workers=workers, own=index, parts=workers, part=index, wake=wake
            )
            shedder.join(world.scenario.client[0].cell, share)
        return shedder

    world = HostWorld(
        scenario=scenario, make_controller=make, chance=chance_of(seed), salt=seed, sample_count=0
    )
    world.deal(parts)
    world.run()
    return world


def goodput_of(world: HostWorld) -> float:
    """Calls answered well, in % of the capacity; the cold start counts."""
    backend = world.scenario.backend
    served = sum(proxy.served for proxy in world.proxies)
    possible = backend.slots * 1000 / backend.service_ms * world.scenario.duration_s
    return 100 * served / possible
