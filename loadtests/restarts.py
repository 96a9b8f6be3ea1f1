"""Restarts, reloads, replacements of the program and kills of workers under load: what is lost.

In each round every worker process is replaced and the settings are read again with another limit;
then every worker is killed, one after the other (`kills`), and what it had accepted is lost with
it, nothing else. Every tenth round a second shedproxy is started on the same socket, as systemd
hands it over, and the first one is ended. `--compressed` restarts and reloads within one process,
without the start of processes: a new data plane on the same socket, and a drain of the old one, a
thousand times.

Exit code 0: no request was lost but those that a killed worker had accepted. 1: some were.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from loadtests.keep_alive import Clients, Upstream
from loadtests.kills import Kills, kill_beside_newcomers
from shedproxy.cli.control_client import ControlClient, ControlError
from shedproxy.core import CellPolicy, LimitPolicy, Policy, seconds
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.server import WireServer
from shedproxy.snapshot import Document, ProxyDocument, UpstreamDocument

__all__ = ["Rounds", "add_options", "compressed_rounds", "live_rounds", "run"]

REPLACE_EVERY = 10
_LIMIT = 64
_PAUSE_S = 0.005
"""Between the requests of a client: the load is to be steady, not to take the processors."""
_ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""What systemd does before it starts a service with one socket."""


class Rounds:
    """What was done, and what it cost."""

    def __init__(self) -> None:
        self.restarts = self.workers = self.reloads = self.replacements = 0
        self.kills = self.queued = self.taken = self.taken_served = 0
        """Kills; connections in the accept queue then; requests that went with the killed workers,
        and those of them that were under way at the kill."""
        self.answered = 0
        self.lost: list[str] = []
        """All others."""
        self.p99_ms = 0.0
        self.seconds = 0.0

    def note(self, clients: Clients, began: float, kills: Kills | None = None) -> None:
        """The end: what the clients saw."""
        kills = kills or Kills()
        taken = [loss for loss in clients.losses if kills.took(loss)]
        self.kills = len(kills.kills)
        self.queued = sum(kill.queued for kill in kills.kills)
        self.taken, self.taken_served = len(taken), sum(map(kills.was_served, taken))
        self.answered, self.p99_ms = clients.ok, clients.p99_ms()
        self.lost = [loss.why for loss in clients.losses if not kills.took(loss)]
        self.lost += [why for kill in kills.kills for why in kill.reset]
        self.seconds = round(time.perf_counter() - began, 1)

    def text(self) -> str:
        """One line."""
        return (
            f"{self.restarts} rolling restarts ({self.workers} workers), {self.reloads} reloads,"
            f" {self.replacements} replacements of the program: {len(self.lost)} of"
            f" {self.answered + len(self.lost)} requests lost, p99 {self.p99_ms} ms,"
            f" {self.seconds} s" + self._kills_text()
        )

    def _kills_text(self) -> str:
        if not self.kills:
            return ""
        return (
            f"\n{self.kills} workers killed, {self.queued} connections in the accept queue at that:"
            f" {self.taken} requests went with the workers that had accepted their connections"
            f" ({self.taken_served} under way at the kill, {self.taken - self.taken_served} sent"
            " just after it)"
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `restarts` wants to know."""
    add = parser.add_argument
    add("--count", type=int, help="rounds  [default: 50, compressed 1000]")
    add("--no-kills", action="store_true", help="restarts and reloads only")
    add("--workers", type=int, default=2, help="worker processes  [default: %(default)s]")
    add("--clients", type=int, default=16, help="connections  [default: %(default)s]")
    add("--compressed", action="store_true", help="in one process, a thousand times")
    add("--json", action="store_true", help="one object instead of a text")


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do the rounds, print what they cost, and return the exit code."""
    if not 1 <= chosen.clients <= 1000 or not 1 <= chosen.workers <= 16:
        parser.error("1 to 1000 clients, 1 to 16 workers")
    if chosen.compressed:
        done = uvloop.run(compressed_rounds(chosen.count or 1000, clients=chosen.clients))
    else:
        rounds = live_rounds(
            chosen.count or 50,
            workers=chosen.workers,
            clients=chosen.clients,
            with_kills=not chosen.no_kills,
        )
        done = uvloop.run(rounds)
    print(json.dumps(vars(done)) if chosen.json else done.text())
    for loss in done.lost[:5] if not chosen.json else ():
        print(f"  {loss}")
    return 1 if done.lost else 0


# --- live ---------------------------------------------------------------------------------------


class _Program:
    """One `shedproxy run` on a socket that was handed to it."""

    def __init__(self, home: Path, name: str, file: Path, listener: socket.socket) -> None:
        self.control = f"unix:{home}/{name}.control"
        words = ["run", "--config", file, "--listen", "systemd", "--control", self.control]
        self._log = (home / f"{name}.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _ACTIVATED, str(listener.fileno())),
                *("-m", "shedproxy", *map(str, words)),
            ],
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stderr=self._log,
        )

    async def ask(self, method: str, path: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            with ControlClient(self.control) as client:
                body = {} if method == "POST" else None
                return client.ask(method, path, body=body, good=(200, 202))

        return await asyncio.to_thread(ask)

    async def status(self) -> dict[str, Any]:
        return await self.ask("GET", "/-/status")

    async def is_ready(self) -> None:
        while True:
            if self._process.poll() is not None:
                raise SystemExit(f"it ended: {Path(self._log.name).read_text()}")
            # A client that finds nothing to connect to would leak its socket.
            if Path(self.control.removeprefix("unix:")).exists():
                with contextlib.suppress(ControlError):
                    if (await self.status())["ready"]:
                        return
            await asyncio.sleep(0.05)

    async def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self._process.wait)
        self._log.close()
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.asynccontextmanager
async def _programs(
    url: str, workers: int, listener: socket.socket
) -> AsyncIterator[tuple[Path, Any]]:
    """The settings file, and a function that starts a program and waits until it serves."""
    programs: list[_Program] = []
    with tempfile.TemporaryDirectory(prefix="shedproxy-restarts-") as folder:
        home = Path(folder)
        file = home / "shedproxy.toml"

        def write(limit: int) -> None:
            file.write_text(
                f"[server]\nworkers = {workers}\n[server.drain]\ngrace = '10s'\n"
                f"[cell.default]\nupstream = '{url}'\nlimit = {limit}\n"
            )

        async def start() -> _Program:
            programs.append(_Program(home, f"p{len(programs)}", file, listener))
            await programs[-1].is_ready()
            return programs[-1]

        write(_LIMIT)
        try:
            yield write, start
        finally:
            for program in programs:
                program.kill()


