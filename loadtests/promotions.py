"""Promotions of good and bad releases through a fleet in virtual time: what is stopped, and where.

The control plane's own step decides, on reports that hosts make of seeded traffic: each host has
its rate and its ways, failures come in clumps, load and latency follow the hour and jump for
everybody now and then. Of the bad releases some fail, some are slow, some refuse what they should
serve, some have a limit of sizes that is too small, some send requests where nobody knows them,
some are refused by hosts, some end them: each does harm as `controlplane.gates` states it. The good
ones do nothing.

Exit code 0: at least `--stopped` of the bad ones were stopped at one instance or one cell, rolling
back began within 10 s of the alarm, at most `--false` of the good ones were rolled back, and never
were two zones in flight. 1: not so.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import random
import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from shedproxy.controlplane import orders
from shedproxy.controlplane.fleet import Edition, Fleet, Host, Release
from shedproxy.controlplane.reconciling import Seen, note, step
from shedproxy.controlplane.rollout import Book, Phase, RolloutRules, zones_in_flight
from shedproxy.controlplane.sightings import Sightings
from shedproxy.core import Instant, Nanos, seconds
from shedproxy.observability.metric_labels import DURATION_BOUNDS
from shedproxy.snapshot import StatusReport

__all__ = ["KINDS", "Outcome", "add_options", "play", "run"]

OLD, NEW = "sha256:old", "sha256:new"
KINDS = (
    "errors +0.4 points",
    "latency +30 %",
    "false sheds 1 %",
    "refused by hosts",
    "crash",
    "over a limit 0.5 %",
    "unknown +4 points",
)
_PERIOD_S = 10
"""Of hosts' reports, and of the control plane's looks."""
_WATCHED_S = 900
"""Before anything is changed: so long the control plane has seen what hosts are like."""
_RULES = RolloutRules(
    bake_ns=(seconds(900), seconds(900), seconds(1200), seconds(1200)),
    requests_min=1000,
    forward_share=0.05,
    back_share=0.33,
)
_FALSE_ALARM = 0.01


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How one promotion ended."""

    kind: str
    seed: int
    is_stopped: bool = False
    scope: str = ""
    """In which the alarm was."""
    cause: str = ""
    hours: float = 0.0
    start_s: float = 0.0
    """From the alarm to the first host that is given the former release."""
    bad: int = 0
    """Requests that had a worse fate for the release."""
    requests: int = 0
    zones: int = 0
    """In flight at once, at most."""


@dataclass(slots=True, kw_only=True)
class _Machine:
    """A host with its ways."""

    name: str
    rate_rps: float
    latency: float
    """Times that of others."""
    runs: str = OLD
    is_dead: bool = False
    heartbeat: int = 0
    refused: int = 0
    requests: float = 0
    errors: int = 0
    sheds: int = 0
    bounded: int = 0
    limited: int = 0
    client_errors: int = 0
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))


