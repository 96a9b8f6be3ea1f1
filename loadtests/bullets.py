"""Bad hosts, broken checks and a lost zone before the magazines, in virtual time.

A fleet of hosts in three zones at a part of its capacity, an orchestrator that starts and ends
hosts, and the real ejector. One after the other: hosts fail one by one (a hundredth of them an
hour), the health check breaks on all hosts, a zone is lost, and whoever keeps the ledger is killed
again and again while a host is being replaced. Beside it what Envoy's outlier detection would do
(its defaults: five failures in a row, ten per cent at most, 30 s and more), when all hosts fail at
once for a minute.

Exit code 0: every promise was kept. 1: one was not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.core import (
    GLOBAL,
    Act,
    BulletState,
    CellInput,
    Deed,
    Ejector,
    Errand,
    HostInput,
    Instant,
    Ledger,
    OutlierPolicy,
    Tally,
    seconds,
)

__all__ = [
    "Fleet",
    "add_options",
    "broken_check",
    "envoy",
    "failures",
    "killed",
    "run",
    "zone_loss",
]

HOST_RPS = 100.0
SECOND = seconds(1)
START = Instant(0)
START_TIME_S = 20
"""From being asked for a host until it serves."""
LOG2_LATENCY = math.log2(20e6)
POLICY = OutlierPolicy()
_NORMAL = 5
"""A failure in a thousand requests, times this a second, is usual for everybody."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `bullets` wants to know."""
    add = parser.add_argument
    add("--hosts", type=int, default=100, help="in three zones  [default: %(default)s]")
    add("--load", type=float, default=0.6, help="part of the capacity  [default: %(default)s]")
    add("--hours", type=float, default=6.0, help="of single failures  [default: %(default)s]")
    add("--seed", type=int, default=1, help="of when what fails  [default: %(default)s]")
    add("--json", action="store_true", help="one object instead of a table")


@dataclass
class Fleet:
    """Hosts, what they serve, who starts and ends them, and the ejector that watches."""

    count: int = 100
    load: float = 0.6
    seed: int = 1
    policy: OutlierPolicy = POLICY
    zones: str = "abc"
    now: Instant = START
    hosts: dict[str, HostInput] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)
    """Since which second."""
    starting: dict[str, int] = field(default_factory=dict)
    """New hosts by when they are up."""
    ending: set[str] = field(default_factory=set)
    deeds: list[tuple[int, Act, str]] = field(default_factory=list)
    out_most: int = 0
    capacity_least: float = math.inf
    """Healthy capacity over demand, at its least."""
    spent_without_room: int = 0
    out_after_s: list[int] = field(default_factory=list)
    replaced_after_s: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.disk = Ledger()
        self.ejector = Ejector(self.disk, now=self.now)
        for number in range(self.count):
            self.add(f"h{number}", self.zones[number % len(self.zones)])
        self.demand_rps = self.load * self.count * HOST_RPS

    def add(self, name: str, zone: str) -> None:
        """One more host."""
        self.hosts[name] = HostInput(host=name, zone=zone)

    @property
    def second(self) -> int:
        """Since the start."""
        return self.now // SECOND

    def weight(self, name: str) -> int:
        """The part of the requests that a host gets."""
        return self.ejector.weight("cell", name, self.now, self.policy.ramp_ns)

    def cell(self) -> CellInput:
        """What the ejector is told."""
        return CellInput(
            cell="cell",
            hosts=tuple(self.hosts.values()),
            policy=self.policy,
            demand_rps=self.demand_rps,
            host_capacity_rps=HOST_RPS,
            replace_ns=seconds(600),
        )

    def step(self) -> None:
        """One second."""
        self.now = Instant(self.now + SECOND)
        self.serve()
        ledger, deeds = self.ejector.step(self.now, [self.cell()])
        self.disk = ledger
        self.ejector.commit(self.now, ledger, deeds)
        self.act(deeds)
        self.orchestrate()
        self.look(deeds)

    def run(self, length_s: int, each: Callable[[], None] | None = None) -> None:
        """So many seconds."""
        for _ in range(length_s):
            if each is not None:
                each()
            self.step()

    def serve(self) -> None:
        """Everybody gets his part, and a bad one fails all of it."""
        weights = {name: self.weight(name) for name, h in self.hosts.items() if h.is_reachable}
        whole = sum(weights.values()) or 1
        for name, weight in weights.items():
            requests = round(self.demand_rps * weight / whole)
            failed = requests if name in self.bad else self.chance.randrange(_NORMAL) // 4
            failed = min(failed, requests)
            host, timed = self.hosts[name], requests - failed
            total = Tally(
                host.total.requests + requests,
                host.total.failed + failed,
                host.total.timed + timed,
                host.total.log2_sum + timed * LOG2_LATENCY,
            )
            self.hosts[name] = replace(host, total=total)

    def act(self, deeds: list[Deed]) -> None:
        """Do what was decided."""
        for deed in deeds:
            if deed.act is not Act.SPARE:
                self.deeds.append((self.second, deed.act, deed.host))
            if deed.act is Act.EJECT and deed.host in self.bad:
                self.out_after_s.append(self.second - self.bad[deed.host])
            if deed.act is Act.ASK:
                self.starting[f"{deed.host}+"] = self.second + START_TIME_S
            if deed.act is Act.TELL:
                self.ending.add(deed.host)

    def orchestrate(self) -> None:
        """Start and end hosts; a start that is asked for twice is one."""
        for name in [name for name, at in self.starting.items() if at <= self.second]:
            del self.starting[name]
            if name not in self.hosts:
                self.add(name, self.hosts[name.removesuffix("+")].zone)
        for name in sorted(self.ending):
            self.ending.discard(name)
            self.hosts.pop(name, None)
            if name in self.bad:
                self.replaced_after_s.append(self.second - self.bad.pop(name))

    def look(self, deeds: list[Deed]) -> None:
        """Note what must hold."""
        out = {b.host for b in self.ejector.ledger.bullets if b.state is BulletState.OUT}
        self.out_most = max(self.out_most, len(out & self.hosts.keys()))
        good = sum(
            host.is_reachable and name not in out and name not in self.bad
            for name, host in self.hosts.items()
        )
        ratio = good * HOST_RPS / self.demand_rps
        self.capacity_least = min(self.capacity_least, ratio)
        if ratio < 1 and any(deed.act is Act.EJECT for deed in deeds):
            self.spent_without_room += 1

    def counted(self, act: Act) -> int:
        """How often something was done."""
        return sum(done is act for _, done, _ in self.deeds)


