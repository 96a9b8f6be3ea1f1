"""One run: a scenario's backend, proxies, clients and events in virtual time, one controller."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shedproxy.core import NS_PER_MS, NS_PER_S, NS_PER_US, Instant
from shedproxy.simulator.backend.service import Backend, capacity_rps
from shedproxy.simulator.call import Call
from shedproxy.simulator.clients import Chance, Population
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.proxy import Proxy
from shedproxy.simulator.tally import Tally
from shedproxy.workload.scenario import EventSpec, Scenario

__all__ = ["UNBOUNDED_RPS", "Checking", "ControllerFactory", "Sample", "World"]

ControllerFactory = Callable[["World", Instant, int], Controller]
"""Makes the controller of proxy number i at an instant; the world tells oracles the truth."""

UNBOUNDED_RPS = 1000.0
"""The capacity that loads refer to where the backend has none."""
_TENANTS_MAX = 5_000


@dataclass(slots=True, kw_only=True)
class Sample:
    """How things stood at one instant, summed over the proxies."""

    at_ns: int
    limit: float
    in_flight: int
    queue_length: int
    refused_share: float
    baseline_ns: int
    capacity_rps: float
    inside: int
    """Calls at the backend, those that nobody waits for included."""
    demand_ratio: float
    """Demand over capacity as the controllers show it; NaN where one does not."""
    best_inside: float = math.inf
    """So many there keep it just busy."""
    baselines_ns: tuple[int, ...] = ()
    """Of each proxy; 0: it has none."""


class Checking(Protocol):
    """What watches a run (see `checkers`)."""

    def watch(self, controller: Controller) -> Controller:
        """The controller as the proxy shall see it."""

    def after_event(self) -> None:
        """Look at everything."""


@dataclass(slots=True, kw_only=True)
class World:
    """Build it, `run` it once, read it."""

    scenario: Scenario
    make_controller: ControllerFactory
    chance: Chance
    salt: int = 0
    sample_count: int = 200
    make_checkers: Callable[[World], Checking] | None = None
    engine: Engine = field(init=False, default_factory=Engine)
    tally: Tally = field(init=False)
    backend: Backend = field(init=False)
    proxies: list[Proxy] = field(init=False, default_factory=list)
    samples: list[Sample] = field(init=False, default_factory=list)
    checkers: Checking | None = field(init=False, default=None)
    _restarts: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        scenario = self.scenario
        deadline_ns = round(scenario.deadline_or_default_ms * NS_PER_MS)
        tenants = sum(max(client.tenants, bool(client.tenant)) for client in scenario.client)
        classes = {word for client in scenario.client for word, _ in client.criticality}
        self.tally = Tally(
            deadline_ns=deadline_ns,
            unscored=scenario.unscored_arrivals,
            keeps_tenants=0 < tenants <= _TENANTS_MAX,
            has_classes=len(classes) > 1,
        )
        self.backend = Backend(
            self.engine,
            scenario.backend,
            scenario.event,
            rng=self.chance("backend"),
            on_done=_on_done,
            noise_ns=round(scenario.proxy.noise_us * NS_PER_US),
        )
        if self.make_checkers is not None:
            self.checkers = self.make_checkers(self)
            self.engine.after_event = self.checkers.after_event
        self.proxies = [self._make_proxy(index) for index in range(scenario.proxy.count)]
        capacity = capacity_rps(scenario.backend)
        for client in scenario.client:
            Population(
                self.engine,
                client,
                backend=scenario.backend,
                capacity_rps=capacity if math.isfinite(capacity) else UNBOUNDED_RPS,
                deadline_ns=deadline_ns,
                salt=self.salt,
                chance=self.chance,
                offer=self._offer_single if len(self.proxies) == 1 else self._offer_in_turn,
                leave=_leave,
                tally=self.tally,
            ).start()
        actions: dict[str, Callable[[EventSpec], None]] = {
            "restart_proxy": self._on_restart,
            "churn_proxies": self._on_churn,
            "stall_proxy": self._on_stall,
        }
        for event in scenario.event:
            action = actions.get(event.what)
            if action is not None:
                self.engine.at(round(event.at_s * NS_PER_S), action, event)

    def run(self) -> None:
        """From the beginning to the scenario's end; what is under way then is left so."""
        duration_ns = round(self.scenario.duration_s * NS_PER_S)
        step_ns = max(1, duration_ns // max(1, self.sample_count))
        if self.sample_count:
            self.engine.at(step_ns, self._sample, step_ns)
        self.engine.run(duration_ns)

    # --- proxies ----------------------------------------------------------------------------

    def _make_proxy(self, index: int) -> Proxy:
        scenario = self.scenario
        controller = self.make_controller(self, self.engine.now, index)
        if self.checkers is not None:
            controller = self.checkers.watch(controller)
        return Proxy(
            self.engine,
            controller,
            self.backend,
            scenario.proxy,
            cancels=scenario.backend.cancels,
            rng=self.chance(f"proxy {index}"),
            tally=self.tally,
        )

    def _offer_single(self, call: Call) -> None:
        self.proxies[0].offer(call)

    def _offer_in_turn(self, call: Call) -> None:
        # A balancer that deals evenly, without a pattern: by the call's own number.
        index = (call.serial * 0x9E3779B97F4A7C15 >> 32) % len(self.proxies)
        self.proxies[index].offer(call)

    def _restart(self, index: int) -> None:
        """A new process takes over; the old one finishes what it has (a drain)."""
        former = self.proxies[index]
        former.is_retired = True
        proxy = self.proxies[index] = self._make_proxy(index)
        if self.scenario.proxy.keeps_memory:
            recall = getattr(former.controller, "memory", None)
            remember = getattr(proxy.controller, "remember", None)
            if recall is not None and remember is not None:
                remember(recall())

    def _on_restart(self, event: EventSpec) -> None:
        self._restart(event.count % len(self.proxies))

    def _on_churn(self, event: EventSpec) -> None:
        self._restarts += 1
        self._restart(self._restarts % len(self.proxies))
        next_ns = self.engine.now + round(event.every_s * NS_PER_S)
        if event.until_s is None or next_ns < event.until_s * NS_PER_S:
            self.engine.at(next_ns, self._on_churn, event)

    def _on_stall(self, event: EventSpec) -> None:
        for proxy in self.proxies:
            proxy.stall(round(event.for_s * NS_PER_S))
        if event.every_s:
            next_ns = self.engine.now + round(event.every_s * NS_PER_S)
            if event.until_s is None or next_ns < event.until_s * NS_PER_S:
                self.engine.at(next_ns, self._on_stall, event)

    # --- what is seen -----------------------------------------------------------------------

    def _sample(self, step_ns: int) -> None:
        readings = [proxy.controller.reading() for proxy in self.proxies]
        count = len(readings)
        self.samples.append(
            Sample(
                at_ns=self.engine.now,
                limit=sum(reading.limit for reading in readings),
                in_flight=sum(reading.in_flight for reading in readings),
                queue_length=sum(reading.queue_length for reading in readings),
                refused_share=sum(reading.refused_share for reading in readings) / count,
                baseline_ns=sum(reading.baseline_ns for reading in readings) // count,
                capacity_rps=self.backend.capacity_now_rps(),
                inside=self.backend.inside,
                demand_ratio=sum(map(_demand_ratio, self.proxies)) / count,
                best_inside=self.backend.best_limit(),
                baselines_ns=tuple(reading.baseline_ns for reading in readings),
            )
        )
        self.engine.at(self.engine.now + step_ns, self._sample, step_ns)


def _demand_ratio(proxy: Proxy) -> float:
    show: Callable[[], float] | None = getattr(proxy.controller, "demand_ratio", None)
    return math.nan if show is None else show()


def _on_done(call: Call, status: int) -> None:
    call.proxy.on_done(call, status)


def _leave(call: Call) -> None:
    if call.proxy is not None:
        call.proxy.leave(call)
