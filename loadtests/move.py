"""A tenant is moved from cell to cell and back under load: what is lost, and who works for whom.

Several `shedproxy run` with two workers each take their policy from signed snapshots in a folder.
Their clients send GETs and POSTs for the tenant that moves and for others beside it. Whoever moves
reads the reports of all, goes on with the book (`shedproxy.controlplane.move`), and publishes what
it says. The services of the two cells count whom they work for: for the tenant that moves never
both at once, and every POST once.

Exit code 0: no request was lost, none came twice, and never had two cells work. 1: something was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import uvloop

from loadtests.keep_alive import Clients
from shedproxy.controlplane.move import (
    Move,
    MoveBook,
    MoveRules,
    MoveStep,
    advance,
    begin,
    cell_of,
    placed,
)
from shedproxy.errors import DocumentInvalidError
from shedproxy.settings import load_settings
from shedproxy.snapshot import (
    Document,
    StatusReport,
    canonical_key,
    cell_hash,
    decode_report,
    encode_snapshot,
    snapshot_of,
)
from shedproxy.store import SigningKey, write_key_pair

__all__ = ["Cells", "Moves", "add_options", "moves", "run"]

TENANT = "mover"
OTHERS = ("one", "two", "three")
CELLS = ("a", "b")
_SECRET = "moves"
_PAUSE_S = 0.01
_LOOK_S = 0.02
"""Between two looks at the reports."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `move` wants to know."""
    add = parser.add_argument
    add("--count", type=int, default=30, help="moves  [default: %(default)s]")
    add("--hosts", type=int, default=2, help="proxies  [default: %(default)s]")
    add("--workers", type=int, default=2, help="of each  [default: %(default)s]")
    add("--clients", type=int, default=4, help="of the tenant, by host  [default: %(default)s]")
    add("--service-ms", type=float, default=20.0, help="mean of the work  [default: %(default)s]")
    add("--at-once", action="store_true", help="without any of it: what it is there for")
    add("--json", action="store_true", help="one object instead of a text")


@dataclass
class Moves:
    """What was done, and what it cost."""

    moved: int = 0
    aborted: list[str] = field(default_factory=list)
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    overlaps: int = 0
    """Requests of the tenant that began at one cell while the other had some."""
    repeated: int = 0
    """POSTs that a cell was given twice."""
    held_ms: list[float] = field(default_factory=list)
    """By move: from the table that holds to that which gives the key away."""
    begun: dict[str, int] = field(default_factory=dict)
    """Requests of the tenant, by cell."""
    p99_ms: float = 0.0
    """Of the tenant that moves."""
    others_p99_ms: tuple[float, float] = (0.0, 0.0)
    """Of the others: while nothing moves, and while something does."""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.overlaps or self.repeated or self.aborted)

    def text(self) -> str:
        """Some lines."""
        held = sorted(self.held_ms) or [0.0]
        before, during = self.others_p99_ms
        return (
            f"{self.moved} moves, {len(self.aborted)} given up, {self.seconds} s:"
            f" {len(self.lost)} of {self.answered + len(self.lost)} requests lost,"
            f" {self.repeated} POSTs twice\n"
            f"{self.overlaps} of the tenant's {sum(self.begun.values())} requests"
            f" ({' and '.join(f'{count} at {cell}' for cell, count in self.begun.items())})"
            " began at one cell beside work at the other\n"
            f"held for {held[len(held) // 2]:.0f} ms in the middle, {held[-1]:.0f} ms at most;"
            f" its p99 {self.p99_ms} ms\n"
            f"others: p99 {before} ms before, {during} ms meanwhile"
        )


# --- the services -------------------------------------------------------------------------------