def failures(fleet: Fleet, hours: float) -> dict[str, Any]:
    """Hosts fail one by one, each for good until it is replaced."""
    per_second = 0.01 * fleet.count / 3600

    def fail() -> None:
        if fleet.chance.random() < per_second:
            fleet.bad.setdefault(fleet.chance.choice(sorted(fleet.hosts)), fleet.second)

    fleet.run(round(hours * 3600), fail)
    fleet.run(300)
    return {
        "failed": len(fleet.replaced_after_s) + len(fleet.bad),
        "out_after_s_max": max(fleet.out_after_s, default=0),
        "replaced_after_s_max": max(fleet.replaced_after_s, default=0),
        "not_replaced": len(fleet.bad),
        **_common(fleet),
    }


def broken_check(fleet: Fleet) -> dict[str, Any]:
    """The health check breaks, on another host every two seconds; nothing is wrong with any."""
    before = fleet.ejector.ledger.serial
    names = iter(list(fleet.hosts))

    def breaks() -> None:
        if fleet.second % 2:
            return
        name = next(names, "")
        if name in fleet.hosts:
            fleet.hosts[name] = replace(fleet.hosts[name], check=False)

    fleet.run(20)
    fleet.run(600, breaks)
    result = {
        "ejected": fleet.counted(Act.EJECT),
        "asked_for": fleet.counted(Act.ASK),
        "failed_open": fleet.counted(Act.FAIL_OPEN),
        "is_frozen": fleet.ejector.is_frozen("cell", fleet.now),
        "spent": fleet.ejector.ledger.serial - before,
        **_common(fleet),
    }
    out = [b for b in fleet.ejector.ledger.bullets if b.state is BulletState.OUT]
    return {**result, "out_at_the_end": len(out)}


def zone_loss(fleet: Fleet) -> dict[str, Any]:
    """A zone cannot be reached for ten minutes, and is back then."""
    fleet.run(20)
    lost = [name for name, host in fleet.hosts.items() if host.zone == "c"]
    for name in lost:
        fleet.hosts[name] = replace(fleet.hosts[name], is_reachable=False)
    fleet.run(600)
    frozen = fleet.ejector.is_frozen("cell", fleet.now)
    for name in lost:
        fleet.hosts[name] = replace(fleet.hosts[name], is_reachable=True)
    fleet.run(300)
    return {"lost": len(lost), "is_frozen": frozen, "asked_for": fleet.counted(Act.ASK),
            "ejected": fleet.counted(Act.EJECT), **_common(fleet)}  # fmt: skip


