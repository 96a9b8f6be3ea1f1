"""A fleet in virtual time to which settings are promoted: real Shedders, the real control plane.

Two zones of two cells of three hosts each. Every host is a world of its own (clients, a service,
a proxy with a Shedder) that runs what its document says. It reports and pulls once in a period, at
a phase of its own; whoever decides is `controlplane.reconciling`, told only what hosts report.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from loadtests.policies import ROUTES, UNKNOWING, Route
from shedproxy.controlplane.fleet import Edition, Fleet, Host, Release
from shedproxy.controlplane.orders import promote, publish
from shedproxy.controlplane.reconciling import Seen, Step, note, step
from shedproxy.controlplane.releases import encode_release, release_digest
from shedproxy.controlplane.rollout import Book, Phase, RolloutRules, Scope, zones_in_flight
from shedproxy.controlplane.sightings import Sightings
from shedproxy.core import (
    NS_PER_S,
    Decision,
    Instant,
    Nanos,
    Outcome,
    Permit,
    Rejected,
    RejectReason,
    RequestInfo,
    Verdict,
    seconds,
)
from shedproxy.dataplane.classify import Classifier
from shedproxy.observability.metric_labels import DURATION_BOUNDS
from shedproxy.settings import load_settings
from shedproxy.simulator.controllers.ours import OurControl
from shedproxy.simulator.world import World
from shedproxy.snapshot import Document, StatusReport
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, ProxySpec, Scenario

__all__ = ["FALSE_ALARM", "End", "PromotedFleet"]

FALSE_ALARM: Final = 0.01
_PERIOD_S: Final = 2
"""Of reports and pulls; the control plane looks every second."""
_GIVES_UP_S: Final = 900
_RULES: Final = RolloutRules(
    bake_ns=(seconds(120), seconds(60), seconds(15), seconds(15)), requests_min=1000
)
_BOUNDS_NS: Final = [round(bound * NS_PER_S) for bound in DURATION_BOUNDS]
_OURS: Final = "http://10.0.0."
_HEAD_TIME_S: Final = 0.02
"""From the first byte of a head to its end, in the middle; of phones in trains it is far more."""
_BACKEND: Final = BackendSpec(hosts=2, slots=4, service_ms=140, law="lognormal", cv=0.6)


def _scenario(load: float) -> Scenario:
    """What a host meets: below its capacity, but for two seconds in ten."""

    def client(name: str, share: float, **more: Any) -> ClientSpec:
        return ClientSpec(name=name, route=name, load=share * load, **more)

    bursts = {"burst_every_ms": 10_000, "burst_ms": 2_000, "burst_factor": 5.0}
    return Scenario(
        name="shop",
        duration_s=_GIVES_UP_S,
        deadline_ms=12_000,
        backend=_BACKEND,
        client=(
            client("checkout", 0.2, tenants=40),
            client("items", 0.45, tenants=40, tenant_law="zipf", **bursts),
            client("acme", 0.15, tenant="acme"),
            client("reports", 0.2, tenants=5, service_factor=2, cost=1),
        ),
        event=(EventSpec(at_s=_GIVES_UP_S + 1, what="lose_hosts"),),  # so that machines can go
        proxy=ProxySpec(upstream_timeout_ms=10_000),
    )


class _Counted:
    """A Shedder that classifies by its document and keeps to its limits of what is read, and counts
    what a report says. It has one and is none: compiled, that cannot be inherited from.
    """

    __slots__ = (
        "_chance",
        "_classifier",
        "_infos",
        "_ours",
        "_proxy",
        "bounded",
        "client_errors",
        "durations",
        "errors",
        "limited",
        "requests",
        "sheds",
    )

    def __init__(self, document: Document, *, chance: random.Random, now: Instant) -> None:
        self._ours = OurControl(document.policy, now=now)
        self._chance = chance
        self.requests = self.errors = self.sheds = self.limited = self.client_errors = 0
        self.bounded = 0
        self.durations = [0] * (len(_BOUNDS_NS) + 1)
        self.classify_by(document)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ours, name)

    def classify_by(self, document: Document) -> None:
        """Requests are what this document says, from now on."""
        self._classifier = Classifier(document.classification, document.policy)
        self._infos: dict[tuple[str, bool], RequestInfo] = {}
        self._proxy = document.proxy

    def arrive(self, request: RequestInfo, **more: Any) -> Decision:
        key = request.route, request.is_retry
        info = self._infos.get(key)
        if info is None:
            method, path, headers, *_ = ROUTES[request.route]
            info = self._classifier.classify(method, path, headers, "10.0.0.99", 0).info
            info = self._infos[key] = replace(info, is_retry=request.is_retry)
        if self._is_over_limit(ROUTES[request.route]):
            self.limited += 1
            return Rejected(info, RejectReason.CONNECTION_LIMIT, more["now"], ())
        self.requests += 1
        decision = self._ours.arrive(info, **more)
        if isinstance(decision, Rejected):
            self._refused(decision)
        elif not isinstance(decision, Permit) and decision.evicted is not None:
            self.counted((decision.evicted,))
        return decision

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        self._finish(permit, outcome, now)
        return self.counted(self._ours.release(permit, outcome, now, stalled_ns))

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        self._finish(permit, outcome, now)
        return self.counted(self._ours.leave_zombie(permit, now=now, outcome=outcome))

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        return self.counted(self._ours.tick(now=now))

    def tick_due(self, *, now: Instant) -> Sequence[Verdict]:
        return self.counted(self._ours.tick_due(now=now))

    def _refused(self, decision: Rejected) -> None:
        self.sheds += 1
        self.bounded += decision.reason.is_bound

    def _is_over_limit(self, route: Route) -> bool:
        """Whether it is answered 408, 413 or 431 before anything is decided on."""
        proxy, vary = self._proxy, self._chance.lognormvariate
        body_max = proxy.body_size_max
        return (
            route.head_size * vary(0, 0.5) > proxy.head_size_max
            or (body_max > 0 and route.body_size * vary(0, 1) > body_max)
            or _HEAD_TIME_S * vary(0, 1.2) > proxy.timeouts.client_head_ns / NS_PER_S
        )

    def _finish(self, permit: Permit, outcome: Outcome, now: Instant) -> None:
        self.durations[bisect_left(_BOUNDS_NS, now - permit.arrived_at)] += 1
        urls = self._proxy.upstreams[0].urls
        is_unknown = outcome is Outcome.IGNORE and any(url.startswith(UNKNOWING) for url in urls)
        self.client_errors += is_unknown
        self.errors += not is_unknown and outcome in (Outcome.OVERLOAD, Outcome.IGNORE)

    def counted(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """These, and what they refuse is counted."""
        for _, decision in verdicts:
            if isinstance(decision, Rejected):
                self._refused(decision)
        return verdicts


class _SimulatedHost:
    """One proxy with its clients and its service."""

    def __init__(self, name: str, phase: int, document: Document, seed: str) -> None:
        self.name, self.phase = name, phase
        chance = random.Random(f"{seed} {name}")
        self.world = World(
            scenario=_scenario(0.55 * chance.uniform(0.95, 1.05)),
            make_controller=lambda _, now, __: cast(
                "Any",
                _Counted(document, chance=random.Random(f"{seed} {name} sizes"), now=now),
            ),
            chance=lambda stream: random.Random(f"{seed} {name} {stream}"),
            sample_count=0,
        )
        self.digest = ""
        self._heartbeat = 0
        self._upstreams = 2

    @property
    def control(self) -> _Counted:
        """Its Shedder."""
        found: Any = self.world.proxies[0].controller
        return found

    def take(self, document: Document, digest: str) -> None:
        """Run something else from now on, without a pause."""
        self.digest = digest
        world, proxy = self.world, self.world.proxies[0]
        now = world.engine.now
        control = self.control
        control.classify_by(document)
        proxy.give_up_after(document.proxy.timeouts.response_ns)
        urls = document.proxy.upstreams[0].urls
        ours = sum(url.startswith(_OURS) for url in urls)
        if ours != self._upstreams:
            what = "add_hosts" if ours > self._upstreams else "lose_hosts"
            count = abs(ours - self._upstreams)
            world.backend.happen(EventSpec(at_s=now / NS_PER_S, what=what, count=count))
            self._upstreams = ours
        share = 1 - ours / len(urls)
        for_s = float(_GIVES_UP_S) if share else 0.0
        event = EventSpec(at_s=now / NS_PER_S, what="fast_failures", share=share, for_s=for_s)
        world.backend.happen(event)
        verdicts = control.counted(control.apply(document.policy, now=now))
        proxy.deliver(verdicts)

    def report(self) -> StatusReport:
        """What it says upward."""
        control = self.control
        self._heartbeat += 1
        return StatusReport(
            instance=self.name,
            boot_id="1",
            heartbeat=self._heartbeat,
            snapshot_digest=self.digest,
            requests=control.requests,
            errors=control.errors,
            sheds=control.sheds,
            bounded=control.bounded,
            limited=control.limited,
            client_errors=control.client_errors,
            durations=tuple(control.durations),
        )


@dataclass(slots=True, kw_only=True)
class End:
    """How a promotion ended."""

    is_promoted: bool
    scope: Scope = Scope.INSTANCE
    """The widest that had it when it ended or was stopped."""
    cause: str = ""
    alarm_s: float = 0.0
    """After the beginning of the promotion."""
    back_after_s: float = 0.0
    """From the alarm until the first host ran the old release again."""
    zones_max: int = 0
    """Most zones in flight at one time, by what hosts really ran."""


@dataclass(slots=True, kw_only=True)
class PromotedFleet:
    """One fleet, for one promotion."""

    base: str
    candidate: str
    seed: str
    watched_s: int = 120
    """Before anything is changed, the control plane has seen so long what hosts are like."""
    hosts: list[_SimulatedHost] = field(init=False)
    fleet: Fleet = field(init=False)
    _documents: dict[str, Document] = field(init=False, default_factory=dict)
    _reports: dict[str, StatusReport] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        digests = [self._publish(text) for text in (self.base, self.candidate)]
        named = tuple(
            Host(name=f"{zone}-{cell}-{number}", cell=f"{zone}-{cell}", zone=zone)
            for zone in ("east", "west")
            for cell in ("blue", "green")
            for number in range(3)
        )
        document = self._documents[digests[0]]
        self.hosts = [
            _SimulatedHost(host.name, 7 * index % (_PERIOD_S * 10), document, self.seed)
            for index, host in enumerate(named)
        ]
        fleet = Fleet(hosts=named, book=Book(base=digests[0]))
        for digest in digests:
            fleet = publish(fleet, Release(digest=digest, at_s=0, by="somebody"))
        self.fleet = _with_editions(fleet, 1)
        for host in self.hosts:
            host.take(document, digests[0])

    def _publish(self, text: str) -> str:
        digest = release_digest(encode_release({"": text}))
        self._documents[digest] = load_settings(Path("shed.toml"), text=text).document
        return digest

    def run(self) -> End:
        """Promote the candidate, until it is everywhere or nowhere."""
        digest = list(self._documents)[-1]
        sightings = Sightings(silence_ns=seconds(15), take_ns=seconds(30))
        seen, end = Seen(), End(is_promoted=False)
        alarm_at_s = 0.0
        had_it: list[_SimulatedHost] = []
        for tick in range(1, _GIVES_UP_S * 10):
            now_s = tick / 10
            self._live(tick)
            end.zones_max = max(end.zones_max, self._zones())
            if had_it and any(host.digest != digest for host in had_it):
                end.back_after_s, had_it = now_s - alarm_at_s, []
            if tick == self.watched_s * 10:
                self.fleet = _with_editions(promote(self.fleet, digest, rules=_RULES), tick)
            if tick % 10:
                continue
            now = Instant(tick * NS_PER_S // 10)
            intervals = sightings.take(self.fleet, self._reports, now)
            note(self.fleet, seen, intervals, Nanos(NS_PER_S))
            while (found := self._step(sightings, seen, now, tick)) is not None:
                seen = found.seen
            rollout = self.fleet.book.rollout
            if rollout is None:
                if tick > self.watched_s * 10:
                    end.is_promoted = self.fleet.book.base == digest
                    return end
            elif rollout.phase is not Phase.ROLLING_BACK:
                end.scope = rollout.stages[rollout.stage].scope
            elif not end.cause:
                end.cause, alarm_at_s = rollout.cause, now_s
                end.alarm_s = now_s - self.watched_s
                had_it = [host for host in self.hosts if host.digest == digest]
        return end

    def _step(self, sightings: Sightings, seen: Seen, now: Instant, tick: int) -> Step | None:
        found = step(
            self.fleet, seen, sightings, now=now, now_s=tick // 10, false_alarm=FALSE_ALARM
        )
        if found is not None:
            self.fleet = _with_editions(found.fleet, tick)
        return found

    def _live(self, tick: int) -> None:
        """A tenth of a second; whose turn it is reports, then pulls."""
        editions = {each.host: each for each in self.fleet.editions}
        for host in self.hosts:
            host.world.engine.run(tick * NS_PER_S // 10)
            if tick % (_PERIOD_S * 10) == host.phase:
                self._reports[host.name] = host.report()
                wanted = editions[host.name].digest
                if wanted != host.digest:
                    host.take(self._documents[wanted], wanted)

    def _zones(self) -> int:
        zone_of = {host.name: host.zone for host in self.fleet.hosts}
        running = {host.name: host.digest for host in self.hosts}
        return len(zones_in_flight(self.fleet.book, running, zone_of))


def _with_editions(fleet: Fleet, revision: int) -> Fleet:
    """Every host is given what it is to run."""
    before: Mapping[str, Edition] = {each.host: each for each in fleet.editions}
    editions = []
    for host, release in fleet.wanted().items():
        known = before.get(host)
        if known is None or known.release != release:
            known = Edition(
                host=host, revision=revision, release=release, key=release, digest=release
            )
        editions.append(known)
    return replace(fleet, editions=tuple(editions))
