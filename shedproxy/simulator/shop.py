"""A shop of six services and five APIs that share them, in a surge, with and without an autoscaler.

After the experiments of TopFull (SIGCOMM 2024: Online Boutique, APIs surge to 7 to 12 times as
much). An API calls its services one after the other; checkout calls all six. Before every service
is a proxy with a controller of its own; all calls of a request carry its user's cohort. A request
counts if it is through all of them within a second. The autoscaler looks at the busy share of each
service's workers every ten seconds, and what it orders is there a minute later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from shedproxy.core import NS_PER_MS, NS_PER_S, Criticality, RequestInfo, milliseconds
from shedproxy.simulator.backend.service import Backend
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.clients import Chance, flow_hash_of
from shedproxy.simulator.controllers.protocol import Controller
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.proxy import Proxy
from shedproxy.simulator.tally import End, Tally
from shedproxy.workload import RandomSource
from shedproxy.workload.laws import service_law
from shedproxy.workload.results import percentile
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, ProxySpec

__all__ = ["APIS", "SERVICES", "Api", "ShopFigures", "ShopPlan", "run_shop"]

SERVICE_MS = 20.0
_OBJECTIVE_NS = NS_PER_S
_USERS = 10_000
_COHORTS = 1024
_LOOK_NS = 10 * NS_PER_S
_UTILISATION = 0.6
"""Of workers: what the autoscaler aims at."""
_HOSTS_MAX = 100

SERVICES = ("cart", "catalogue", "currency", "shipping", "payment", "recommendation")
HOSTS = {"cart": 2, "catalogue": 4, "currency": 3, "shipping": 1, "payment": 1, "recommendation": 2}
"""Workers at the beginning, of 50 calls a second each: busy for 60 % or less before the surge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What is asked for, and which services that takes, in order."""

    name: str
    services: tuple[str, ...]
    rate_rps: float
    surge: float
    """So many times the rate in the surge."""


APIS = (
    Api(name="checkout", services=SERVICES, rate_rps=3, surge=12),
    Api(
        name="product",
        services=("currency", "catalogue", "recommendation"),
        rate_rps=30,
        surge=8,
    ),
    Api(
        name="cart",
        services=("cart", "catalogue", "currency", "shipping"),
        rate_rps=20,
        surge=10,
    ),
    Api(name="add to cart", services=("catalogue", "cart"), rate_rps=20, surge=10),
    Api(name="home", services=("currency", "catalogue"), rate_rps=27, surge=7),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopPlan:
    """How long, and whether workers are added."""

    calm_s: float = 10.0
    surge_s: float = 60.0
    has_autoscaler: bool = False
    lag_s: float = 60.0


@dataclass(slots=True, kw_only=True)
class ShopFigures:
    """Of the surge."""

    goodput_rps: float
    """Requests through all of their services in time, all APIs."""
    api_goodput_rps: dict[str, float]
    api_before_rps: dict[str, float]
    """What each asked for before the surge."""
    p99_ms: float
    """Of those; NaN without any."""
    wasted_ratio: float
    """Of the work done: for requests that came to nothing."""
    scaled_at_s: float
    """When the autoscaler first ordered more, from the surge's begin; infinite: never."""


class _Request:
    __slots__ = (
        "api",
        "cohort",
        "done",
        "flow_hash",
        "gives_up_at",
        "is_over",
        "spent_ns",
        "works",
    )

    def __init__(self, api: Api, flow_hash: int, cohort: int, works: list[int], now: int) -> None:
        self.api = api
        self.flow_hash = flow_hash
        self.cohort = cohort
        self.works = works
        self.done = 0
        self.spent_ns = 0
        self.is_over = False
        self.gives_up_at = now + _OBJECTIVE_NS


@dataclass(slots=True)
class _Service:
    name: str
    proxy: Proxy
    backend: Backend
    ordered: int
    busy_ns: int = 0


