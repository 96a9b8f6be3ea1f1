"""One cell of `workers`: a service of four slots, and so many workers with one limit before it.

The connections are put where the case wants them: all workers but one are held still while they
are opened. The service's departures are computed (`loadgen.station`), so that it knows exactly how
long more were with it than it has slots, which is the fixed limit. An adaptive limit moves: there
the shared page of the workers is looked at every millisecond, and compared with the largest limit
that was in force a moment ago, because what a former limit let in is not taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from benchmarks import peers
from benchmarks.environment import Stolen
from benchmarks.load import STOLEN_MAX
from benchmarks.overload_cells import arrivals
from benchmarks.servers import Server, on_other_core, running
from loadtests.held import held, in_accept_queue
from shedproxy.clock import monotonic_now
from shedproxy.core import (
    NS_PER_MS,
    NS_PER_S,
    SHARE_FIELDS,
    Criticality,
    Nanos,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.share_page import SharePage
from shedproxy.loadgen.client import LoadConnection
from shedproxy.loadgen.player import Player
from shedproxy.loadgen.station import Station

__all__ = ["ADAPTIVE", "SERVERS", "Case", "Seen", "run_case", "wait_for_workers"]

SLOTS, SERVICE_MS = 4, 20.0
CAPACITY_RPS = SLOTS * 1000 / SERVICE_MS
DEADLINE_MS = 1000.0
CONNECTIONS = {"closed": 16, "3x": 128}
"""By the load: so many, each with one request after the other; or Poisson, thrice the capacity."""
LATE_MS = SERVICE_MS / 10
"""At the 99th percentile: later, and the cell is void."""
SETTLE_S = 0.3
"""Until workers that came one after the other have all seen each other."""
UP_S = 30.0
_LOOK_S = 0.001
_FORMER_LIMITS_S = 0.1
"""What runs was let in by a limit of this time."""


LOADS = {"closed": "16 closed connections", "3x": "Poisson, 3 x capacity"}
ADAPTIVE = "adaptive limit"


@dataclass(frozen=True, slots=True)
class Case:
    """Who serves, with how many workers, and what comes over which connections."""

    server: str
    workers: int
    spread: str
    """Connections: "one" has them all, or they are dealt "even"."""
    load: str

    def __str__(self) -> str:
        where = {"one": ", all on one", "even": ", evenly"}[self.spread] if self.workers > 1 else ""
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}{where}"
        return f"{self.server}, {LOADS[self.load]}: {workers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a cell: a raw row."""

    case: str
    goodput: float
    """Answers within the deadline and before the end, over the capacity."""
    above: float
    """Share of the time in which more was in flight than the limit."""
    most_above: int
    """How far at most."""
    refused: int
    spilled: int
    """Connections opened on the way, by whatever worker took them."""
    send_lag_p99_ms: float
    station_lag_p99_ms: float
    stolen: float
    faults: tuple[str, ...]
    """Why it is void."""


def _shedproxy(limit: str) -> Callable[[Path, int, int], Server | None]:
    def make(home: Path, up: int, workers: int) -> Server:
        config = f"[server]\nworkers = {workers}\n{limit}"
        return peers.shedproxy(home, up, config=config)

    return make


def _uvicorn(home: Path, up: int, workers: int) -> Server:
    os.environ["BENCHMARKS_FORWARD_TO"] = str(up)
    options = (f"--workers={workers}",) if workers > 1 else ()
    return peers.uvicorn("uvicorn", "apps:limited", home=home, options=options)


def _gunicorn(home: Path, up: int, workers: int) -> Server | None:
    os.environ["BENCHMARKS_FORWARD_TO"] = str(up)
    return peers.gunicorn("gunicorn", "apps:limited", home=home, workers=workers)


SERVERS: dict[str, Callable[[Path, int, int], Server | None]] = {
    f"limit {SLOTS}": _shedproxy(f"[cell.default]\nlimit = {SLOTS}\n"),
    ADAPTIVE: _shedproxy(""),
    "middleware, uvicorn": _uvicorn,
    "middleware, gunicorn": _gunicorn,
}


class _Dealt(deque[Any]):
    """Idle connections take turns: a stack would leave those at its bottom out."""

    pop = deque.popleft


