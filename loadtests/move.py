"""A tenant is moved from cell to cell and back under load: what is lost, and who works for whom.

A control plane and several `shedproxy run` with two workers each share a folder. Their clients send
GETs and POSTs for the tenant that moves and for others beside it; `move-tenant` is ordered again
and again. The services of the two cells count whom they work for: for the tenant that moves never
both at once, and every POST once. With `--kill` the control plane is killed somewhere in each move,
and started again.

Exit code 0: no request was lost, none came twice, and never had two cells work. 1: something was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx2
import uvloop

from loadtests.keep_alive import Clients
from loadtests.programs import SHEDPROXY, Program
from shedproxy.controlplane.move import MoveBook, placed
from shedproxy.errors import DocumentInvalidError
from shedproxy.settings import load_settings
from shedproxy.snapshot import (
    StatusReport,
    canonical_key,
    cell_hash,
    decode_report,
    encode_snapshot,
    snapshot_of,
)
from shedproxy.store import SigningKey
from shedproxy.testing import free_port

__all__ = ["Cells", "Moves", "add_options", "moves", "run"]

TENANT = "mover"
OTHERS = ("one", "two", "three")
CELLS = ("a", "b")
_SECRET = "moves"
_PAUSE_S = 0.01
_LOOK_S = 0.02
"""Between two looks at what has come of it."""
_KILLED_WITHIN_S = 0.8
"""Of the order: as long as a move takes."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `move` wants to know."""
    add = parser.add_argument
    add("--count", type=int, default=30, help="moves  [default: %(default)s]")
    add("--hosts", type=int, default=2, help="proxies  [default: %(default)s]")
    add("--workers", type=int, default=2, help="of each  [default: %(default)s]")
    add("--clients", type=int, default=4, help="of the tenant, by host  [default: %(default)s]")
    add("--service-ms", type=float, default=20.0, help="mean of the work  [default: %(default)s]")
    add("--kill", action="store_true", help="kill the control plane in each of them")
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
    """By move: from the table that holds to that which gives the key away, as the audit has it."""
    begun: dict[str, int] = field(default_factory=dict)
    """Requests of the tenant, by cell."""
    p99_ms: float = 0.0
    """Of the tenant that moves."""
    others_p99_ms: tuple[float, float] = (0.0, 0.0)
    """Of the others: while nothing moves, and while something does."""
    seconds: float = 0.0
    killed: int = 0
    """How often the control plane was."""

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        is_kept = not (self.lost or self.overlaps or self.repeated)
        # One that nobody decided on in time is given up: then all is as it was.
        return is_kept and (not self.aborted or self.killed > 0)

    def text(self) -> str:
        """Some lines."""
        held = sorted(self.held_ms) or [0.0]
        before, during = self.others_p99_ms
        return (
            f"{self.moved} moves, {len(self.aborted)} given up, {self.seconds} s"
            f"{f', control plane killed {self.killed} times' if self.killed else ''}:"
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


# --- the fleet ----------------------------------------------------------------------------------


class _Fleet:
    """A control plane, the folder where it keeps everything, and proxies that read it."""

    def __init__(self, home: Path, hosts: int, workers: int, cells: Cells) -> None:
        self.names = tuple(f"h{number}" for number in range(hosts))
        self._home = home
        self._store = home / "store"
        self._workers = workers
        self._text = _SETTINGS.format(a=cells.url("a"), b=cells.url("b"), secret=_SECRET)
        self._programs: list[Program] = []
        self._control: Program | None = None
        self._http = httpx2.AsyncClient(timeout=20, trust_env=False)
        self._moved = 0

    async def start(self, *, is_controlled: bool = True) -> list[int]:
        """The ports of the proxies.

        Args:
            is_controlled: the control plane runs, too.
        """
        ports = [free_port() for _ in self.names]
        self._init(free_port())
        for name, port in zip(self.names, ports, strict=True):
            folder = self._home / name
            folder.mkdir()
            (folder / "shedproxy.toml").write_text(
                f"[server]\nlisten = '127.0.0.1:{port}'\nworkers = {self._workers}\n"
                f"[control]\nlisten = 'unix:{folder}/control'\n"
                f"[snapshot]\nsource = 'file://{self._store}/hosts/{{instance}}'\n"
                f"keys = '{self._home}/fleet.pub'\nfolder = '{folder}/kept'\n"
                f"instance = '{name}'\nperiod = '500ms'\nmove_period = '100ms'\n"
            )
            self._programs.append(Program(folder, "proxy", [*SHEDPROXY, "run"]))
        if is_controlled:
            self._control = Program(self._home, "plane", [*SHEDPROXY, "control", "run"])
            self._programs.append(self._control)
        await self._is_ready()
        return ports

    def _init(self, port: int) -> None:
        (self._home / "edge.toml").write_text(self._text)
        hosts = [part for name in self.names for part in ("--host", name)]
        listen = f"127.0.0.1:{port}"
        words = ["control", "init", "edge.toml", "--store", f"file://{self._store}", *hosts]
        subprocess.run(
            [*SHEDPROXY, *words, "--listen", listen],
            cwd=self._home, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        file = self._home / "control.toml"
        file.write_text(f'period = "1s"\n{file.read_text()}[move]\nmark = "20s"\nhold = "4s"\n')
        (token,) = self._home.glob("*.token")
        self._http.headers["authorization"] = f"Bearer {token.read_text().strip()}"
        self._http.base_url = httpx2.URL(f"http://{listen}")

    async def _is_ready(self, within_s: float = 60.0) -> None:
        """Wait until all report, and are settled."""
        end = time.monotonic() + within_s
        while not all(name in (found := self.reports()) and found[name].is_settled
                      for name in self.names):  # fmt: skip
            if time.monotonic() > end:
                logs = [program.log()[-2000:] for program in self._programs]
                raise SystemExit("the proxies do not settle:\n" + "\n".join(logs))
            await asyncio.sleep(_LOOK_S)

    def reports(self) -> dict[str, StatusReport]:
        """What the proxies said last."""
        found = {}
        for name in self.names:
            with contextlib.suppress(OSError, DocumentInvalidError):
                data = (self._store / "hosts" / "reports" / name).read_bytes()
                found[name] = decode_report(data)
        return found

    async def move(self, *, killed_after_s: float | None = None) -> tuple[str, float]:
        """Move the tenant to the other cell; why it was given up or "", and the ms it was held.

        Args:
            killed_after_s: then the control plane is killed, and started again.
        """
        target = CELLS[1 - self._moved % 2]
        told = await self._ask("POST", "/v1/move-tenant", json={"key": TENANT, "to": target})
        if killed_after_s is not None:
            await asyncio.sleep(killed_after_s)
            assert self._control is not None
            await asyncio.to_thread(self._control.kill)
            await asyncio.to_thread(self._control.start)
        while (status := await self._ask("GET", "/v1/status"))["move"] is not None:
            await asyncio.sleep(_LOOK_S)
        if {each["cell"] for each in status["moved"]} != {target}:
            return status["move_given_up"], 0.0
        self._moved += 1
        audit = await self._ask("GET", f"/v1/audit?from={told['revision']}")
        (flip,) = (each for each in audit["entries"] if each["verb"] == "flip tenant")
        return "", round(flip["facts"]["after_s"] * 1000, 1)

    async def move_at_once(self) -> tuple[str, float]:
        """Give every proxy a table with the tenant in the other cell, and nothing else."""
        self._moved += 1
        document = load_settings(Path("edge.toml"), text=self._text).document
        key = f"{cell_hash(_SECRET)(canonical_key('api-key', TENANT.encode())):016x}"
        book = MoveBook(version=self._moved, pins=((key, CELLS[self._moved % 2]),))
        cells = placed(book, document.classification.cells)
        document = replace(document, classification=replace(document.classification, cells=cells))
        snapshot = snapshot_of(document, revision=1 + self._moved)
        data = encode_snapshot(snapshot, [SigningKey(self._home / "fleet.key").sign])
        for name in self.names:
            new = self._store / "new"
            new.write_bytes(data)
            new.replace(self._store / "hosts" / name)
        while any(each.table_version < self._moved for each in self.reports().values()):
            await asyncio.sleep(_LOOK_S)
        return "", 0.0

    async def _ask(self, method: str, path: str, *, json: Any = None) -> dict[str, Any]:
        """An answer, from one that may be starting."""
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = await self._http.request(method, path, json=json)
                if answer.status_code == 200:
                    content: dict[str, Any] = answer.json()
                    return content
                if answer.status_code != 503:
                    raise SystemExit(answer.text)
            if time.monotonic() > end:
                raise SystemExit("the control plane does not answer")
            await asyncio.sleep(_LOOK_S)

    async def end(self) -> None:
        await self._http.aclose()
        for program in self._programs:
            await asyncio.to_thread(program.end)


_SETTINGS = """\
[server.timeouts]
response = "2s"
[server.drain]
grace = "300ms"
[cells]
key = "api-key:x-tenant"
secret = "{secret}"
default = "a"
weights = {{ a = 1 }}
[cell.default]
upstream = "{a}"
[cell.a]
upstream = "{a}"
limit = 64
[cell.b]
upstream = "{b}"
limit = 64
"""


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
    steady_s: float = 3.0, is_at_once: bool = False, killed: Collection[int] = (),
) -> Moves:  # fmt: skip
    """Real processes: see above. `killed`: the moves, from 0, in which the control plane is."""
    done = Moves()
    with tempfile.TemporaryDirectory(prefix="shedproxy-moves-") as folder:
        async with Cells(service_s) as cells:
            fleet = _Fleet(Path(folder), hosts, workers, cells)
            chance = random.Random(count)

            async def move() -> tuple[str, float]:
                if is_at_once:
                    return await fleet.move_at_once()
                if done.moved + len(done.aborted) not in killed:
                    return await fleet.move()
                done.killed += 1
                return await fleet.move(killed_after_s=chance.uniform(0, _KILLED_WITHIN_S))

            try:
                ports = await fleet.start(is_controlled=not is_at_once)
                await _move_under_load(done, move, ports, count, clients, steady_s)
            finally:
                await fleet.end()
            done.overlaps, done.repeated = cells.overlaps, cells.repeated
            done.begun = dict(cells.begun)
    return done


async def _move_under_load(
    done: Moves,
    move: Callable[[], Awaitable[tuple[str, float]]],
    ports: Sequence[int],
    count: int,
    clients: int,
    steady_s: float,
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
            ended, held_ms = await move()
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
            killed=range(chosen.count) if chosen.kill else (),
        )
    )
    print(json.dumps({**vars(done), "is_good": done.is_good}) if chosen.json else done.text())
    for why in [] if chosen.json else [*done.aborted[:5], *done.lost[:5]]:
        print(f"  {why}")
    return 0 if done.is_good else 1
