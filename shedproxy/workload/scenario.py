"""What a scenario file may say: a backend, its clients, what happens to them, what is expected.

The same file is read by the simulator and by the live load player. Everything is data: what a word
means is said here, what it does is in the simulator's backends and clients. Lengths are in
milliseconds (`_ms`) or seconds (`_s`), rates per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "BackendSpec",
    "CellSpec",
    "ClientSpec",
    "EventSpec",
    "Expectation",
    "ProfileSpec",
    "ProxySpec",
    "Scenario",
]

Law = Literal["constant", "exponential", "lognormal", "bimodal", "uniform", "recorded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """The service behind the proxies."""

    kind: Literal["slots", "sharing", "usl", "knee"] = "slots"
    """`slots`: so many at a time, the rest queues. `sharing`: `slots` cores shared by all
    (processor sharing). `usl`: sharing with contention `alpha` and coherency `beta` (Gunther's
    law), so that throughput falls beyond the best concurrency. `knee`: no queue, latency rises
    with what is in flight and with the rate (Vector's test server)."""
    hosts: int = 1
    """So many machines, each as described; the least loaded is taken."""
    slots: int = 4
    service_ms: float = 20.0
    law: Law = "exponential"
    cv: float | None = None
    """Of `lognormal`; default 2."""
    recorded_ms: tuple[float, ...] = ()
    cancels: bool = False
    """Whether the work stops when its client leaves; if not, it goes on for nobody."""
    network_ms: float = 0.0
    """There and back; nothing is held meanwhile but the proxy's slot."""
    queue_max: int | None = None
    """The backend's own queue; beyond it the answer is 503 at once."""
    alpha: float = 0.0
    beta: float = 0.0
    lock_share: float = 0.0
    """This share of the requests works under one global lock, holding its slot while it waits."""
    downstream_ms: float = 0.0
    """A wait for somebody else that holds no slot of the backend (event-driven code)."""
    knee_scale: float = 0.0
    knee_start: float = 0.0
    knee_exponent: float = 0.0
    rate_scale: float = 0.0
    jitter: float = 0.0
    """Of `knee`: latency is service x (1 + jitter x Exp(1) + S(in flight) + S'(rate)), where S(x) =
    (x - 1) x scale + exponent^max(0, x - start) - 1 and S' = (rate - 1) x `rate_scale`."""
    reject_above: int | None = None
    reject_above_rps: int | None = None
    reject_by: Literal["defer", "drop"] = "defer"
    """Of `knee`: above that many in flight (or started within a second) it answers 503 after one
    plain service time, or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpec:
    """A population of clients of one kind."""

    name: str = "users"
    arrivals: Literal["poisson", "constant", "closed", "at_once"] = "poisson"
    """`closed`: `users` users, each asking again `think_ms` after its answer. `at_once`: `requests`
    requests at the start."""
    load: float | None = None
    """Offered load over the backend's capacity at the start, in work: a client of 1.5 offers one
    and a half times what the backend can do. Either this or `rate_rps`, for open arrivals."""
    rate_rps: float | None = None
    schedule: tuple[tuple[float, float], ...] = ()
    """(at second, factor on the load), until the next; 1.0 before the first."""
    ramp: bool = False
    """Factors change evenly between the points of `schedule` instead of by steps."""
    burst_every_ms: float = 0.0
    burst_ms: float = 0.0
    burst_factor: float = 1.0
    """Every so often, for so long, so many times the load."""
    quiet_factor: float = 1.0
    """So many times the load between bursts; 0: the population is on and off."""
    start_s: float = 0.0
    stop_s: float | None = None
    requests: int | None = None
    """Stops after so many."""
    users: int = 0
    think_ms: float = 0.0
    think_law: Law = "constant"
    criticality: tuple[tuple[str, float], ...] = (("critical", 1.0),)
    """Classes by weight."""
    tenants: int = 0
    """So many tenants; 0: no tenant key."""
    tenant_law: Literal["equal", "zipf"] = "equal"
    tenant: str = ""
    """All of one named tenant, instead."""
    calls_per_task: int = 1
    """A task is so many calls, one after the other; it fails with the first that fails."""
    cohort: Literal["request", "task", "user"] = "task"
    """What the cohort is a hash of; `user` draws one of 10 000 users."""
    session_pages: int = 1
    """A session is so many tasks of one user, `think_ms` apart, ended by the first failure."""
    timeout_ms: float | None = None
    """The client leaves after so long, each attempt; default: the scenario's deadline."""
    announces_deadline: bool = False
    """The time left travels with the request (and the proxy trusts it)."""
    attempts: int = 1
    backoff_ms: float = 0.0
    """Before the second attempt, doubling, with full jitter; 0: at once."""
    backoff_max_ms: float | None = None
    """It does not double beyond this."""
    retries_until_served: bool = False
    lane: Literal["data", "control"] = "data"
    """`control`: health checks, which pass by admission."""
    route: str = "default"
    service_factor: float = 1.0
    """This route's mean service over the backend's."""
    law: Law | None = None
    cost: int = 1
    cell: str = "default"
    """Of several cells: the one all of these go to; else their tenants are spread over them."""
    poison_ms: float = 0.0
    """The host that gets one of these is gone for so long (cells only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """Something happens to the backend or to a proxy."""

    at_s: float
    what: Literal[
        "service",
        "service_ramp",
        "slots",
        "pause",
        "pauses",
        "outage",
        "timeouts",
        "fast_failures",
        "cold_cache",
        "downstream",
        "lock",
        "lose_hosts",
        "add_hosts",
        "restart_proxy",
        "churn_proxies",
        "stall_proxy",
        "lose_zone",
        "lose_control_plane",
        "move_tenant",
    ]
    """`service`: mean service x `factor` from now on (`for_s`: then back). `service_ramp`: the
    same, reached evenly within `for_s`, to stay. `slots`: slots of each host x `factor`.
    `pause`: nothing moves for `for_s`. `pauses`: every `every_s` for `for_s` until `until_s`.
    `outage`: a `share` of the calls (all by default) is refused at once (503) for `for_s`.
    `timeouts`: a `share` of the calls never gets an answer, for `for_s`. `fast_failures`: a
    `share` of the calls fails at once with a 500, for `for_s`. `cold_cache`: service x
    `factor`, falling back to 1 as `for_s` passes. `downstream`: `factor` ms more of waiting
    that holds no slot, for `for_s`. `lock`: from now on `share` of the requests work under the
    lock. `lose_hosts` / `add_hosts`: `count` of them; new ones are slower by `factor` for
    `for_s`. `restart_proxy`: number `count` starts anew. `churn_proxies`: one restarts every
    `every_s` until `until_s`. `stall_proxy`: the loop of every proxy stands still for `for_s`.

    Of cells: `lose_zone`: the hosts of a `zone` are gone for `for_s`. `lose_control_plane`: for
    `for_s` no table comes and no report is heard. `move_tenant`: the one named `tenant` is to
    be moved to `cell`."""
    for_s: float = 0.0
    factor: float = 1.0
    share: float = 1.0
    count: int = 1
    every_s: float = 0.0
    until_s: float | None = None
    cell: str = ""
    """Where, if there are cells."""
    zone: int = 0
    """Counted from 0."""
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySpec:
    """The proxies in front of the backend."""

    count: int = 1
    noise_us: float = 0.0
    """Mean of the exponential delay that the proxy's own loop adds to what it measures."""
    keeps_memory: bool = True
    """A restarted proxy is given what the former had learnt, as from its state file."""
    upstream_timeout_ms: float | None = None
    """The proxy gives a call up after so long: 504, evidence of overload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSpec:
    """What calibration would have written: given to controllers that take a profile."""

    start: int
    minimum: int = 1
    maximum: int = 1000
    baseline_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpec:
    """One of several cells behind a proxy, with a backend of its own."""

    name: str
    backend: BackendSpec = field(default_factory=BackendSpec)
    """Of kind `slots`."""
    weight: int = 1
    """Of the keys that are spread over the cells, in proportion."""
    zones: int = 1
    """Its hosts are in so many zones, in turns."""
    hand: int = 0
    """Hosts that one tenant may use (shuffle sharding); 0: all."""
    attempts: int = 2
    """Times that a call is sent at most; again when its connection breaks, to another host."""
    spill_to: tuple[str, ...] = ()
    spill_classes: tuple[str, ...] = ()
    """Which cells take what it has no room for, and of which classes."""
    profile: ProfileSpec | None = None
    """What calibration would have written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A bound on a measured figure, by name; checked on the worst seed.

    `metric` is a figure of the result (see the simulator's scoring), `by` the controllers it
    binds.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    by: tuple[str, ...] = ("shedproxy",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One experiment."""

    schema: Literal[1] = 1
    name: str = ""
    title: str = ""
    group: str = "Other"
    source: str = ""
    explanation: str = ""
    duration_s: float = 30.0
    unscored_arrivals: int = 0
    """The first so many arrivals are the cold start: simulated, not scored."""
    deadline_ms: float | None = None
    """Clients want their answer within this; default: 1 s, or 20 mean services if longer."""
    recovers_from_s: tuple[float, ...] = ()
    """Recovery is measured from each of these instants on."""
    backend: BackendSpec = field(default_factory=BackendSpec)
    client: tuple[ClientSpec, ...] = (ClientSpec(load=1.0),)
    event: tuple[EventSpec, ...] = ()
    proxy: ProxySpec = field(default_factory=ProxySpec)
    profile: ProfileSpec | None = None
    cell: tuple[CellSpec, ...] = ()
    """Several cells in place of one backend. Keys of tenants lead to them by a table of buckets."""
    flood: tuple[str, ...] = ()
    """Of cells: clients that a second run does without, to see what the others notice of them."""
    snapshot_s: float = 1.0
    """Of cells: the proxy fetches the table so often."""
    queue_length_max: int | None = None
    expect: tuple[Expectation, ...] = ()
    controllers: tuple[str, ...] = ()
    """Only these are run besides ours; empty: all."""
    live: bool = False
    """The live player can play it against a station."""
    seeds_min: int = 5

    @property
    def deadline_or_default_ms(self) -> float:
        """The deadline, from its definition where the file gives none."""
        if self.deadline_ms is not None:
            return self.deadline_ms
        return max(1000.0, 20.0 * self.backend.service_ms)