class Cells:
    """The services of two cells in this process, and what they are at, by cell and tenant."""

    def __init__(self, service_s: float) -> None:
        self._service_s = service_s
        self._work: Counter[tuple[str, str]] = Counter()
        self._posts: Counter[bytes] = Counter()
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.overlaps = 0
        self.begun: Counter[str] = Counter()
        """Requests of the tenant that moves, by cell."""

    async def __aenter__(self) -> Self:
        for cell in CELLS:
            serve = self._server_of(cell)
            self._servers[cell] = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, cell: str) -> str:
        return f"http://127.0.0.1:{self._servers[cell].sockets[0].getsockname()[1]}"

    @property
    def repeated(self) -> int:
        """POSTs that came more than once."""
        return sum(count - 1 for count in self._posts.values())

    def _server_of(self, cell: str) -> Callable[..., Any]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                while True:
                    await self._answer(cell, reader, writer)
            except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                pass
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        return serve

    async def _answer(
        self, cell: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(_field(head, b"content-length") or 0)
        tenant = _field(head, b"x-tenant").decode()
        if length:
            self._posts[await reader.readexactly(length)] += 1
        other = CELLS[1 - CELLS.index(cell)]
        if tenant == TENANT:
            self.begun[cell] += 1
            self.overlaps += self._work[other, tenant] > 0
        self._work[cell, tenant] += 1
        try:
            await asyncio.sleep(self._service_s * (0.5 + (len(head) + self.begun[cell]) % 10 / 10))
        finally:
            self._work[cell, tenant] -= 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")


def _field(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n%s: " % name)[2].partition(b"\r\n")[0]


class _Posts(Sequence[bytes]):
    """A GET and a POST in turns; no two POSTs are alike."""

    def __init__(self, tenant: str) -> None:
        self._head = f"HTTP/1.1\r\nhost: test\r\nx-tenant: {tenant}\r\n".encode()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        if index == 1:
            body = os.urandom(16).hex().encode()
            return b"POST / %scontent-length: %d\r\n\r\n%s" % (self._head, len(body), body)
        if index == 0:
            return b"GET / %s\r\n" % self._head
        raise IndexError(index)


# --- the proxies --------------------------------------------------------------------------------


class _Fleet:
    """Processes, the folder that they read, and the book."""

    def __init__(self, home: Path, hosts: int, workers: int, cells: Cells) -> None:
        self.names = tuple(f"h{number}" for number in range(hosts))
        self._home = home
        self._store = home / "store"
        self._store.mkdir()
        write_key_pair(home / "fleet.key", home / "fleet.pub")
        self._key = SigningKey(home / "fleet.key")
        self._document = _document(cells)
        self._workers = workers
        self._revision = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self.book = MoveBook()
        self.is_at_once = False
        self.key = f"{cell_hash(_SECRET)(canonical_key('api-key', TENANT.encode())):016x}"

    def start(self) -> list[int]:
        """The ports of all."""
        ports = [_free_port() for _ in self.names]
        self.publish()
        for name, port in zip(self.names, ports, strict=True):
            folder = self._home / name
            folder.mkdir()
            file = folder / "shedproxy.toml"
            file.write_text(
                f"[server]\nlisten = '127.0.0.1:{port}'\nworkers = {self._workers}\n"
                f"[control]\nlisten = 'unix:{folder}/control'\n"
                f"[snapshot]\nsource = 'file://{self._store}/current'\n"
                f"keys = '{self._home}/fleet.pub'\nfolder = '{folder}/kept'\n"
                f"instance = '{name}'\nperiod = '500ms'\nmove_period = '100ms'\n"
            )
            with (folder / "log").open("wb") as log:
                words = [sys.executable, "-m", "shedproxy", "run", "--config", str(file)]
                self._processes.append(
                    subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log)
                )
        return ports

    async def is_ready(self, within_s: float = 60.0) -> None:
        """Wait until all report, and are settled."""
        end = time.monotonic() + within_s
        while not all(name in (found := self.reports()) and found[name].is_settled
                      for name in self.names):  # fmt: skip
            if time.monotonic() > end:
                logs = [(self._home / name / "log").read_text()[-2000:] for name in self.names]
                raise SystemExit("the proxies do not settle:\n" + "\n".join(logs))
            await asyncio.sleep(_LOOK_S)

    def reports(self) -> dict[str, StatusReport]:
        found = {}
        for name in self.names:
            with contextlib.suppress(OSError, DocumentInvalidError):
                data = (self._store / "reports" / name).read_bytes()
                found[name] = decode_report(data)
        return found

    def publish(self) -> None:
        """What the book says, to everybody."""
        self._revision += 1
        classification = self._document.classification
        cells = placed(self.book, classification.cells)
        document = replace(self._document, classification=replace(classification, cells=cells))
        snapshot = snapshot_of(document, revision=self._revision)
        new = self._store / ".new"
        new.write_bytes(encode_snapshot(snapshot, [self._key.sign]))
        new.replace(self._store / "current")

    async def move(self, rules: MoveRules) -> tuple[str, float]:
        """Move the tenant to the other cell; why it was given up or "", and the ms it was held."""
        owner = cell_of(self.book, self._document.classification.cells, self.key)
        target = CELLS[1 - CELLS.index(owner)]
        now_s = time.time()
        if self.is_at_once:
            version = self.book.version + 1
            self.book = MoveBook(version=version, pins=((self.key, target),))
            self.publish()
            while any(each.table_version < version for each in self.reports().values()):
                await asyncio.sleep(_LOOK_S)
            return "", 0.0
        self.book = begin(self.book, self.key, owner=owner, target=target, now_s=now_s, rules=rules)
        self.publish()
        held_at = 0.0
        held_ms = 0.0
        while self.book.move is not None:
            before = self.book
            self.book = advance(before, hosts=self.names, reports=self.reports(), now_s=time.time())
            if self.book.version != before.version:
                self.publish()
            held_at, held_ms = _timed(self.book.move, held_at, held_ms)
            await asyncio.sleep(_LOOK_S)
        return self.book.ended, held_ms

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()


def _timed(move: Move | None, held_at: float, held_ms: float) -> tuple[float, float]:
    now = time.perf_counter()
    if move is not None and move.step is MoveStep.HELD:
        return held_at or now, held_ms
    return 0.0, round((now - held_at) * 1000, 1) if held_at else held_ms


def _document(cells: Cells) -> Document:
    return load_settings(
        overrides={
            "cells.key": "api-key:x-tenant",
            "cells.secret": _SECRET,
            "cells.default": "a",
            "cells.weights": {"a": 1},
            "cell.a.upstream": [cells.url("a")],
            "cell.b.upstream": [cells.url("b")],
            "cell.default.upstream": [cells.url("a")],
            "cell.a.limit": 64,
            "cell.b.limit": 64,
            "server.timeouts.response": "1s",
            "server.drain.grace": "300ms",
        }
    ).document


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


# --- the load -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _load(ports: Sequence[int], tenant: str, count: int) -> AsyncIterator[list[Clients]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Clients(port, count, pause_s=_PAUSE_S, requests=_Posts(tenant))
            )
            for port in ports
        ]


