"""One cell of `overload`: one program before one service at one load, from a cold start.

A new service, a new program, one request to see that it is up; then open-loop Poisson arrivals,
timed from when they were due. Services are computed (`loadgen.station`).
"""

from __future__ import annotations

import os
import random
import resource
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.environment import Stolen
from benchmarks.load import STOLEN_MAX
from benchmarks.overload_peers import start
from benchmarks.overload_shapes import DEADLINE_MS, SHAPES, TUNED
from benchmarks.servers import OTHER_CORE, running
from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_MS, NS_PER_S, Criticality, Nanos, milliseconds
from shedproxy.loadgen.client import LoadConnection
from shedproxy.loadgen.player import Player
from shedproxy.loadgen.station import Station
from shedproxy.workload.results import percentile

__all__ = ["Cell", "Job", "arrivals", "run_cell"]

LATE_MS = 1.0
"""At the 99th percentile, or a tenth of the service time: later, and a cell is void."""
BUSY = 0.9
"""Share of its core beyond which a generator saturates."""
_WAITED = frozenset((b"queue_timeout", b"evicted"))


class _Asking(LoadConnection):
    """Knows by the reason of a refusal whether it was one on arrival."""

    has_waited = False

    def send(self, request: bytes) -> None:
        self.has_waited = False
        super().send(request)

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a field of the answer."""
        if name.lower() == b"shedproxy-reason":
            self.has_waited = value in _WAITED


class _Player(Player):
    """Keeps the latencies of those that were refused when they arrived."""

    connection_type = _Asking

    def __init__(self, url: str) -> None:
        super().__init__(url, deadline_ns=milliseconds(DEADLINE_MS))
        self.on_arrival_ns: list[int] = []

    def _record(self, call: Any, status: int) -> None:
        super()._record(call, status)
        if status in {429, 503} and not call.connection.has_waited:
            # From sending: how late the generator was says nothing of the refusal.
            self.on_arrival_ns.append(self.rows[-1].done_at - call.sent_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A cell that is to be played."""

    shape: str
    load: float
    peer: str
    round: int
    seed: int
    seconds: float
    attempt: int = 1

    @property
    def key(self) -> tuple[str, float, str]:
        """Whose value it makes in its round."""
        return self.shape, self.load, self.peer

    @property
    def rate_rps(self) -> float:
        """What is offered."""
        return SHAPES[self.shape].capacity_rps * self.load


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What came of it: a raw row. Times in ms; None: there were none."""

    shape: str
    load: float
    peer: str
    round: int
    seed: int
    seconds: float
    asked: int
    served: int
    """Within the deadline."""
    goodput: float
    """Answers in time over what could be answered, from 0 to about 1."""
    p50_ms: float | None
    p99_ms: float | None
    refused_share: float
    told: int
    """Refused on arrival."""
    told_p99_ms: float | None
    generator_busy: float
    """Share of a core."""
    send_lag_p99_ms: float
    service_lag_p99_ms: float
    stolen: float
    faults: tuple[str, ...] = ()
    """Why the cell is void."""

    @property
    def key(self) -> tuple[str, float, str]:
        """Whose value it is in its round."""
        return self.shape, self.load, self.peer


def arrivals(rate_rps: float, seconds: float, seed: int) -> Iterator[tuple[Nanos, Criticality]]:
    """Poisson, the same for all programs."""
    chance = random.Random(seed)
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(rate_rps)) < seconds:
        yield Nanos(round(at_s * NS_PER_S)), Criticality.CRITICAL


def run_cell(job: Job, begin: Callable[[], None]) -> Cell | None:
    """Play it in this process, which goes to the core of the generator. None: not installed.

    `begin` is called when everything has started.
    """
    os.sched_setaffinity(0, OTHER_CORE or os.sched_getaffinity(0))
    shape, seconds = SHAPES[job.shape], job.seconds
    with (
        tempfile.TemporaryDirectory(prefix="overload-") as home,
        Station(
            slots=shape.slots, service_ms=shape.service_ms, law=shape.law, seed=job.seed
        ) as station,
    ):
        up = int(station.url.rpartition(":")[2])
        server = start(job.peer, Path(home), up, TUNED[shape.name])
        if server is None:
            return None
        with running([server]):
            begin()
            player = _Player(f"http://127.0.0.1:{server.port}/")
            stolen, before, began_at = Stolen(), _cpu_s(), monotonic_now()
            health = uvloop.run(player.play(arrivals(job.rate_rps, seconds, job.seed)))
            busy = (_cpu_s() - before) * NS_PER_S / (monotonic_now() - began_at)
            share = stolen.share()
            report = station.report()
    deadline_ns = milliseconds(DEADLINE_MS)
    served = [row for row in player.rows if row.status == 200 and row.latency_ns <= deadline_ns]
    latencies = sorted(row.latency_ns for row in served)
    # Else what is under way at the end would come on top, most of it where everybody waits.
    good = sum(row.done_at <= began_at + seconds * NS_PER_S for row in served)
    refused = sum(row.status in {429, 503} for row in player.rows)
    lags = {"generator": health.send_lag_p99_ns, "service": report.lateness_p99_ns}
    late_ms = max(LATE_MS, shape.service_ms / 10)
    return Cell(
        shape=job.shape,
        load=job.load,
        peer=job.peer,
        round=job.round,
        seed=job.seed,
        seconds=seconds,
        asked=len(player.rows),
        served=len(served),
        goodput=round(good / (shape.capacity_rps * min(1.0, job.load) * seconds), 4),
        p50_ms=_ms(percentile(latencies, 0.50)),
        p99_ms=_ms(percentile(latencies, 0.99)),
        refused_share=round(refused / max(1, len(player.rows)), 5),
        told=len(player.on_arrival_ns),
        told_p99_ms=_ms(percentile(sorted(player.on_arrival_ns), 0.99)),
        generator_busy=round(busy, 3),
        send_lag_p99_ms=round(lags["generator"] / NS_PER_MS, 3),
        service_lag_p99_ms=round(lags["service"] / NS_PER_MS, 3),
        stolen=round(share, 4),
        faults=(
            *(
                f"{who} late: {ns / NS_PER_MS:.1f} ms"
                for who, ns in lags.items()
                if ns > late_ms * NS_PER_MS
            ),
            *([f"generator busy: {busy:.0%}"] if busy > BUSY else ()),
            *([f"not sent: {health.not_sent}"] if health.not_sent else ()),
            *([f"time was stolen: {share:.1%}"] if share > STOLEN_MAX else ()),
        ),
    )


def _ms(ns: int | None) -> float | None:
    return None if ns is None else round(ns / NS_PER_MS, 3)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