async def live_rounds(
    count: int,
    *,
    workers: int = 2,
    clients: int = 16,
    replace_every: int = REPLACE_EVERY,
    with_kills: bool = False,
) -> Rounds:
    """Real processes: see above."""
    done, kills = Rounds(), Kills()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        port = listener.getsockname()[1]
        async with Upstream() as upstream, _programs(upstream.url, workers, listener) as tools:
            write, start = tools
            program = await start()
            began = time.perf_counter()
            async with Clients(port, clients, pause_s=_PAUSE_S) as load:
                for number in range(1, count + 1):
                    write(_LIMIT + number % 2)
                    restart = asyncio.create_task(_restart(program))
                    reload = await program.ask("POST", "/-/reload")
                    done.reloads += bool(reload["ok"])
                    done.workers += await restart
                    done.restarts += 1
                    if with_kills:
                        await _kill_each(program, port, kills)
                    if number % replace_every == 0:
                        former, program = program, await start()
                        if await former.end():
                            raise SystemExit("a program did not end in order")
                        done.replacements += 1
            done.note(load, began, kills)
            await program.end()
    return done


async def _kill_each(program: _Program, port: int, kills: Kills) -> None:
    """One worker after the other; the next when there is a successor."""
    workers = (await program.status())["workers"]
    for worker in workers:
        pids = [each["pid"] for each in (await program.status())["workers"]]
        kills.kills.append(await kill_beside_newcomers(port, pids, worker["pid"]))
        while not _is_complete(await program.status(), len(workers), worker["pid"]):
            await asyncio.sleep(0.02)


def _is_complete(status: dict[str, Any], count: int, killed: int) -> bool:
    """Whether so many workers serve, and the killed one is none of them."""
    states = {worker["pid"]: worker["state"] for worker in status["workers"]}
    return killed not in states and list(states.values()) == ["ready"] * count


async def _restart(program: _Program) -> int:
    """A rolling restart, to its end; how many workers were replaced."""
    state = await program.ask("POST", "/-/restart")
    while state["state"] == "running":
        await asyncio.sleep(0.02)
        state = (await program.status())["restart"]
    if state["state"] != "done":
        raise SystemExit(f"the restart failed: {state['why']}")
    return int(state["replaced"])


# --- compressed ---------------------------------------------------------------------------------


async def compressed_rounds(count: int, *, clients: int = 16) -> Rounds:
    """One process: a successor on the same socket, a drain of the former, and a new document."""
    done = Rounds()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        async with Upstream() as upstream:
            document = _document(upstream.url)
            driver, server = await _serve(document, listener)
            began = time.perf_counter()
            async with Clients(listener.getsockname()[1], clients) as load:
                for number in range(1, count + 1):
                    await load.answers(clients)
                    document = replace(document, revision=number)
                    server.apply(document)
                    done.reloads += 1
                    former = driver, server
                    driver, server = await _serve(document, listener)
                    await _retire(*former)
                    done.restarts += 1
            done.note(load, began)
            await _retire(driver, server)
    done.workers = done.restarts
    return done


def _document(url: str) -> Document:
    limit = LimitPolicy(algorithm="fixed", initial=_LIMIT, minimum=_LIMIT, maximum=_LIMIT)
    return Document(
        policy=Policy(cells=(CellPolicy(limit=limit),)),
        proxy=ProxyDocument(upstreams=(UpstreamDocument(urls=(url,)),), access_log="off"),
    )


async def _serve(document: Document, listener: socket.socket) -> tuple[Driver, WireServer]:
    driver = Driver(document)
    driver.start()
    server = WireServer(driver)
    await server.start([listener.dup()])
    return driver, server


async def _retire(driver: Driver, server: WireServer) -> None:
    cut = await server.drain(seconds(10))
    if cut:
        raise SystemExit(f"{cut} connections were cut")
    server.close()
    driver.close()
