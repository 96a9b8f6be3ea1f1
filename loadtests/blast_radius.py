"""One tenant whose requests kill the upstreams they reach, among thousands that have done nothing.

Every tenant has a hand of the upstreams; the poison tenant's requests crash whatever they reach,
for a second each time, and go on for as long as it is watched. In virtual time, with the product's
own hands, pool, choice, health, retry budget and ejector: what do the others lose?

First blind, without ejection, health, memory of failures or a budget: hands and retries alone.
After one retry a tenant loses only where two of its hand are the poison tenant's, after two where
its whole hand is. How many that are follows from the hypergeometric law, and the hands are held
against it by chi-square. Then as the proxy does by itself, where an upstream that failed counts as
busy for a second and is taken out after three; and with the ejector: nobody loses anything once
five seconds have passed.

Exit code 0: every promise was kept. 1: one was not.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

from loadtests.blast_radius_live import as_json, broken_live, live_blast, live_line
from shedproxy.core import (
    CellInput,
    Ejector,
    HostInput,
    Instant,
    RetryBudget,
    RetryPolicy,
    Tally,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.wire.hands import Hand, Hands
from shedproxy.dataplane.wire.pool import Slot, UpstreamPool
from shedproxy.placement.overlap import Lattice, overlap_law
from shedproxy.snapshot import UpstreamDocument

__all__ = ["Blast", "add_options", "chi_square", "overlaps_of", "promises", "run"]

_RESTART_NS = seconds(1)
"""How long a crashed upstream is away: until the poison comes again."""
_SERVICE_NS = milliseconds(20)
_REFUSED_NS = milliseconds(1)
_POISON_RPS = 20.0
_TENANT_RPS = 0.5
_LOSING = 0.001
"""Who loses a larger part of its requests has noticed."""
_SHARE_MAX = 0.01
_P_MIN = 0.01
_CALM_S = 5.0
_PROBE_EVERY_NS = milliseconds(100)
_PAIRS = 20_000
_NEVER_OUT = 1 << 30
_RUNS = (
    (1, True, False),
    (2, True, False),
    (3, True, False),
    (2, False, False),
    (2, False, True),
)
"""Attempts, whether blind, whether with the ejector."""
_LOG2_LATENCY = math.log2(_SERVICE_NS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `blast-radius` wants to know."""
    add = parser.add_argument
    add("--upstreams", type=int, default=64, help="[default: %(default)s]")
    add("--tenants", type=int, default=4_000, help="[default: %(default)s]")
    add("--hand", type=int, default=3, help="upstreams of a tenant  [default: %(default)s]")
    add("--for", type=float, default=60.0, dest="length", help="seconds  [default: %(default)s]")
    add("--seed", type=int, default=1, help="[default: %(default)s]")
    add("--live", action="store_true", help="besides, small, before the real proxy")
    add("--json", action="store_true", help="one object instead of lines")


@dataclass(slots=True)
class _Lost:
    """What came of a tenant's requests."""

    requests: int = 0
    lost: int = 0
    lost_later: int = 0
    """After the first `_CALM_S`."""