def _p99_ms(clients: Sequence[Clients], since: Sequence[int]) -> float:
    took = sorted(
        each for one, first in zip(clients, since, strict=True) for each in one.took[first:]
    )
    return round(took[int(len(took) * 0.99)] * 1000, 1) if took else 0.0


async def moves(
    count: int, *, hosts: int = 2, workers: int = 2, clients: int = 4, service_s: float = 0.02,
    steady_s: float = 3.0, is_at_once: bool = False,
) -> Moves:  # fmt: skip
    """Real processes: see above."""
    done = Moves()
    with tempfile.TemporaryDirectory(prefix="shedproxy-moves-") as folder:
        async with Cells(service_s) as cells:
            fleet = _Fleet(Path(folder), hosts, workers, cells)
            fleet.is_at_once = is_at_once
            try:
                ports = fleet.start()
                await fleet.is_ready()
                await _move_under_load(done, fleet, ports, count, clients, steady_s)
            finally:
                await asyncio.to_thread(fleet.end)
            done.overlaps, done.repeated = cells.overlaps, cells.repeated
            done.begun = dict(cells.begun)
    return done


async def _move_under_load(
    done: Moves, fleet: _Fleet, ports: Sequence[int], count: int, clients: int, steady_s: float
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        mover = await stack.enter_async_context(_load(ports, TENANT, clients))
        others = [
            one
            for tenant in OTHERS
            for one in await stack.enter_async_context(_load(ports, tenant, clients))
        ]
        await asyncio.sleep(steady_s)
        before = _p99_ms(others, [0] * len(others))
        since = [len(one.took) for one in others]
        began = time.perf_counter()
        for _ in range(count):
            ended, held_ms = await fleet.move(MoveRules(mark_s=20.0, hold_s=4.0))
            if ended:
                done.aborted.append(ended)
            else:
                done.moved += 1
                done.held_ms.append(held_ms)
        done.seconds = round(time.perf_counter() - began, 1)
        done.others_p99_ms = before, _p99_ms(others, since)
        done.p99_ms = _p99_ms(mover, [0] * len(mover))
    everybody = [*mover, *others]
    done.answered = sum(one.ok for one in everybody)
    done.lost = [why for one in everybody for why in one.lost]


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Move, print what it cost, and return the exit code."""
    if not 1 <= chosen.hosts <= 16 or not 1 <= chosen.workers <= 16:
        parser.error("1 to 16 hosts, 1 to 16 workers")
    done = uvloop.run(
        moves(
            chosen.count,
            hosts=chosen.hosts,
            workers=chosen.workers,
            clients=chosen.clients,
            service_s=chosen.service_ms / 1000,
            is_at_once=chosen.at_once,
        )
    )
    print(json.dumps({**vars(done), "is_good": done.is_good}) if chosen.json else done.text())
    for why in [] if chosen.json else [*done.aborted[:5], *done.lost[:5]]:
        print(f"  {why}")
    return 0 if done.is_good else 1
