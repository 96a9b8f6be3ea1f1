"""Whether drift is told when there is some, and only then: days of traffic in virtual time.

A station of four slots of 100 ms and the watch of `shedproxy run`. For each law, load and seed: a
day of ordinary noise, in which there must be no alarm; and a service that becomes slower by 30 %
after ten minutes, of which there must be one within five.

    python -m loadtests drift
    python -m loadtests drift --laws lognormal --loads 0.6 --seeds 10 --hours 24
    python -m loadtests drift --limit 5

A load of `day` goes from a fifth of capacity to 0.85 and back. Exit code 0: all of that holds.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import NamedTuple

from shedproxy.core import NS_PER_S, Instant, Nanos, milliseconds, seconds
from shedproxy.observability.drift import Counts, DriftWatch
from shedproxy.snapshot import CellProfile
from shedproxy.workload import StationSchedule, poisson_arrivals
from shedproxy.workload.laws import service_law

__all__ = ["DAY", "Told", "add_options", "alarms", "drift"]

DAY = "day"
_SLOTS, _SERVICE_NS = 4, milliseconds(100)
_CAPACITY_RPS = 40.0
_CV = {"exponential": 1.0, "constant": 0.0, "bimodal": 1.5, "lognormal": 2.0}
_FEED_NS = seconds(10)
_PART_S = 600.0
_SLOW_AT_S, _SLOWER, _SLOW_HOURS = 600.0, 1.3, 0.35
_WITHIN_S = 300.0
_NO_LIMIT = sys.maxsize


class Told(NamedTuple):
    """What one case came to."""

    law: str
    load: str
    seed: int
    false_alarms: int
    told_after_s: float | None

    @property
    def is_good(self) -> bool:
        """No alarm in the noise, and one in time."""
        told_after_s = self.told_after_s
        return not self.false_alarms and told_after_s is not None and told_after_s <= _WITHIN_S


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--laws", nargs="+", choices=_CV, default=["exponential", "lognormal"])
    parser.add_argument("--loads", nargs="+", default=["0.3", "0.6", "0.85", DAY])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hours", type=float, default=24.0, help="of ordinary noise")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=int, default=_NO_LIMIT, help="in flight, from 4; else none")


def alarms(
    load: str,
    *,
    hours: float,
    law: str = "exponential",
    seed: int = 1,
    slower_at_s: float = 1e9,
    limit: int = _NO_LIMIT,
) -> list[float]:
    """Seconds at which the watch was in alarm; it is fed every ten.

    With a `limit`, of the slots at least, whoever comes when so many are inside waits before it.
    """
    rng = random.Random(f"{law} {load} {seed}")
    lengths = service_law(law, mean_ns=_SERVICE_NS, rng=rng)
    station = StationSchedule(slots=_SLOTS, law=lengths, steps=[(seconds(slower_at_s), _SLOWER)])
    watch = DriftWatch(
        CellProfile(capacity_rps=_CAPACITY_RPS, knee_in_flight=float(_SLOTS), cv=_CV[law])
    )
    entered: dict[int, int] = {}
    before: deque[tuple[int, int]] = deque()
    ended = took = waited = waited_ns = 0
    next_at, found = _FEED_NS, []
    for at in _arrivals(load, hours, rng):
        while at >= next_at:
            if watch.feed(Instant(next_at), Counts(ended, took, waited, waited_ns)).is_alarm:
                found.append(next_at / NS_PER_S)
            next_at = Nanos(next_at + _FEED_NS)
        for job, departed_at, _ in station.depart(at):
            ended += 1
            took += departed_at - entered.pop(job)
            if before:
                entering, since = before.popleft()
                entered[entering] = departed_at
                waited, waited_ns = waited + 1, waited_ns + departed_at - since
        arriving = station.arrive(at)
        if len(entered) < limit:
            entered[arriving] = at
        else:
            before.append((arriving, at))
    return found


def _arrivals(load: str, hours: float, rng: random.Random) -> Iterator[Instant]:
    begins_s = 0.0
    while begins_s < 3600 * hours:
        length_s = min(_PART_S, 3600 * hours - begins_s)
        swing = 0.2 + 0.65 * math.sin(math.pi * begins_s / 86_400) ** 2
        share = swing if load == DAY else float(load)
        for offset in poisson_arrivals(
            rate_rps=share * _CAPACITY_RPS, duration_ns=seconds(length_s), rng=rng
        ):
            yield Instant(seconds(begins_s) + offset)
        begins_s += length_s


def drift(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Play every case, print what came of it; returns the exit code."""
    if chosen.seeds < 1 or chosen.hours <= 0 or chosen.processes < 1:
        parser.error("seeds, hours and processes are above 0")
    if chosen.limit < _SLOTS:
        parser.error(f"a limit leaves no slot idle: from {_SLOTS}")
    if not all(load == DAY or 0 < float(load) < 1 for load in chosen.loads):
        parser.error("a load is above 0 and below 1, or day")
    cases = list(product(chosen.laws, chosen.loads, range(1, chosen.seeds + 1)))
    found = []
    with ProcessPoolExecutor(chosen.processes) as pool:
        for told in pool.map(partial(_case, hours=chosen.hours, limit=chosen.limit), cases):
            found.append(told)
            after = "never" if told.told_after_s is None else f"after {told.told_after_s:.0f} s"
            print(
                f"{told.law:<12} load {told.load:<5} seed {told.seed:<3} {chosen.hours:g} h of "
                f"noise: {told.false_alarms} alarms; 30 % slower: told {after}"
                f"{'' if told.is_good else '  MISSED'}",
                flush=True,
            )
    good = sum(told.is_good for told in found)
    print(f"{good} of {len(found)} cases hold")
    return 0 if good == len(found) else 1


def _case(case: tuple[str, str, int], *, hours: float, limit: int) -> Told:
    law, load, seed = case
    noise = alarms(load, hours=hours, law=law, seed=seed, limit=limit)
    # A day begins at its quietest: traffic of five minutes is asked for, not a night.
    slow_load = "0.6" if load == DAY else load
    slow = alarms(
        slow_load, hours=_SLOW_HOURS, law=law, seed=seed, slower_at_s=_SLOW_AT_S, limit=limit
    )
    # What 1.3 times the time makes of a load is at most all there is.
    after_s = [at - _SLOW_AT_S for at in slow if at > _SLOW_AT_S]
    return Told(law, load, seed, len(noise), after_s[0] if after_s else None)
