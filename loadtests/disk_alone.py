"""A host whose control plane and store are gone and whose processes are all killed: is it back?

A proxy in managed mode carries a steady load, with settings that name no upstream. Its control
plane is killed, the store is moved away, and every process of the host is killed at once; what it
is started again with is the copy on its own disk. Timed is from the kill to the first answer that a
client gets, and what clients get a second is compared with before.

Exit code 0: every time it served within two seconds and as much as before. 1: it did not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtests.keep_alive import Clients, Upstream
from loadtests.programs import SHEDPROXY, Program

__all__ = ["Return", "add_options", "run", "verdict"]

_CLIENTS = 4
_PAUSE_S = 0.01
_MOST_S = 2.0
_SHARE_MIN = 0.95
"""Of the rate before; clients pause between requests, so that the rate says whether they wait."""
_EDGE = """\
[snapshot]
source = "{at}/hosts/{{instance}}"
keys = "fleet.pub"
folder = "kept"
period = "500ms"
instance = "edge-1"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """How one of them came back."""

    served_after_s: float
    before_rps: float
    after_rps: float
    lost: int
    """Of the requests after its return."""

    def text(self) -> str:
        """One line."""
        return (
            f"served after {self.served_after_s:.2f} s; {self.before_rps:.1f} rps before,"
            f" {self.after_rps:.1f} after, {self.lost} lost"
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `disk-alone` wants to know."""
    add = parser.add_argument
    add("--count", type=int, default=5, help="hosts, one after the other  [default: %(default)s]")
    add("--for", type=float, default=3.0, dest="length", help="seconds before and after  [3]")
    add("--json", action="store_true", help="one object instead of a text")


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Kill and start, print what came of it, and return the exit code."""
    if chosen.count < 1 or chosen.length <= 0:
        parser.error("one host and some time at least")
    returns = [asyncio.run(_return(chosen.length)) for _ in range(chosen.count)]
    faults = verdict(returns)
    if chosen.json:
        told = [dataclasses.asdict(each) for each in returns]
        print(json.dumps({"faults": faults, "returns": told}))
    else:
        print("\n".join([*(each.text() for each in returns), *faults]))
    return 1 if faults else 0


def verdict(returns: list[Return]) -> list[str]:
    """What was not as promised."""
    faults = []
    for number, each in enumerate(returns, start=1):
        if each.served_after_s >= _MOST_S:
            faults.append(f"host {number} served after {each.served_after_s:.2f} s")
        if each.after_rps < _SHARE_MIN * each.before_rps or each.lost:
            faults.append(f"host {number} served less than before")
    return faults


async def _return(length_s: float) -> Return:
    with tempfile.TemporaryDirectory(prefix="shedproxy-alone-") as folder:
        home = Path(folder)
        async with Upstream() as upstream:
            control, edge, port = await _start(home, upstream.url)
            try:
                before, _ = await _rate(port, length_s)
                control.kill()
                (home / "store").rename(home / "gone")
                _kill_all(edge)
                began = time.perf_counter()
                edge.start()
                await _first_answer(port)
                took = time.perf_counter() - began
                after, lost = await _rate(port, length_s)
            finally:
                edge.end()
                control.end()
    return Return(
        served_after_s=round(took, 3),
        before_rps=round(before, 1),
        after_rps=round(after, 1),
        lost=lost,
    )


async def _start(home: Path, url: str) -> tuple[Program, Program, int]:
    (home / "store").mkdir()
    at = f"file://{home / 'store'}/fleet"
    (home / "edge.toml").write_text(f'log.access = "off"\n[cell.default]\nupstream = "{url}"\n')
    subprocess.run(
        [*SHEDPROXY, "control", "init", "edge.toml", "--store", at, "--host", "edge-1@zone-a"],
        cwd=home, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    settings = home / "control.toml"
    settings.write_text('period = "500ms"\n' + settings.read_text().replace(":9800", ":0"))
    (home / "edge-1.toml").write_text(_EDGE.format(at=at))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    control = Program(home, "control", [*SHEDPROXY, "control", "run"])
    await control.listening()
    at_port = ["--listen", f"127.0.0.1:{port}", "--control", "127.0.0.1:0"]
    edge = Program(home, "edge-1", [*SHEDPROXY, "run", "--config", "edge-1.toml", *at_port])
    await edge.listening()
    return control, edge, port


async def _rate(port: int, length_s: float) -> tuple[float, int]:
    began = time.perf_counter()
    async with Clients(port, _CLIENTS, pause_s=_PAUSE_S) as clients:
        await asyncio.sleep(length_s)
    return clients.ok / (time.perf_counter() - began), len(clients.losses)


async def _first_answer(port: int) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            status = await reader.readexactly(12)
            writer.close()
            if status.endswith(b"200"):
                return
        await asyncio.sleep(0.005)


def _kill_all(program: Program) -> None:
    """The supervisor and what it started, none of them told."""
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    for pid in (program.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    program.kill()
