"""Every controller by name, as one starts it in front of a scenario's backend.

References have their published constants. What they must be told about the service they are told
truthfully, when they begin: the deadline; CoDel, DAGOR, Breakwater, Cinnamon and APF the number in
flight that the service does best with; SEDA its capacity, Breakwater the mean service time and the
network's. BBR reads how full the service is, in place of a processor. SEDA's step and greatest rate
go with its capacity, APF has the levels of the classes that occur, Cinnamon's limit never falls
below the slots. Constants in milliseconds or slots (CoDel's, DAGOR's, the bounds of AIMD and
Gradient2) are as published, whatever the service. That it is told is a favour, and so scores say
who had it (`KNOW_CAPACITY`): ours is told nothing (`shedproxy`), or what calibration would have
measured (`shedproxy-profile`). The oracle is told the truth at every instant.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from shedproxy.core import (
    Instant,
    Nanos,
    milliseconds,
)
from shedproxy.simulator.controllers.admission_probability import AdmissionProbabilityControl
from shedproxy.simulator.controllers.aimd import AimdControl
from shedproxy.simulator.controllers.apf import LEVELS, ApfControl
from shedproxy.simulator.controllers.bbr import BbrControl, SmoothedUse
from shedproxy.simulator.controllers.breakwater import SLO_FACTOR, BreakwaterControl
from shedproxy.simulator.controllers.cinnamon import CinnamonControl
from shedproxy.simulator.controllers.codel import CodelControl
from shedproxy.simulator.controllers.dagor import DagorControl
from shedproxy.simulator.controllers.envoy_gradient import EnvoyGradientControl
from shedproxy.simulator.controllers.fixed_limit import FixedControl
from shedproxy.simulator.controllers.gradient2 import Gradient2Control
from shedproxy.simulator.controllers.nothing import NoControl
from shedproxy.simulator.controllers.ours import make_ours
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.controllers.seda import INCREASE_RPS, RATE_MAX_RPS, SedaControl
from shedproxy.simulator.controllers.vector_arc import VectorArcControl
from shedproxy.simulator.controllers.vegas import VegasControl
from shedproxy.simulator.oracle import OracleControl
from shedproxy.simulator.queue_oracle import QueueOracleControl
from shedproxy.simulator.true_profile import profile_of
from shedproxy.simulator.world import ControllerFactory, World
from shedproxy.workload.laws import coefficient_of_variation

__all__ = [
    "CONTROLLERS",
    "KNOW_CAPACITY",
    "OURS",
    "PROFILED",
    "YARDSTICKS",
    "controller_factory",
    "oracle_factory",
    "queue_oracle_factory",
]

OURS = "shedproxy"
PROFILED = "shedproxy-profile"
YARDSTICKS = frozenset((PROFILED, "fixed"))
"""They are told what others have to find out; they take no place."""
KNOW_CAPACITY = YARDSTICKS | {"bbr", "codel-lifo", "seda", "dagor", "breakwater", "cinnamon", "apf"}
"""Told what the service can do, in one form or another; all others have to learn it."""

_SAFE_ANSWERS = 8
"""Nearly every call takes less than so many mean ones, of all laws that there are."""

_SLOTS_MAX = 1000
"""Where a backend has no bound."""


_SEDA_INCREASE = 0.02
"""Of the rate that it begins with: published are 2 a second for a service of hundreds."""
_SEDA_RATE_MAX = 10.0
"""Times that, at most."""


class _Truth(NamedTuple):
    """What a reference is told at the start, of its share of the backend."""

    slots: int
    cores: int
    """The same without calls that are on the network or downstream."""
    service_ns: Nanos
    """At the number in flight that it does best with."""
    network_ns: Nanos
    deadline_ns: Nanos
    capacity_rps: float


def _truth(world: World) -> _Truth:
    scenario, backend = world.scenario, world.backend
    share = scenario.proxy.count
    network_ns = milliseconds(scenario.backend.network_ms)
    return _Truth(
        slots=max(1, round(min(backend.best_limit(), _SLOTS_MAX) / share)),
        cores=max(1, round(_host_slots(world) / share)),
        service_ns=Nanos(max(1, backend.answer_ns() - 2 * network_ns)),
        network_ns=network_ns,
        deadline_ns=milliseconds(scenario.deadline_or_default_ms),
        capacity_rps=backend.capacity_now_rps() / share,
    )


def _host_slots(world: World) -> int:
    """Of all hosts: what has a bound of calls, if any has, is full there."""
    slots = sum(host.slots for host in world.backend.hosts if host.is_up)
    return max(slots, world.scenario.backend.reject_above or 1)


def _ours(world: World, now: Instant, _index: int) -> Controller:
    return make_ours(world.scenario, now=now)


def _profiled(world: World, now: Instant, _index: int) -> Controller:
    scenario = replace(world.scenario, profile=profile_of(world.scenario))
    return make_ours(scenario, now=now, with_profile=True)


def _none(_world: World, _now: Instant, _index: int) -> Controller:
    return NoControl()


def _fixed(world: World, _now: Instant, _index: int) -> Controller:
    return FixedControl(_truth(world).slots)


def _aimd(world: World, _now: Instant, _index: int) -> Controller:
    return AimdControl(timeout_ns=_truth(world).deadline_ns)


def _vegas(world: World, _now: Instant, index: int) -> Controller:
    return VegasControl(rng=world.chance(f"controller {index}"))


def _gradient2(_world: World, _now: Instant, _index: int) -> Controller:
    return Gradient2Control()


def _envoy_gradient(world: World, _now: Instant, index: int) -> Controller:
    return EnvoyGradientControl(rng=world.chance(f"controller {index}"))


def _vector_arc(world: World, _now: Instant, _index: int) -> Controller:
    scenario = world.scenario
    if scenario.backend.kind != "knee":
        # A client of Vector lets wait without bound; a proxy says no.
        return VectorArcControl(is_client=False)
    # Vector's own server, and so Vector's own tests; a limit that is a number does not move.
    profile = scenario.profile
    if profile is None or profile.minimum != profile.maximum:
        return VectorArcControl()
    return VectorArcControl(initial=profile.start, maximum=profile.start, decrease_ratio=1.0)


def _bbr(world: World, _now: Instant, _index: int) -> Controller:
    slots = _host_slots(world)
    return BbrControl(utilisation=SmoothedUse(lambda: min(1.0, world.backend.inside / slots)))


def _codel(world: World, _now: Instant, _index: int) -> Controller:
    return CodelControl(slots=_truth(world).slots)


def _seda(world: World, _now: Instant, _index: int) -> Controller:
    truth = _truth(world)
    rate_rps = truth.capacity_rps if math.isfinite(truth.capacity_rps) else 100.0
    return SedaControl(
        target_ns=Nanos(truth.deadline_ns // 2),
        rate_rps=rate_rps,
        increase_rps=max(INCREASE_RPS, _SEDA_INCREASE * rate_rps),
        rate_max_rps=max(RATE_MAX_RPS, _SEDA_RATE_MAX * rate_rps),
    )


def _dagor(world: World, _now: Instant, _index: int) -> Controller:
    return DagorControl(slots=_truth(world).slots)


def _breakwater(world: World, _now: Instant, _index: int) -> Controller:
    truth = _truth(world)
    return BreakwaterControl(
        slots=truth.slots,
        service_ns=truth.service_ns,
        rtt_ns=truth.network_ns or truth.service_ns,
        slo_ns=Nanos(min(SLO_FACTOR * (truth.service_ns + truth.network_ns), truth.deadline_ns)),
        client_window=max(64, 2 * truth.slots),
    )


def _cinnamon(world: World, _now: Instant, _index: int) -> Controller:
    truth = _truth(world)
    return CinnamonControl(slots=truth.slots, floor=truth.cores, timeout_ns=truth.deadline_ns)


def _apf(world: World, _now: Instant, _index: int) -> Controller:
    truth = _truth(world)
    # A quarter of the request's time, as the API server gives.
    occurring = {word for client in world.scenario.client for word, _ in client.criticality}
    levels = {each: level for each, level in LEVELS.items() if each.name.lower() in occurring}
    return ApfControl(
        slots=truth.slots, levels=levels, wait_default_ns=Nanos(truth.deadline_ns // 4)
    )


def _admission_probability(world: World, _now: Instant, index: int) -> Controller:
    return AdmissionProbabilityControl(rng=world.chance(f"controller {index}"))


CONTROLLERS: dict[str, ControllerFactory] = {
    OURS: _ours,
    PROFILED: _profiled,
    "none": _none,
    "fixed": _fixed,
    "aimd": _aimd,
    "vegas": _vegas,
    "gradient2": _gradient2,
    "envoy-gradient": _envoy_gradient,
    "vector-arc": _vector_arc,
    "bbr": _bbr,
    "codel-lifo": _codel,
    "seda": _seda,
    "dagor": _dagor,
    "breakwater": _breakwater,
    "cinnamon": _cinnamon,
    "apf": _apf,
    "admission-probability": _admission_probability,
}
"""Those that are compared, ours first; the oracle is what they are compared with."""


def controller_factory(name: str) -> ControllerFactory:
    """What makes the controllers of one run.

    Raises:
        KeyError: none is called so.
    """
    return oracle_factory() if name == "oracle" else CONTROLLERS[name]


def oracle_factory() -> ControllerFactory:
    """One mind in front of the backend, whatever the number of proxies; for one run."""
    shared: list[OracleControl] = []

    def make(world: World, _now: Instant, _index: int) -> Controller:
        if not shared:
            backend = world.backend
            wait_max_ns, safe_wait_ns = _oracle_waits_ns(world)
            shared.append(
                OracleControl(
                    best_limit=backend.best_limit,
                    wait_max_ns=wait_max_ns,
                    safe_wait_ns=safe_wait_ns,
                    inside=lambda: backend.inside,
                )
            )
        return shared[0]

    return make


def _oracle_waits_ns(world: World) -> tuple[int, int]:
    """The longest wait, and the longest after which nearly every call comes in time."""
    spec, answer_ns = world.scenario.backend, world.backend.answer_ns()
    deadline_ns = milliseconds(world.scenario.deadline_or_default_ms)
    wait_max_ns = max(0, deadline_ns - answer_ns)
    if spec.cancels and coefficient_of_variation(spec.law, spec.cv) >= 1:
        # Work stops with its client, and what has taken long will take longer still: to begin
        # late costs little, because the long ones are cut off early.
        return wait_max_ns, wait_max_ns
    safe_wait_ns = max(0, deadline_ns - _SAFE_ANSWERS * answer_ns)
    return wait_max_ns, min(safe_wait_ns, wait_max_ns // 2)


def queue_oracle_factory() -> ControllerFactory:
    """Our queue behind the true limit and without a refusal loop: see `QueueOracleControl`."""

    def make(world: World, now: Instant, _index: int) -> Controller:
        share = world.scenario.proxy.count
        return QueueOracleControl(
            world.scenario, best_limit=lambda: world.backend.best_limit() / share, now=now
        )

    return make
