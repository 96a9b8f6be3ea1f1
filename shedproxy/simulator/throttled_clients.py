"""Hundreds of clients with a throttle each before one backend behind a real Shedder.

A run has four parts: calm, a failure of everything, the time after it, and overload. What matters:
how much of its capacity the backend's door sees in overload, how soon after the failure everybody
sends again, and whether clients are served alike.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from shedproxy.core import NS_PER_S, Criticality, RequestInfo, milliseconds
from shedproxy.simulator.backend.service import Backend, capacity_rps
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.client_throttle import Throttle
from shedproxy.simulator.clients import Chance, flow_hash_of
from shedproxy.simulator.controllers.ours import make_ours
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.proxy import Proxy
from shedproxy.simulator.statistics import jain_index
from shedproxy.simulator.tally import End, Tally
from shedproxy.workload import RandomSource
from shedproxy.workload.laws import service_law
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, ProxySpec, Scenario

__all__ = ["ThrottleFigures", "ThrottlePlan", "run_throttled"]

_TIMEOUT_NS = NS_PER_S
_WINDOW_NS = NS_PER_S
_REGAINED = 0.95
_INFO = RequestInfo(criticality=Criticality.CRITICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottlePlan:
    """How many, how long and how much. Loads are what clients want, over capacity."""

    clients: int = 500
    slots: int = 50
    service_ms: float = 20.0
    calm_s: float = 15.0
    failing_s: float = 60.0
    after_s: float = 25.0
    overload_s: float = 40.0
    calm_load: float = 0.8
    overload: float = 2.0


@dataclass(slots=True, kw_only=True)
class ThrottleFigures:
    """What it came to."""

    seen_load: float
    """What came to the backend's door in the second half of the overload, over its capacity."""
    goodput_ratio: float
    """Served then, over capacity."""
    regained_s: float
    """After the failure, until in every second 95 % of what was wanted is served, less twice its
    root for chance; infinite: never."""
    fairness: float
    """Jain's index of what clients were served in the second half of the overload."""
    wasted_sends: float
    """Of what was sent while everything failed: per second, over capacity."""


@dataclass(slots=True)
class _Run:
    """The clients, as one source of calls."""

    engine: Engine
    plan: ThrottlePlan
    throttles: list[Throttle]
    chance: Chance
    spec: ClientSpec = field(default_factory=lambda: ClientSpec(load=1.0))
    proxy: Proxy = field(init=False)
    wanted_at: list[int] = field(default_factory=list)
    sent_at: list[int] = field(default_factory=list)
    served_at: list[int] = field(default_factory=list)
    served_of: list[int] = field(default_factory=list)
    """Which client each answer went to."""
    _serial: int = 0
    _arrivals: RandomSource = field(init=False)
    _work: Callable[[], int] = field(init=False)

    def __post_init__(self) -> None:
        self._arrivals = self.chance("arrivals")
        self._work = service_law(
            "exponential",
            mean_ns=milliseconds(self.plan.service_ms),
            rng=self.chance("service"),
        )

    def ask(self, rate_rps_at: Callable[[int], float]) -> None:
        """One of them wants something; then the next."""
        now = self.engine.now
        index = int(self._arrivals.random() * len(self.throttles))
        work_ns = self._work()
        self.wanted_at.append(now)
        if self.throttles[index].may_send(now):
            self._send(index, work_ns)
        gap_ns = -math.log(1.0 - self._arrivals.random()) / rate_rps_at(now) * NS_PER_S
        self.engine.at(now + round(gap_ns), self.ask, rate_rps_at)

    def _send(self, index: int, work_ns: int) -> None:
        now = self.engine.now
        self._serial += 1
        flow_hash = flow_hash_of(index + 1, 0)
        cohort = int(self._arrivals.random() * 1024)
        gives_up_at = now + _TIMEOUT_NS
        call = Call(self._serial, self, index, _INFO, flow_hash, cohort, now, gives_up_at, work_ns)
        self.sent_at.append(now)
        self.engine.at(gives_up_at, self._leave, call)
        self.proxy.offer(call)

    def _leave(self, call: Call) -> None:
        if call.state < CallState.ANSWERED:
            self.proxy.leave(call)
            self.ended(call, End.LEFT)

    def ended(self, call: Call, end: End) -> None:
        """An answer, of whatever kind; a failure is one that nobody accepted."""
        if call.state < CallState.ANSWERED:
            call.state = CallState.LEFT if end is End.LEFT else CallState.ANSWERED
        now = self.engine.now
        is_served = end is End.SERVED
        self.throttles[call.task].note(now, is_accepted=is_served)
        if is_served:
            self.served_at.append(now)
            self.served_of.append(call.task)


