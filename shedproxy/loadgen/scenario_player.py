"""Plays a scenario live: its station as a process, `shedproxy run` before it, its clients in time.

What is sent when is given, so that live and simulated clients can be the same ones. Not everything
that a scenario may say can be played: `unplayable` names what cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import uvloop

from shedproxy.core import Criticality, Nanos, milliseconds, seconds, to_milliseconds
from shedproxy.loadgen.demo import ProxyProcess
from shedproxy.loadgen.player import Player, PlayerHealth
from shedproxy.loadgen.station import Station, StationReport
from shedproxy.workload import Row, Summary, summarise
from shedproxy.workload.scenario import BackendSpec, ClientSpec, ProxySpec, Scenario

__all__ = ["Intention", "LiveRun", "play_scenario", "unplayable", "unplayable_clients"]

Intention = tuple[Nanos, Criticality]
"""When something is asked, from the start, and how important it is."""

_PLAYED_OF_BACKEND = frozenset(("kind", "slots", "service_ms", "law", "cv", "recorded_ms"))
_PLAYED_OF_CLIENT = frozenset((
    "arrivals", "burst_every_ms", "burst_factor", "burst_ms", "cohort", "criticality", "load",
    "name", "quiet_factor", "ramp", "rate_rps", "requests", "schedule", "start_s", "stop_s",
))  # fmt: skip
# The noise of a simulated proxy stands for what a live one has anyway.
_PLAYED_OF_PROXY = frozenset(("noise_us", "keeps_memory"))

_LATE_MAX_RATIO = 0.1
_LATE_MAX_LEAST_NS = milliseconds(1)
"""A generator that sent, or a station that answered, later than this at its 99th percentile has
changed what it was to show: a tenth of the mean service, but no less than a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """What became of a scenario. Requests of its cold start are in `rows` and nowhere else."""

    rows: Sequence[Row]
    """In the order in which they were intended."""
    summary: Summary
    capacity_rps: float
    busy_ratio: float
    """Work that the station did over what its slots can do in the time of the scenario; what was
    under way at its end counts, so that it may be a hair above 1."""
    health: PlayerHealth
    station: StationReport
    late_max_ns: Nanos
    """Beyond this lateness the run is void."""

    @property
    def faults(self) -> list[str]:
        """Why the run is void; empty if generator and station did what they should."""
        lateness = {
            "the generator sent": self.health.send_lag_p99_ns,
            "the station answered": self.station.lateness_p99_ns,
        }
        found = [
            f"{who} {to_milliseconds(late_ns):.1f} ms late at p99 "
            f"(at most {to_milliseconds(self.late_max_ns):g})"
            for who, late_ns in lateness.items()
            if late_ns > self.late_max_ns
        ]
        if self.health.not_sent:
            found.append(f"the generator could not send {self.health.not_sent} requests")
        return found


def unplayable(scenario: Scenario) -> list[str]:
    """What the scenario says and the live player cannot do, a sentence each; empty: it plays."""
    backend = scenario.backend
    found = []
    if backend.kind != "slots":
        found.append(f'kind = "{backend.kind}" of backend: a live station has slots')
    if backend.law == "recorded":
        found.append('law = "recorded" of backend: a live station draws from named laws')
    found += _unlike(backend, BackendSpec(), _PLAYED_OF_BACKEND, "backend")
    found += unplayable_clients(scenario)
    found += [f"event {event.what} at {event.at_s:g} s" for event in scenario.event]
    found += _unlike(scenario.proxy, ProxySpec(), _PLAYED_OF_PROXY, "proxy")
    if scenario.queue_length_max is not None:
        found.append("queue_length_max: the live proxy has its defaults")
    return found


def unplayable_clients(scenario: Scenario) -> list[str]:
    """The same of its clients alone."""
    found: list[str] = []
    for client in scenario.client:
        owner = f'client "{client.name}"'
        if client.arrivals == "closed":
            found.append(f"closed arrivals of {owner}: live clients are open")
        elif client.cohort == "user":
            found.append(f'cohort = "user" of {owner}: live requests say nothing of users')
        found += _unlike(client, ClientSpec(), _PLAYED_OF_CLIENT, owner)
    return found


def _unlike(spec: Any, plain: Any, played: frozenset[str], owner: str) -> Iterator[str]:
    """Keys that were set to something else than their default, and are not played."""
    for key in (field.name for field in fields(spec)):
        value = getattr(spec, key)
        if key not in played and value != getattr(plain, key):
            yield f"{key} = {value} of {owner}"


def play_scenario(scenario: Scenario, intentions: Sequence[Intention], *, seed: int) -> LiveRun:
    """Play it from start to end, and wait for the last answer or deadline.

    Blocks for its duration and a deadline; everything is on loopback and ends with it.

    Args:
        scenario: what `unplayable` finds nothing in.
        intentions: what its clients ask, in time; more than its cold start.
        seed: of the station's work.

    Raises:
        RuntimeError: when the station or the proxy does not start.
    """
    backend = scenario.backend
    deadline_ns = milliseconds(scenario.deadline_or_default_ms)
    with (
        Station(
            slots=backend.slots,
            service_ms=backend.service_ms,
            law=backend.law,
            cv=backend.cv,
            seed=seed,
        ) as station,
        _proxy_for(intentions, station.url) as proxy,
    ):
        player = Player(f"{proxy.url}/", deadline_ns=deadline_ns)
        health = uvloop.run(player.play(intentions))
        report = station.report()
    rows = sorted(player.rows, key=lambda row: row.intended_at)
    duration_ns = seconds(scenario.duration_s)
    scored_from_ns = intentions[scenario.unscored_arrivals][0] if scenario.unscored_arrivals else 0
    return LiveRun(
        rows=rows,
        summary=summarise(
            rows[scenario.unscored_arrivals :],
            duration_ns=Nanos(duration_ns - scored_from_ns),
            deadline_ns=deadline_ns,
        ),
        capacity_rps=station.capacity_rps,
        busy_ratio=report.busy_ns / (backend.slots * duration_ns),
        health=health,
        station=report,
        late_max_ns=max(_LATE_MAX_LEAST_NS, milliseconds(backend.service_ms * _LATE_MAX_RATIO)),
    )


def _proxy_for(intentions: Sequence[Intention], upstream: str) -> ProxyProcess:
    claimed = max(criticality for _, criticality in intentions)
    return (_TrustingProxy if claimed > Criticality.CRITICAL else ProxyProcess)(upstream)


class _TrustingProxy(ProxyProcess):
    """Believes its clients, so that they may claim more than the class that everybody has."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        trust = "SHEDPROXY_SERVER__TRUSTED_PROXIES=127.0.0.1"
        self._command = ["/usr/bin/env", trust, *self._command]