@dataclass(slots=True)
class _Shop:
    engine: Engine
    plan: ShopPlan
    chance: Chance
    spec: ClientSpec = field(default_factory=lambda: ClientSpec(load=1.0))
    services: dict[str, _Service] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    latencies_ns: list[int] = field(default_factory=list)
    useful_ns: int = 0
    scaled_at: float = math.inf
    _serial: int = 0
    _work: Callable[[], int] = field(init=False)

    def __post_init__(self) -> None:
        self._work = service_law(
            "exponential", mean_ns=milliseconds(SERVICE_MS), rng=self.chance("service")
        )

    # --- requests ---------------------------------------------------------------------------

    def arrive(self, asked: tuple[Api, RandomSource]) -> None:
        """A request of one API; then the next."""
        api, rng = asked
        now = self.engine.now
        user = int(rng.random() * _USERS)
        cohort = flow_hash_of(user, 0) % _COHORTS
        works = [self._work() for _ in api.services]
        flow_hash = flow_hash_of(APIS.index(api) + 1, 0)
        self._call(_Request(api, flow_hash, cohort, works, now))
        is_surge = now >= self.plan.calm_s * NS_PER_S
        rate_rps = api.rate_rps * (api.surge if is_surge else 1.0)
        gap_ns = -math.log(1.0 - rng.random()) / rate_rps * NS_PER_S
        self.engine.at(now + round(gap_ns), self.arrive, asked)

    def _call(self, request: _Request) -> None:
        now = self.engine.now
        self._serial += 1
        call = Call(
            self._serial,
            self,
            request,
            _INFO,
            request.flow_hash,
            request.cohort,
            now,
            request.gives_up_at,
            request.works[request.done],
        )
        self.engine.at(request.gives_up_at, self._leave, call)
        self.services[request.api.services[request.done]].proxy.offer(call)

    def _leave(self, call: Call) -> None:
        if call.state < CallState.ANSWERED:
            call.proxy.leave(call)
            self.ended(call, End.LEFT)

    def ended(self, call: Call, end: End) -> None:
        """Of one call: the next, or the end of the request."""
        if call.state < CallState.ANSWERED:
            call.state = CallState.LEFT if end is End.LEFT else CallState.ANSWERED
        request: _Request = call.task
        if end is not End.SERVED:
            return
        request.spent_ns += call.spent_ns
        request.done += 1
        if request.done < len(request.works):
            self.engine.at(self.engine.now, self._next, request)
            return
        if self.engine.now >= self.plan.calm_s * NS_PER_S:
            self.served[request.api.name] = self.served.get(request.api.name, 0) + 1
            self.latencies_ns.append(self.engine.now - request.gives_up_at + _OBJECTIVE_NS)
            self.useful_ns += request.spent_ns

    def _next(self, request: _Request) -> None:
        if self.engine.now < request.gives_up_at:
            self._call(request)

    # --- the autoscaler ---------------------------------------------------------------------

    def look(self, _: None) -> None:
        """As the horizontal autoscaler of Kubernetes: workers by busy share over its aim."""
        now = self.engine.now
        for service in self.services.values():
            busy_ns = service.backend.busy_ns
            workers = len(service.backend.hosts)
            busy = (busy_ns - service.busy_ns) / (workers * _LOOK_NS)
            service.busy_ns = busy_ns
            wanted = min(_HOSTS_MAX, math.ceil(workers * busy / _UTILISATION - 0.1))
            if wanted > service.ordered:
                since_s = now / NS_PER_S - self.plan.calm_s
                if since_s >= 0:
                    self.scaled_at = min(self.scaled_at, since_s)
                more, service.ordered = wanted - service.ordered, wanted
                at_s = now / NS_PER_S + self.plan.lag_s
                service.backend.happen(EventSpec(at_s=at_s, what="add_hosts", count=more))
        self.engine.at(now + _LOOK_NS, self.look, None)


_INFO = RequestInfo(criticality=Criticality.CRITICAL)


def run_shop(
    plan: ShopPlan, *, chance: Chance, make_controller: Callable[[int], Controller]
) -> ShopFigures:
    """One run.

    Args:
        plan: what happens.
        chance: streams by name.
        make_controller: the controller before a service with so many workers.
    """
    engine = Engine()
    shop = _Shop(engine, plan, chance)
    for name in SERVICES:
        count = HOSTS[name]
        spec = BackendSpec(hosts=count, slots=1, service_ms=SERVICE_MS)
        backend = Backend(engine, spec, (), rng=chance(f"{name} backend"), on_done=_on_done)
        tally = Tally(deadline_ns=_OBJECTIVE_NS, unscored=0, keeps_tenants=False, has_classes=False)
        proxy = Proxy(
            engine,
            make_controller(count),
            backend,
            ProxySpec(),
            cancels=False,
            rng=chance(f"{name} proxy"),
            tally=tally,
        )
        shop.services[name] = _Service(name, proxy, backend, count)
    for api in APIS:
        engine.at(0, shop.arrive, (api, chance(f"{api.name} arrivals")))
    engine.at(_LOOK_NS, shop.look if plan.has_autoscaler else _nothing, None)
    calm_ns = round(plan.calm_s * NS_PER_S)
    engine.run(calm_ns)
    before_ns = sum(service.backend.busy_ns for service in shop.services.values())
    engine.run(calm_ns + round(plan.surge_s * NS_PER_S))
    busy_ns = sum(service.backend.busy_ns for service in shop.services.values()) - before_ns
    p99_ns = percentile(sorted(shop.latencies_ns), 0.99)
    return ShopFigures(
        goodput_rps=len(shop.latencies_ns) / plan.surge_s,
        api_goodput_rps={a.name: shop.served.get(a.name, 0) / plan.surge_s for a in APIS},
        api_before_rps={api.name: api.rate_rps for api in APIS},
        p99_ms=math.nan if p99_ns is None else p99_ns / NS_PER_MS,
        wasted_ratio=1 - shop.useful_ns / busy_ns if busy_ns else 0.0,
        scaled_at_s=shop.scaled_at,
    )


def _on_done(call: Call, status: int) -> None:
    call.proxy.on_done(call, status)


def _nothing(_: None) -> None:
    return