def run_throttled(
    plan: ThrottlePlan, *, chance: Chance, make_throttle: Callable[[RandomSource], Throttle]
) -> ThrottleFigures:
    """One run of a plan.

    Args:
        plan: what happens.
        chance: streams by name.
        make_throttle: one for each client, with its own stream of chance.
    """
    engine = Engine()
    rng = chance("throttles")
    run = _Run(engine, plan, [make_throttle(rng) for _ in range(plan.clients)], chance)
    spec = BackendSpec(slots=plan.slots, service_ms=plan.service_ms)
    capacity = capacity_rps(spec)
    fails_at = plan.calm_s
    ends_at = fails_at + plan.failing_s
    overload_at = ends_at + plan.after_s
    until = overload_at + plan.overload_s
    outage = EventSpec(at_s=fails_at, what="outage", for_s=plan.failing_s)
    backend = Backend(engine, spec, (outage,), rng=chance("backend"), on_done=_on_done)
    tally = Tally(deadline_ns=_TIMEOUT_NS, unscored=0, keeps_tenants=False, has_classes=False)
    controller = make_ours(Scenario(), now=engine.now)
    run.proxy = Proxy(
        engine, controller, backend, ProxySpec(), cancels=False, rng=chance("proxy"), tally=tally
    )
    overload_ns = overload_at * NS_PER_S

    def rate_rps_at(now: int) -> float:
        return capacity * (plan.calm_load if now < overload_ns else plan.overload)

    engine.at(0, run.ask, rate_rps_at)
    engine.run(round(until * NS_PER_S))

    late_ns = round((overload_at + plan.overload_s / 2) * NS_PER_S)
    possible = capacity * plan.overload_s / 2
    counts = [0] * plan.clients
    for client in run.served_of[bisect_left(run.served_at, late_ns) :]:
        counts[client] += 1
    failing = _count(run.sent_at, fails_at * NS_PER_S, ends_at * NS_PER_S)
    return ThrottleFigures(
        seen_load=_count(run.sent_at, late_ns, engine.now) / possible,
        goodput_ratio=_count(run.served_at, late_ns, engine.now) / possible,
        regained_s=_regained_s(run, round(ends_at * NS_PER_S), round(overload_ns)),
        fairness=jain_index(counts),
        wasted_sends=failing / (capacity * plan.failing_s),
    )


def _on_done(call: Call, status: int) -> None:
    call.proxy.on_done(call, status)


def _regained_s(run: _Run, begin: int, end: int) -> float:
    """The last window that is not well decides."""
    regained = begin
    for at in range(begin, end - _WINDOW_NS + 1, _WINDOW_NS // 10):
        wanted = _count(run.wanted_at, at, at + _WINDOW_NS)
        needed = _REGAINED * wanted - 2 * math.sqrt(wanted)
        if _count(run.served_at, at, at + _WINDOW_NS) < needed:
            regained = at + _WINDOW_NS // 10
    return math.inf if regained >= end - _WINDOW_NS else (regained - begin) / NS_PER_S


def _count(instants: list[int], begin: float, end: float) -> int:
    return bisect_right(instants, end) - bisect_left(instants, begin)