class _World:
    """A fleet, its traffic, and who promotes a release there."""

    def __init__(self, kind: str, seed: int) -> None:
        self.chance = random.Random(f"{kind} {seed}")
        self.outcome = Outcome(kind=kind, seed=seed)
        hosts = tuple(
            Host(name=f"{zone}{cell}{n}", cell=f"c{cell}", zone=f"z{zone}")
            for zone in "abc"
            for cell in range(4)
            for n in range(3)
        )
        releases = (Release(digest=OLD, at_s=0, by=""), Release(digest=NEW, at_s=0, by=""))
        self.fleet = Fleet(hosts=hosts, releases=releases, book=Book(base=OLD))
        self.machines = {
            host.name: _Machine(
                name=host.name,
                rate_rps=20 * math.exp(self.chance.gauss(0, 0.2)),
                latency=math.exp(self.chance.gauss(0, 0.05)),
            )
            for host in hosts
        }
        self.sightings = Sightings(silence_ns=seconds(60), take_ns=seconds(120))
        self.seen, self.now_s, self.alarm_at = Seen(), 0, 0
        self.hours_s = self.chance.uniform(0, 86_400)
        self.storm_until = 0
        self._edit()
        self.reports: dict[str, StatusReport] = {}

    def _edit(self) -> None:
        wanted = self.fleet.wanted()
        editions = tuple(
            Edition(
                host=name, revision=1 + (release == NEW), release=release, key="", digest=release
            )
            for name, release in wanted.items()
        )
        self.fleet = replace(self.fleet, editions=editions)

    def settle(self) -> None:
        """Let everybody be heard of for a while, and begin."""
        for _ in range(_WATCHED_S // _PERIOD_S):
            self.period()
        self.fleet = orders.promote(self.fleet, NEW, rules=_RULES)
        self._edit()

    def period(self) -> None:
        """Ten seconds of traffic, everybody's report, and a look of the control plane."""
        self.now_s += _PERIOD_S
        if self.chance.random() < _PERIOD_S / 7200:  # something hits everybody for some minutes
            self.storm_until = self.now_s + self.chance.randrange(60, 600)
        for machine in self.machines.values():
            self._serve(machine)
            if not machine.is_dead:
                self._report(machine)
        now = Instant(seconds(self.now_s))
        intervals = self.sightings.take(self.fleet, self.reports, now)
        note(self.fleet, self.seen, intervals, Nanos(_PERIOD_S * 10**9))
        for _ in range(8):
            done = step(self.fleet, self.seen, self.sightings, now=now, now_s=self.now_s,
                        false_alarm=_FALSE_ALARM)  # fmt: skip
            if done is None:
                break
            self._note(done.verb, done.facts)
            self.fleet, self.seen = done.fleet, done.seen
            self._edit()
        zone_of = {host.name: host.zone for host in self.fleet.hosts}
        running = {n: r for n, r in self.sightings.running(self.fleet, now).items() if r != "?"}
        zones = zones_in_flight(self.fleet.book, running, zone_of)
        self.outcome.zones = max(self.outcome.zones, len(zones))

    def _note(self, verb: str, facts: Any) -> None:
        if verb == "alarm":
            self.outcome.is_stopped, self.alarm_at = True, self.now_s
            self.outcome.scope, self.outcome.cause = facts["scope"], facts["cause"]
        rollout = self.fleet.book.rollout
        if verb == "move" and rollout is not None and rollout.phase is Phase.ROLLING_BACK:
            self.outcome.start_s = self.outcome.start_s or self.now_s - self.alarm_at

    def _serve(self, machine: _Machine) -> None:
        has_it, kind = machine.runs == NEW, self.outcome.kind
        if machine.is_dead:
            return
        day = 1 + 0.4 * math.sin((self.now_s + self.hours_s) / 86_400 * 2 * math.pi)
        is_storm = self.now_s < self.storm_until
        count = _poisson(self.chance, machine.rate_rps * day * _PERIOD_S)
        sheds = 0
        if is_storm:
            sheds += _poisson(self.chance, 0.03 * count)
        errors = _poisson(self.chance, 0.001 * count * (5 if is_storm else 1))
        if self.chance.random() < _PERIOD_S / 1800:  # a hiccup of this host
            errors += self.chance.randrange(2, 12)
        if has_it and kind == KINDS[0]:
            errors += (bad := _poisson(self.chance, 0.004 * count))
            self.outcome.bad += bad
        if has_it and kind == KINDS[2]:
            sheds += (bad := _poisson(self.chance, 0.01 * count))
            self.outcome.bad += bad
        factor = machine.latency * (2 if is_storm else 1)
        if has_it and kind == KINDS[1]:
            factor *= 1.3
            self.outcome.bad += count
        finished = 0
        for place, share in enumerate(_shares(round(factor, 2))):
            several = _poisson(self.chance, share * max(0, count - sheds))
            machine.durations[place] += several
            finished += several
        limited = _poisson(self.chance, 0.0002 * count)
        if has_it and kind == KINDS[5]:
            limited += (bad := _poisson(self.chance, 0.005 * count))
            self.outcome.bad += bad
        unknown = _poisson(self.chance, 0.02 * count)
        if self.chance.random() < _PERIOD_S / 3600:  # somebody looks for open doors
            unknown += self.chance.randrange(5, 40)
        if has_it and kind == KINDS[6]:
            unknown += (bad := _poisson(self.chance, 0.04 * count))
            self.outcome.bad += bad
        machine.limited += limited
        machine.client_errors += min(unknown, finished)
        machine.requests += finished + sheds
        machine.errors += min(errors, finished)
        machine.sheds += sheds
        self.outcome.requests += finished + sheds

    def _report(self, machine: _Machine) -> None:
        wanted, kind = self.fleet.wanted()[machine.name], self.outcome.kind
        if wanted == NEW and machine.runs == OLD and kind == KINDS[3]:
            machine.refused = 2
        elif wanted != machine.runs:
            machine.runs, machine.refused = wanted, 0
            if wanted == NEW and kind == KINDS[4]:
                machine.is_dead = True  # until somebody gives it the former one by hand
                return
        machine.heartbeat += 1
        self.reports[machine.name] = StatusReport(
            instance=machine.name, boot_id="", heartbeat=machine.heartbeat,
            snapshot_digest=machine.runs, requests=int(machine.requests), errors=machine.errors,
            sheds=machine.sheds, bounded=machine.bounded,
            limited=machine.limited, client_errors=machine.client_errors,
            durations=tuple(machine.durations),
            refusal="invalid" if machine.refused else "", refused_revision=machine.refused,
        )  # fmt: skip


def play(kind: str, seed: int) -> Outcome:
    """One promotion to its end; a kind that is none of `KINDS` is good."""
    world = _World(kind, seed)
    world.settle()
    began = world.now_s
    while world.fleet.book.rollout is not None:
        world.period()
    world.outcome.hours = round((world.now_s - began) / 3600, 2)
    return world.outcome


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `promotions` wants to know."""
    add = parser.add_argument
    add("--count", type=int, default=50, help="of bad ones, and of good ones  [%(default)s]")
    add("--seed", type=int, default=1, help="[%(default)s]")
    add("--stopped", type=float, default=0.98, help="share at least  [%(default)s]")
    add("--false", type=float, default=0.02, dest="wrong", help="share at most  [%(default)s]")
    add("--json", action="store_true", help="one object instead of a text")


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Promote them all, print what came of it, and return the exit code."""
    if chosen.count < 1:
        parser.error("one at least")
    seeds = range(chosen.seed, chosen.seed + chosen.count)
    bad = [play(KINDS[seed % len(KINDS)], seed) for seed in seeds]
    good = [play("good", seed) for seed in seeds]
    small = [each for each in bad if each.is_stopped and each.scope in {"instance", "cell"}]
    wrong = [each for each in good if each.is_stopped]
    latest = max((each.start_s for each in bad if each.is_stopped), default=0.0)
    zones = max(each.zones for each in (*bad, *good))
    is_good = (
        len(small) >= chosen.stopped * len(bad)
        and len(wrong) <= chosen.wrong * len(good)
        and latest <= 10
        and zones <= 1
    )
    if chosen.json:
        print(json.dumps({"good": is_good, "promotions": [asdict(each) for each in (*bad, *good)]}))
        return 0 if is_good else 1
    for kind in KINDS:
        of = [each for each in bad if each.kind == kind]
        scopes = Counter(each.scope or "not stopped" for each in of)
        where = ", ".join(f"{count} at {scope}" for scope, count in scopes.most_common())
        worst = max((each.bad / each.requests for each in of), default=0.0)
        print(f"{kind:<20} {len(of):>3}: {where or '-'}; at most {worst:.4%} of requests hurt")
    print(f"stopped at one instance or cell: {len(small)} of {len(bad)}")
    print(f"rolling back began {latest:g} s after its alarm at the latest")
    print(f"good ones rolled back: {len(wrong)} of {len(good)}")
    for each in wrong:
        print(f"  seed {each.seed}, {each.scope}: {each.cause}")
    print(f"zones in flight at once: {zones} at most")
    return 0 if is_good else 1


@functools.cache
def _shares(factor: float) -> tuple[float, ...]:
    """Of answers by duration: lognormal, 40 ms times the factor in the middle."""
    law = statistics.NormalDist(math.log(0.04 * factor), 0.7)
    below = [law.cdf(math.log(bound)) for bound in DURATION_BOUNDS]
    return tuple(b - a for a, b in itertools.pairwise((0.0, *below, 1.0)))


def _poisson(chance: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    count, left = 0, chance.expovariate(1)
    while left < mean:
        count += 1
        left += chance.expovariate(1)
    return count