@dataclass
class Blast:
    """One run. `attempts` times a request is sent at most."""

    upstreams: int = 64
    tenants: int = 4_000
    hand: int = 3
    attempts: int = 2
    length_s: float = 60.0
    is_blind: bool = False
    """Whether what failed is forgotten at once, and retries cost nothing."""
    ejects: bool = False
    """Whether the ejector is there."""
    seed: int = 1
    lost: dict[int, _Lost] = field(default_factory=dict)
    """By innocent tenant."""
    ejected: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._now = Instant(0)
        urls = tuple(f"http://10.0.0.{number}:80" for number in range(self.upstreams))
        fail_after = _NEVER_OUT if self.is_blind else 3
        self._pool: UpstreamPool[int, int] = UpstreamPool(urls, fail_after=fail_after)
        self._hands: Hands[int] = Hands()
        self._hands.apply(UpstreamDocument(urls=urls, hand=self.hand), self._pool.upstreams)
        self._flows = [self._rng.getrandbits(64) for _ in range(self.tenants)]
        self._budget = RetryBudget(RetryPolicy(attempts_max=self.attempts), now=self._now)
        self._ejector = Ejector(now=self._now)
        self._away_until = dict.fromkeys(urls, Instant(0))
        self._totals = dict.fromkeys(urls, Tally())
        self._running: list[tuple[int, int, Slot[int], int]] = []
        """By when they end."""
        self._serial = itertools.count()
        self.lost = {tenant: _Lost() for tenant in range(1, self.tenants)}

    def hand_of(self, tenant: int) -> Hand[int]:
        """The upstreams that a tenant may use."""
        hand = self._hands.of(self._flows[tenant])
        assert hand is not None
        return hand

    def run(self) -> None:
        """The poison is tenant 0."""
        rate = _TENANT_RPS * (self.tenants - 1)
        innocents = self._arrivals(rate, lambda: self._rng.randrange(1, self.tenants))
        poison = self._arrivals(_POISON_RPS, lambda: 0)
        look_at, step_at = _PROBE_EVERY_NS, seconds(1)
        for at, tenant in heapq.merge(innocents, poison):
            while at >= look_at:
                self._look(Instant(look_at))
                look_at += _PROBE_EVERY_NS
            while self.ejects and at >= step_at:
                self._step(Instant(step_at))
                step_at += seconds(1)
            self._now = Instant(at)
            self._end_work()
            self._ask(tenant)

    def _arrivals(self, rate_rps: float, draw: Any) -> Any:
        at = 0.0
        while (at := at + self._rng.expovariate(rate_rps)) < self.length_s:
            yield round(at * 1e9), draw()

    def _end_work(self) -> None:
        while self._running and self._running[0][0] <= self._now:
            at, _, slot, connection = heapq.heappop(self._running)
            self._pool.put_idle(slot, connection, now=Instant(at))

    def _ask(self, tenant: int) -> None:
        flow, hand = self._flows[tenant], self.hand_of(tenant)
        tried: list[Any] = []
        is_served = False
        for attempt in range(self.attempts):
            if attempt and not (self.is_blind or self._budget.spend(flow, now=self._now)):
                break
            slot = self._pool.acquire(now=self._now, tried=tried, hand=hand)
            if slot is None:
                break
            is_served = self._attempt(tenant, slot)
            if is_served:
                self._budget.earn(flow)
                break
            tried.append(slot.upstream)
        if tenant:
            lost = self.lost[tenant]
            lost.requests += 1
            lost.lost += not is_served
            lost.lost_later += not is_served and self._now >= _CALM_S * 1e9

    def _attempt(self, tenant: int, slot: Slot[int]) -> bool:
        upstream, key = slot.upstream, slot.upstream.key
        total = self._totals[key]
        was_there = self._away_until[key] <= self._now
        if not tenant:
            self._away_until[key] = Instant(self._now + _RESTART_NS)
        if tenant and was_there:
            upstream.answered(self._now)
            self._totals[key] = Tally(
                total.requests + 1, total.failed, total.timed + 1, total.log2_sum + _LOG2_LATENCY
            )
            serial = next(self._serial)
            connection = slot.connection or serial
            heapq.heappush(self._running, (self._now + _SERVICE_NS, serial, slot, connection))
            return True
        self._totals[key] = total._replace(requests=total.requests + 1, failed=total.failed + 1)
        self._pool.on_failure(upstream, now=self._now, is_connected=was_there)
        if self.is_blind:
            upstream.ghosts.clear()
        self._pool.forget(slot, now=self._now)
        return False

    def _look(self, now: Instant) -> None:
        for upstream in self._pool.due_probes(now=now):
            if self._away_until[upstream.key] <= now:
                self._pool.on_connected(upstream, next(self._serial), now=now)
        self._pool.tick(now=now)

    def _step(self, now: Instant) -> None:
        hosts = tuple(
            HostInput(
                host=upstream.key,
                total=self._totals[upstream.key],
                is_reachable=upstream.out_until is None,
            )
            for upstream in self._pool.upstreams
        )
        ledger, deeds = self._ejector.step(now, [CellInput(cell="cell", hosts=hosts)])
        self._ejector.commit(now, ledger, deeds)
        ramp_ns = seconds(30)
        for upstream in self._pool.upstreams:
            upstream.weight = self._ejector.weight("cell", upstream.key, now, ramp_ns)
        self.ejected = max(self.ejected, sum(not one.weight for one in self._pool.upstreams))

    def summary(self) -> dict[str, Any]:
        """Of the innocents."""
        poisoned = {upstream.key for upstream in self.hand_of(0)}
        shared = Counter(
            sum(one.key in poisoned for one in self.hand_of(tenant)) for tenant in self.lost
        )
        return {
            "attempts": self.attempts,
            "blind": self.is_blind,
            "ejects": self.ejects,
            "requests": sum(one.requests for one in self.lost.values()),
            "lost": sum(one.lost for one in self.lost.values()),
            "tenants_losing": sum(one.lost > _LOSING * one.requests for one in self.lost.values()),
            "tenants_losing_later": sum(one.lost_later > 0 for one in self.lost.values()),
            "tenants": len(self.lost),
            "hands_shared": [shared[count] for count in range(self.hand + 1)],
            "ejected": self.ejected,
        }


def overlaps_of(hand: int, upstreams: int, pairs: int, seed: int) -> list[int]:
    """How many of so many independent pairs of tenants share 0, 1, ... members."""
    blast = Blast(upstreams=upstreams, tenants=2 * pairs, hand=hand, seed=seed)
    counts = [0] * (hand + 1)
    for pair in range(pairs):
        one = {upstream.key for upstream in blast.hand_of(2 * pair)}
        counts[sum(other.key in one for other in blast.hand_of(2 * pair + 1))] += 1
    return counts


