"""The services of `overload`, and the limits that a patient operator would have found for them.

Pure, in virtual time: `search` plays every setting of a peer before every service and keeps the one
with the shortest p99 among those that reach `REACHES` of the best goodput at every load.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shedproxy.core import (
    Instant,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Ticket,
    Verdict,
    milliseconds,
)
from shedproxy.simulator.controllers.fixed_limit import FixedControl
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.ours import make_ours
from shedproxy.simulator.controllers.protocol import Controller, Reading
from shedproxy.simulator.world import World
from shedproxy.workload.results import percentile
from shedproxy.workload.scenario import BackendSpec, ClientSpec, Scenario

__all__ = [
    "DEADLINE_MS",
    "REACHES",
    "SHAPES",
    "TUNED",
    "Outcomes",
    "QueueControl",
    "Shape",
    "Tuning",
    "play",
    "play_ours",
    "search",
]

DEADLINE_MS = 1000.0
"""All clients leave then."""
REST_S = 5.0
"""Between the first request and the others, as where live cells are made ready one by one."""
REACHES = 0.97
"""Of the best goodput: what counts as reaching it."""
SEARCH_LOADS = (1.5, 3.0, 10.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """A service of `slots` that work at a time, each for `service_ms` on average."""

    slots: int
    service_ms: float
    law: str = "constant"

    @property
    def name(self) -> str:
        law = "" if self.law == "constant" else f"-{self.law}"
        return f"{self.slots}x{self.service_ms:g}ms{law}"

    @property
    def capacity_rps(self) -> float:
        return self.slots * 1000 / self.service_ms


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was tuned by hand for one service: `limit_conn`, and `maxconn` with `timeout queue`."""

    nginx_limit: int
    haproxy_limit: int
    haproxy_queue_ms: int


_ALL = (
    Shape(4, 20),
    Shape(16, 40),
    Shape(4, 5),
    Shape(2, 200),
    Shape(8, 10, "bimodal"),
)
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in _ALL}
TUNED: Mapping[str, Tuning] = {
    "4x20ms": Tuning(7, 4, 20),
    "16x40ms": Tuning(18, 16, 10),
    "4x5ms": Tuning(7, 4, 5),
    "2x200ms": Tuning(6, 3, 200),
    "8x10ms-bimodal": Tuning(14, 8, 5),
}
"""As `python -m benchmarks overload --search` finds them."""


class QueueControl(Ledger):
    """HAProxy's `maxconn` of a server and `timeout queue`: first come, first served, or 503."""

    def __init__(self, limit: int, wait_ms: float) -> None:
        super().__init__()
        self._limit = limit
        self._wait_ns = milliseconds(wait_ms)
        self._queue: deque[Ticket] = deque()

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Permit | Ticket:
        if self.in_flight < self._limit and not self._queue:
            return self.admit(request, now=now)
        ticket = self.ticket(request, now=now, expires_at=Instant(now + self._wait_ns))
        self._queue.append(ticket)
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        self.give_back(permit)
        verdicts = list(self.tick(now=now))
        while self._queue and self.in_flight < self._limit:
            verdicts.append(self.admit_ticket(self._queue.popleft(), now=now))
        return verdicts

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        if ticket in self._queue:
            self._queue.remove(ticket)
        return NO_VERDICTS

    def next_tick_at(self) -> Instant | None:
        return self._queue[0].expires_at if self._queue else None

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        verdicts = []
        while self._queue and self._queue[0].expires_at <= now:
            late = self._queue.popleft()
            verdicts.append(self.refuse_ticket(late, RejectReason.QUEUE_TIMEOUT, now=now))
        return verdicts

    def reading(self) -> Reading:
        return Reading(self._limit, self.in_flight, len(self._queue), 0.0, 0)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one run: answers in time over what was possible, and percentiles of their latency."""

    goodput: float
    p50_ms: float
    p99_ms: float
    offered: int = 0
    """How many came."""


def play(
    shape: Shape, load: float, make: Callable[[], Controller], *, seconds: float, seed: int
) -> Outcomes:
    """Play a cold start and what follows in virtual time."""
    return _play(shape, load, lambda *_: make(), seconds=seconds, seed=seed)


def play_ours(shape: Shape, load: float, *, seconds: float, seed: int) -> Outcomes:
    """The same with our Shedder and its defaults."""
    return _play(
        shape,
        load,
        lambda world, now, _: make_ours(world.scenario, now=now),
        seconds=seconds,
        seed=seed,
    )


def _play(
    shape: Shape,
    load: float,
    make: Callable[[World, Instant, int], Controller],
    *,
    seconds: float,
    seed: int,
) -> Outcomes:
    world = World(
        scenario=Scenario(
            name=shape.name,
            duration_s=REST_S + seconds,
            deadline_ms=DEADLINE_MS,
            backend=BackendSpec(slots=shape.slots, service_ms=shape.service_ms, law=shape.law),
            client=(
                ClientSpec(name="first", arrivals="at_once", requests=1),
                ClientSpec(load=load, start_s=REST_S),
            ),
        ),
        make_controller=make,
        chance=lambda name: random.Random(f"{seed}/{name}"),
        salt=seed,
        sample_count=0,
    )
    world.run()
    served = sorted(ns for ns in world.tally.latencies_ns if ns <= milliseconds(DEADLINE_MS))
    possible = shape.capacity_rps * min(1.0, load) * seconds
    p50, p99 = percentile(served, 0.5) or 0, percentile(served, 0.99) or 0
    return Outcomes(len(served) / possible, p50 / 1e6, p99 / 1e6, world.tally.offered)


def search(shape: Shape, *, seconds: float = 20.0, seeds: int = 2) -> tuple[Tuning, float]:
    """What `TUNED` says of a shape, and the best mean goodput of all settings."""
    slots, service_ms = shape.slots, shape.service_ms
    waits_ms = sorted({max(1, round(service_ms * part)) for part in (0.1, 0.25, 0.5, 1, 2)})
    fixed = {
        (limit, 0): lambda limit=limit: FixedControl(limit)
        for limit in sorted({round(slots * part) for part in (1, 1.125, 1.25, 1.5, 1.75, 2, 3)})
    }
    queued = {
        (limit, wait_ms): lambda limit=limit, wait_ms=wait_ms: QueueControl(limit, wait_ms)
        for limit in (slots, slots + 1)
        for wait_ms in waits_ms
    }
    seen = {
        setting: [
            play(shape, load, make, seconds=seconds, seed=seed)
            for load in SEARCH_LOADS
            for seed in range(1, seeds + 1)
        ]
        for setting, make in (fixed | queued).items()
    }
    best = [
        max(column, key=lambda run: run.goodput).goodput
        for column in zip(*seen.values(), strict=True)
    ]
    nginx = _tuned(seen, best, fixed)
    haproxy = _tuned(seen, best, queued)
    return Tuning(nginx[0], haproxy[0], haproxy[1]), sum(best) / len(best)


def _tuned(
    seen: Mapping[tuple[int, int], Sequence[Outcomes]],
    best: Sequence[float],
    settings: Mapping[tuple[int, int], object],
) -> tuple[int, int]:
    """The setting with the least p99 of those that reach the best at all loads; else the best."""

    def reached(setting: tuple[int, int]) -> float:
        pairs = zip(seen[setting], best, strict=True)
        return min(run.goodput / most for run, most in pairs)

    good = [setting for setting in settings if reached(setting) >= REACHES]
    if not good:
        return max(settings, key=reached)
    return min(good, key=lambda setting: max(run.p99_ms for run in seen[setting]))
