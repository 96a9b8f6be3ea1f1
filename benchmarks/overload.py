"""Goodput and latency under overload, beside peers: who serves what the service can, and how soon.

Open-loop Poisson arrivals, timed from when they were due, meet a service whose departures are
computed (`loadgen.station`), through one program at a time. Every cell of the table begins with a
cold start: a new service, a new proxy, one request to see that it is up. Peers with a number to set
have the one that `--search` found for this very service.
"""

from __future__ import annotations

import math
import os
import random
import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.method import NotMeasuredError, machine_text
from benchmarks.overload_peers import PEERS, start
from benchmarks.overload_shapes import DEADLINE_MS, REACHES, SHAPES, TUNED, Shape, search
from benchmarks.peers import upstream
from benchmarks.servers import OTHER_CORE, free_port, program, running
from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_MS, NS_PER_S, Criticality, Nanos, milliseconds
from shedproxy.loadgen.client import LoadConnection
from shedproxy.loadgen.player import Player
from shedproxy.loadgen.station import Station
from shedproxy.workload.results import percentile

__all__ = ["Cell", "OverloadReport", "Verdict", "judge", "measure"]

OURS = "shedproxy"
HEALTHY_PEERS = (OURS, "Envoy")
HEALTHY_S = 5
LOADS = (0.5, 1.5, 3.0, 10.0)
SECONDS, QUICK_SECONDS = 10.0, 1.0
REQUESTS_MAX = 40_000
"""More in a cell and it lasts less long."""
LATE_MS = 1.0
"""At the 99th percentile, or a tenth of the service time: later, and a cell is void."""
BUSY = 0.9
"""Share of its core beyond which a generator saturates."""
P99_WITHIN = 1.5
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
class Cell:
    """One program before one service at one load. Times in ms; None: there were none."""

    shape: str
    load: float
    peer: str
    goodput: float
    """Answers in time over what could be answered, from 0 to about 1."""
    p50_ms: float | None
    p99_ms: float | None
    refused_share: float
    refusal_p99_ms: float | None
    faults: tuple[str, ...] = ()
    """Why the cell is void."""

    def as_text(self) -> str:
        def ms(value: float | None) -> str:
            return "-" if value is None else f"{value:.1f}"

        void = f"  VOID: {'; '.join(self.faults)}" if self.faults else ""
        return (
            f"  {self.shape:<15} {self.load:>4g}x {self.peer:<16} {self.goodput:>7.3f}"
            f" {ms(self.p50_ms):>8} {ms(self.p99_ms):>8} {self.refused_share:>8.1%}"
            f" {ms(self.refusal_p99_ms):>8}{void}"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ours beside the best peer at one shape and load."""

    shape: str
    load: float
    goodput_ratio: float
    """Our goodput over the best of a peer."""
    p99_ratio: float
    """Our p99 over the least of the peers that reach `REACHES` of the best goodput."""

    @property
    def is_met(self) -> bool:
        return self.goodput_ratio >= REACHES and self.p99_ratio <= P99_WITHIN

    def as_text(self) -> str:
        return (
            f"  {self.shape:<15} {self.load:>4g}x goodput {self.goodput_ratio:.3f}"
            f" (>= {REACHES:g}), p99 {self.p99_ratio:.2f} (<= {P99_WITHIN:g})"
            f"  {'met' if self.is_met else 'MISSED'}"
        )


@dataclass(frozen=True, slots=True)
class Healthy:
    """So many connections, each with one request at a time, and none too many for the service."""

    connections: int
    peer: str
    refused_share: float

    def as_text(self) -> str:
        return f"  {self.connections:>3} connections  {self.peer:<16} {self.refused_share:>8.3%}"


def judge(cells: Sequence[Cell]) -> list[Verdict]:
    """Ours against the peers in each shape at each load above capacity; void cells say nothing."""
    verdicts = []
    places = dict.fromkeys((cell.shape, cell.load) for cell in cells if cell.load > 1)
    for place in places:
        valid = [cell for cell in cells if (cell.shape, cell.load) == place and not cell.faults]
        ours = [cell for cell in valid if cell.peer == OURS]
        peers = [cell for cell in valid if cell.peer != OURS and cell.p99_ms is not None]
        if not ours or not peers:
            continue
        best = max(cell.goodput for cell in peers)
        least = min(cell.p99_ms or 0 for cell in peers if cell.goodput >= REACHES * best)
        own = ours[0]
        p99_ratio = math.inf if own.p99_ms is None else own.p99_ms / least
        verdicts.append(Verdict(*place, own.goodput / best if best else 1.0, p99_ratio))
    return verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadReport:
    """All cells, and what they say."""

    cells: Sequence[Cell]
    absent: Sequence[str]
    healthy: Sequence[Healthy] = ()

    def as_text(self, command: str) -> str:
        lines = [f"$ {command}", machine_text(), ""]
        lines += [
            "goodput = answers within 1 s over the lesser of capacity and load; cold start in"
        ]
        heads = ("p50 ms", "p99 ms", "refused", "told p99")
        numbers = " ".join(f"{head:>8}" for head in heads)
        lines.append(f"  {'service':<15} {'load':>5} {'through':<16} {'goodput':>7} {numbers}")
        lines += [cell.as_text() for cell in self.cells]
        verdicts = judge(self.cells)
        lines += ["", f"{OURS} over the best peer"] if verdicts else []
        lines += [verdict.as_text() for verdict in verdicts]
        if self.healthy:
            lines += ["", "refused before a service of less than a millisecond"]
        lines += [healthy.as_text() for healthy in self.healthy]
        lines += [f"not on this machine: {name}" for name in self.absent]
        return "\n".join(lines)

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "machine": machine_text(),
            "quick": quick,
            "cells": [cell.as_json() for cell in self.cells],
            "verdicts": [
                asdict(verdict) | {"is_met": verdict.is_met} for verdict in judge(self.cells)
            ],
            "healthy": [asdict(one) for one in self.healthy],
            "absent": list(self.absent),
        }


def arrivals(rate_rps: float, seconds: float, seed: int) -> Iterator[tuple[Nanos, Criticality]]:
    """Poisson, the same for all programs."""
    chance = random.Random(seed)
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(rate_rps)) < seconds:
        yield Nanos(round(at_s * NS_PER_S)), Criticality.CRITICAL


def run_cell(shape: Shape, load: float, peer: str, *, seconds: float) -> Cell | None:
    """None: the program is not on this machine."""
    rate_rps = shape.capacity_rps * load
    seconds = min(seconds, REQUESTS_MAX / rate_rps)
    with (
        tempfile.TemporaryDirectory(prefix="overload-") as home,
        Station(slots=shape.slots, service_ms=shape.service_ms, law=shape.law) as station,
    ):
        server = start(peer, Path(home), int(station.url.rpartition(":")[2]), TUNED[shape.name])
        if server is None:
            return None
        with running([server]):
            player = _Player(f"http://127.0.0.1:{server.port}/")
            before, began_at = _cpu_s(), monotonic_now()
            health = uvloop.run(player.play(arrivals(rate_rps, seconds, seed=1)))
            busy = (_cpu_s() - before) * NS_PER_S / (monotonic_now() - began_at)
            report = station.report()
    late_ns = max(LATE_MS, shape.service_ms / 10) * NS_PER_MS
    lags = {"generator": health.send_lag_p99_ns, "service": report.lateness_p99_ns}
    faults = [f"{who} {ns / NS_PER_MS:.1f} ms late" for who, ns in lags.items() if ns > late_ns]
    if busy > BUSY:
        faults.append(f"generator {busy:.0%} busy")
    if health.not_sent:
        faults.append(f"{health.not_sent} not sent")
    deadline_ns = milliseconds(DEADLINE_MS)
    served = [row for row in player.rows if row.status == 200 and row.latency_ns <= deadline_ns]
    latencies = sorted(row.latency_ns for row in served)
    # Else what is under way at the end would come on top, most of it where everybody waits.
    good = sum(row.done_at <= began_at + seconds * NS_PER_S for row in served)
    refused = sum(row.status in {429, 503} for row in player.rows)
    return Cell(
        shape=shape.name,
        load=load,
        peer=peer,
        goodput=good / (shape.capacity_rps * min(1.0, load) * seconds),
        p50_ms=_ms(percentile(latencies, 0.50)),
        p99_ms=_ms(percentile(latencies, 0.99)),
        refused_share=refused / max(1, len(player.rows)),
        refusal_p99_ms=_ms(percentile(sorted(player.on_arrival_ns), 0.99)),
        faults=tuple(faults),
    )


def _ms(ns: int | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(
    *,
    quick: bool,
    shapes: Sequence[str] = (),
    loads: Sequence[float] = (),
    peers: Sequence[str] = (),
    seconds: float | None = None,
) -> OverloadReport:
    """Cells one after another, peers in turn at each place.

    Raises:
        NotMeasuredError: there is no such shape or peer, or a program does not start.
    """
    for given, known in ((shapes, SHAPES), (peers, PEERS)):
        unknown = set(given) - set(known)
        if unknown:
            raise NotMeasuredError(
                f"no {', '.join(sorted(unknown))}; there are: {', '.join(known)}"
            )
    if quick:
        shapes, loads = shapes or ("4x20ms",), loads or (3.0,)
        peers = peers or (OURS, "nothing")
    # Servers have the other core; the generator and the service share this one.
    os.sched_setaffinity(0, OTHER_CORE or os.sched_getaffinity(0))
    length = seconds or (QUICK_SECONDS if quick else SECONDS)
    healthy = [] if quick or shapes or loads else measure_healthy(peers)
    cells, absent = [], []
    for shape in shapes or SHAPES:
        for load in loads or LOADS:
            for peer in peers or PEERS:
                cell = run_cell(SHAPES[shape], load, peer, seconds=length)
                if cell is not None:
                    cells.append(cell)
                elif peer not in absent:
                    absent.append(peer)
    return OverloadReport(cells=cells, absent=absent, healthy=healthy)


def measure_healthy(peers: Sequence[str] = ()) -> list[Healthy]:
    """What is refused before an nginx that answers at once, to clients that ask again at once."""
    wrk, found = program("wrk"), []
    with tempfile.TemporaryDirectory(prefix="overload-") as folder:
        home, port = Path(folder), free_port()
        service = upstream(home, port)
        if service is None or wrk is None:
            return []
        for connections in (8, 16, 64):
            for peer in (name for name in HEALTHY_PEERS if name in (peers or HEALTHY_PEERS)):
                server = start(peer, home, port, next(iter(TUNED.values())))
                if server is None:
                    continue
                command = [wrk, "-t1", f"-c{connections}", f"-d{HEALTHY_S}s", server.url]
                with running([service, server]):
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                answered = re.search(r"(\d+) requests in ", done.stdout)
                refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
                share = int(refused[1]) / int(answered[1]) if refused and answered else 0.0
                found.append(Healthy(connections, peer, share))
    return found


def searched() -> str:
    """The settings that `TUNED` holds, found anew in virtual time."""
    lines = []
    for shape in SHAPES.values():
        found, best = search(shape)
        lines.append(
            f"  {shape.name:<15} nginx limit_conn {found.nginx_limit:>3}   HAProxy maxconn"
            f" {found.haproxy_limit:>3}, timeout queue {found.haproxy_queue_ms} ms"
            f"   best mean goodput {best:.3f}"
        )
    return "\n".join(lines)