class _Placed(Player):
    """Over connections that were opened before it begins."""

    def __init__(self, url: str) -> None:
        super().__init__(url, deadline_ns=milliseconds(DEADLINE_MS))
        self._idle: Any = _Dealt()
        self.spilled = 0

    async def open(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(
                lambda: LoadConnection(self._on_done), self._host, self._port
            )
            self._idle.append(connection)

    async def _connect(self) -> None:
        self.spilled += 1
        await super()._connect()


class _Watch:
    """Looks at the page that the workers of a supervisor share, from a thread, until told."""

    def __init__(self, supervisor: int) -> None:
        self._page = _page_of(supervisor)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.looks = self.looks_above = self.most_above = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._page.close()

    def _look(self) -> None:
        workers = len(self._page)
        former: deque[tuple[float, int]] = deque()
        # One cell: it has the first words.
        with self._page.share_words(0)[: SHARE_FIELDS * workers] as words:
            while not self._is_over.wait(_LOOK_S):
                in_flight = sum(words[:workers])
                now = time.monotonic()
                former.append((now, max(words[2 * workers : 3 * workers])))
                while former[0][0] < now - _FORMER_LIMITS_S:
                    former.popleft()
                above = in_flight - max(limit for _, limit in former)
                self.looks += 1
                self.looks_above += above > 0
                self.most_above = max(self.most_above, above)


def _page_of(supervisor: int) -> SharePage:
    for entry in Path(f"/proc/{supervisor}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith("/memfd:shedproxy"):
                return SharePage.attach(os.open(entry, os.O_RDWR))
    raise RuntimeError(f"process {supervisor} has no page")


def wait_for_workers(server: Server, count: int) -> list[int]:
    """Until each of them serves; their processes."""
    give_up_at = time.monotonic() + UP_S
    while len(workers := server.workers if count > 1 else [server.pid]) < count:
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{server.name} has {len(workers)} of {count} workers")
        time.sleep(0.02)
    for worker in workers if count > 1 else ():
        with held([other for other in workers if other != worker]):
            server.wait()
    return workers


async def _place(player: _Placed, server: Server, workers: list[int], case: Case) -> None:
    """Open the connections, with the workers that they are for."""
    count = CONNECTIONS[case.load]
    those = workers[:1] if case.spread == "one" else workers
    for worker in those:
        with held([other for other in workers if other != worker] if case.workers > 1 else []):
            await player.open(count // len(those))
            while in_accept_queue(server.port):
                await asyncio.sleep(0.001)


def run_case(case: Case, *, seconds_: float, seed: int) -> Seen | None:
    """Everything anew, cold. None: the server is not on this machine."""
    with (
        tempfile.TemporaryDirectory(prefix="workers-") as home,
        on_other_core(),
        Station(slots=SLOTS, service_ms=SERVICE_MS) as station,
    ):
        up = int(station.url.rpartition(":")[2])
        server = SERVERS[case.server](Path(home), up, case.workers)
        if server is None:
            return None
        with running([server]):
            workers = wait_for_workers(server, case.workers)
            time.sleep(SETTLE_S)
            return uvloop.run(_play(case, server, workers, station, seconds_, seed))


async def _play(
    case: Case,
    server: Server,
    workers: list[int],
    station: Station,
    length_s: float,
    seed: int,
) -> Seen:
    player = _Placed(server.url)
    await _place(player, server, workers, case)
    before = await asyncio.to_thread(station.report)
    stolen, began_at = Stolen(), monotonic_now()
    with _watch(case, server) as watch:
        if case.load == "closed":
            health = await player.play_closed(
                CONNECTIONS["closed"],
                length_ns=seconds(length_s),
                draw=lambda: Criticality.CRITICAL,
            )
        else:
            health = await player.play(arrivals(3 * CAPACITY_RPS, length_s, seed))
    after = await asyncio.to_thread(station.report)
    if watch is not None:
        above, most = watch.looks_above / max(1, watch.looks), watch.most_above
    else:
        above = (after.waited_ns - before.waited_ns) / (after.elapsed_ns - before.elapsed_ns)
        most = after.most_waiting_count
    end_at = began_at + length_s * NS_PER_S
    good = sum(
        row.status == 200 and row.done_at <= end_at and row.latency_ns <= DEADLINE_MS * NS_PER_MS
        for row in player.rows
    )
    lags = {"generator": health.send_lag_p99_ns, "service": after.lateness_p99_ns}
    return Seen(
        case=str(case),
        goodput=good / (CAPACITY_RPS * length_s),
        above=above,
        most_above=max(0, most),
        refused=sum(row.status in {429, 503} for row in player.rows),
        spilled=player.spilled,
        send_lag_p99_ms=_ms(health.send_lag_p99_ns),
        station_lag_p99_ms=_ms(after.lateness_p99_ns),
        stolen=round(stolen.share(), 4),
        faults=_faults(lags, health.not_sent, stolen.share()),
    )


@contextlib.contextmanager
def _watch(case: Case, server: Server) -> Iterator[_Watch | None]:
    """One worker alone writes no words, and a fixed limit is seen better from the service."""
    if case.server != ADAPTIVE or case.workers == 1:
        yield None
    else:
        with _Watch(server.pid) as watch:
            yield watch


def _faults(lags: dict[str, Nanos], not_sent: int, stolen: float) -> tuple[str, ...]:
    found = [
        f"{who} late: {_ms(ns):.1f} ms" for who, ns in lags.items() if ns > LATE_MS * NS_PER_MS
    ]
    if not_sent:
        found.append(f"not sent: {not_sent}")
    if stolen > STOLEN_MAX:
        found.append(f"time was stolen: {stolen:.1%}")
    return tuple(found)


def _ms(ns: int) -> float:
    return round(ns / NS_PER_MS, 3)