def killed(fleet: Fleet) -> dict[str, Any]:
    """Whoever keeps the ledger is killed at every second of a replacement, before or after what was
    decided is written, and never acts on it.
    """
    fleet.run(20)
    fleet.bad["h1"] = fleet.second
    seen: list[tuple[int, int]] = []
    kills = 0
    for number in range(900):
        fleet.step()
        if fleet.ejector.ledger.bullets and number % 7 == 0 and kills < 20:
            kills += 1
            ledger, _ = fleet.ejector.step(fleet.now, [fleet.cell()])
            if number % 2:
                fleet.disk = ledger
            fleet.ejector = Ejector(fleet.disk, now=fleet.now)
            for bullet in fleet.disk.bullets:
                if bullet.errand is Errand.ASKED and not bullet.newcomer:
                    fleet.starting.setdefault(f"{bullet.host}+", fleet.second + START_TIME_S)
                elif bullet.errand is Errand.TOLD:
                    fleet.ending.add(bullet.host)
        seen.append((fleet.disk.serial, fleet.disk.out(GLOBAL)))
    return {
        "kills": kills,
        "spent": fleet.disk.serial,
        "reloaded": fleet.disk.serial - fleet.disk.out(GLOBAL),
        "contradiction": fleet.disk.contradiction(),
        "counts_fell": any(a[0] > b[0] for a, b in itertools.pairwise(seen)),
        "replaced": "h1" not in fleet.hosts,
        **_common(fleet),
    }


def envoy(count: int, load: float) -> dict[str, Any]:
    """All hosts fail at once for a minute: how many are out, and what is left for the demand."""
    fleet = Fleet(count=count, load=load)
    fleet.run(20)
    for name in fleet.hosts:
        fleet.bad[name] = fleet.second
    fleet.run(60)
    ours = fleet.counted(Act.EJECT)
    theirs = max(1, count // 10)
    return {
        "load": load,
        "ours_out": ours,
        "ours_left_ratio": round((count - ours) / (load * count), 3),
        "envoy_out": theirs,
        "envoy_left_ratio": round((count - theirs) / (load * count), 3),
    }


def _common(fleet: Fleet) -> dict[str, Any]:
    return {
        "out_most": fleet.out_most,
        "capacity_over_demand_least": round(fleet.capacity_least, 3),
        "spent_without_room": fleet.spent_without_room,
    }


def promises(results: dict[str, Any], count: int) -> list[str]:
    """What was not kept."""
    single, check = results["failures"], results["broken_check"]
    alone = results["broken_check_one_zone"]
    zone, kill = results["zone_loss"], results["killed"]
    magazine = max(1, count // 10)
    found = {
        "a bad host was out too late": single["out_after_s_max"] > 60,
        "a bad host was not replaced within a minute": single["replaced_after_s_max"] > 60
        or single["not_replaced"],
        "a broken check took more than a magazine": max(check["ejected"], alone["ejected"])
        > magazine,
        "a broken check did not freeze": not (check["is_frozen"] and alone["is_frozen"])
        or check["out_at_the_end"]
        or alone["out_at_the_end"],
        "a lost zone cost bullets": zone["ejected"] or zone["asked_for"],
        "a kill lost or gained a bullet": kill["contradiction"] or kill["counts_fell"]
        or (kill["spent"], kill["reloaded"]) != (1, 1),
    }  # fmt: skip
    found |= {
        f"{name}: more than the magazine were out": result["out_most"] > magazine
        for name, result in results.items()
        if "out_most" in result
    }
    found |= {
        f"{name}: a host went that the demand took": result["spent_without_room"] > 0
        or result["capacity_over_demand_least"] < 1
        for name, result in results.items()
        if "spent_without_room" in result
    }
    return [what for what, is_so in found.items() if is_so]


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run everything, print it, and return the exit code."""
    if not 10 <= chosen.hosts <= 1000 or not 0 < chosen.load < 2 or not 0 < chosen.hours <= 100:
        parser.error("10 to 1000 hosts, a load below 2, up to 100 hours")
    make = {"count": chosen.hosts, "load": chosen.load, "seed": chosen.seed}
    results: dict[str, Any] = {
        "failures": failures(Fleet(**make), chosen.hours),
        "broken_check": broken_check(Fleet(**make)),
        "broken_check_one_zone": broken_check(Fleet(**make, zones="a")),
        "zone_loss": zone_loss(Fleet(**make)),
        "killed": killed(Fleet(**make)),
        "envoy": envoy(chosen.hosts, chosen.load),
        "envoy_busy": envoy(chosen.hosts, 0.95),
    }
    broken = promises(results, chosen.hosts)
    if chosen.json:
        print(json.dumps({**results, "broken": broken}))
        return 1 if broken else 0
    for name, result in results.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in result.items()))
    for what in broken:
        print(f"NOT KEPT: {what}")
    return 1 if broken else 0