def chi_square(counts: Sequence[int], law: Sequence[float]) -> tuple[float, int, float]:
    """The statistic, its degrees of freedom and the probability of one as large by chance.

    Classes of fewer than five expected are taken together with the one before.
    """
    total = sum(counts)
    classes: list[list[float]] = []
    for seen, share in zip(counts, law, strict=True):
        classes.append([float(seen), share * total])
    while len(classes) > 1 and classes[-1][1] < 5:
        seen, expected = classes.pop()
        classes[-1][0] += seen
        classes[-1][1] += expected
    statistic = math.fsum((seen - expected) ** 2 / expected for seen, expected in classes)
    freedom = len(classes) - 1
    return statistic, freedom, _upper_tail(statistic, freedom)


def _upper_tail(statistic: float, freedom: int) -> float:
    """Q(freedom / 2, statistic / 2) by its recurrence from 1/2 or 1 (Abramowitz, Stegun 26.4.4)."""
    half = statistic / 2
    if freedom % 2:
        tail, term, at = math.erfc(math.sqrt(half)), math.sqrt(half) * 2 / math.sqrt(math.pi), 1.5
    else:
        tail, term, at = math.exp(-half), half, 2.0
    # From here on `term` is x^a / Gamma(a + 1), without its exponential.
    weight = math.exp(-half)
    for _ in range((freedom - 1) // 2):
        tail += weight * term
        term *= half / at
        at += 1
    return tail


def promises(results: Sequence[dict[str, Any]], p_value: float) -> list[str]:
    """Those that were not kept."""
    broken = [] if p_value > _P_MIN else [f"overlaps do not fit the law: p {p_value:.2g}"]
    for result in results:
        name = f"{_how(result)}{result['attempts']} attempts"
        losing, tenants = result["tenants_losing"], result["tenants"]
        if result["ejects"]:
            if result["tenants_losing_later"]:
                broken.append(f"{name}: {result['tenants_losing_later']} lost something later")
        elif result["attempts"] == 2 and losing > _SHARE_MAX * tenants:
            broken.append(f"{name}: {losing} of {tenants} tenants lose")
        elif result["attempts"] > 2 and losing > result["hands_shared"][-1]:
            broken.append(f"{name}: {losing} tenants lose")
    return broken


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run everything, print it, and return the exit code."""
    if not chosen.hand < chosen.upstreams <= 1_000 or not 2 <= chosen.tenants <= 100_000:
        parser.error("a hand smaller than the upstreams, of which there are 1000 at most")
    if not _CALM_S < chosen.length <= 3_600 or chosen.hand < 2:
        parser.error("hands of 2 or more, and longer than 5 s")
    results = []
    for attempts, is_blind, ejects in _RUNS:
        blast = Blast(
            upstreams=chosen.upstreams, tenants=chosen.tenants, hand=chosen.hand,
            attempts=attempts, length_s=chosen.length, is_blind=is_blind, ejects=ejects,
            seed=chosen.seed,
        )  # fmt: skip
        blast.run()
        results.append(blast.summary())
    counts = overlaps_of(chosen.hand, chosen.upstreams, _PAIRS, chosen.seed)
    law = overlap_law(Lattice(upstreams=chosen.upstreams, hand=chosen.hand))
    statistic, freedom, p_value = chi_square(counts, law)
    broken = promises(results, p_value)
    live = uvloop.run(live_blast(chosen.seed)) if chosen.live else None
    broken += [] if live is None else broken_live(live)
    if chosen.json:
        body = {"runs": results, "pairs": counts, "law": law, "p": p_value, "broken": broken}
        body |= {} if live is None else {"live": as_json(live)}
        print(json.dumps(body))
        return 1 if broken else 0
    for result in results:
        print(_line(result))
    expected = ", ".join(f"{share * _PAIRS:.1f}" for share in law)
    print(f"{_PAIRS} pairs share 0.. members: {counts}, expected {expected}")
    if live is not None:
        print(live_line(live))
    print(f"chi-square {statistic:.2f} with {freedom} degrees of freedom: p {p_value:.3f}")
    for what in broken:
        print(f"NOT KEPT: {what}")
    return 1 if broken else 0


def _how(result: dict[str, Any]) -> str:
    return "ejection, " if result["ejects"] else "blind, " if result["blind"] else "health, "


def _line(result: dict[str, Any]) -> str:
    attempts = result["attempts"]
    plural = "s" if attempts > 1 else ""
    return (
        f"{_how(result)}{attempts} attempt{plural}: {result['tenants_losing']} of "
        f"{result['tenants']} innocent tenants lose more than 0.1 %, {result['lost']} of "
        f"{result['requests']} requests lost; {result['tenants_losing_later']} tenants lose "
        f"anything after 5 s; hands shared with the poison: {result['hands_shared']}"
        + (f"; {result['ejected']} upstreams out at most" if result["ejects"] else "")
    )
