"""A control plane that is flooded, and whose disk is full: what its hosts' clients notice of it.

One proxy in managed mode carries a steady load. In turns nothing else happens (A), and the API of
the control plane is asked by many at once for more than it can do (B): looks, orders, and callers
without a token. Quiet turns are compared with each other as well (A/A): that is how much a turn
differs from a turn by chance. With `--disk` the store lies on a small file system that orders fill.
Where it matters control plane and callers are on other hosts: here they have the last core to
themselves, and where there is one only they run when nobody else wants it (Linux's idle class).

Exit code 0: no request was lost, and flooded turns differ no more than quiet ones do, or by less
than `--within`. 1: they do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from loadtests.keep_alive import Clients, Upstream
from loadtests.programs import SHEDPROXY, Program

__all__ = ["Turn", "add_options", "run", "verdict"]

_PAUSE_S = 0.01
_CLIENTS = 4
_CALLERS = 24
_DISK = "1m"
_IDLE = ("chrt", "--idle", "0")
_CORES = sorted(os.sched_getaffinity(0))
_ELSEWHERE = (*_IDLE, "taskset", "-c", str(_CORES[-1]))


@dataclass(slots=True, kw_only=True)
class Turn:
    """What clients of the proxy saw in one turn."""

    is_flooded: bool
    rate_rps: float
    p99_ms: float
    lost: int
    calls: dict[str, int] = field(default_factory=dict)
    """Answers of the control plane by status."""

    def text(self) -> str:
        """One line."""
        calls = ", ".join(f"{count} x {status}" for status, count in sorted(self.calls.items()))
        what = f"flooded  {calls}" if self.is_flooded else "quiet"
        return f"{self.rate_rps:8.1f} rps  p99 {self.p99_ms:7.2f} ms  lost {self.lost}  {what}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `control-plane` wants to know."""
    add = parser.add_argument
    add("--turns", type=int, default=8, help="pairs of turns  [default: %(default)s]")
    add("--for", type=float, default=5.0, dest="length", help="seconds a turn  [%(default)s]")
    add("--within", type=float, default=0.1, help="share by which turns may differ  [%(default)s]")
    add("--disk", action="store_true", help="fill the store's disk too (needs the right to mount)")
    add("--json", action="store_true", help="one object instead of a text")


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Take turns, print them, and return the exit code."""
    if chosen.turns < 2 or chosen.length <= 0:
        parser.error("two pairs of turns at least")
    os.sched_setaffinity(0, _CORES[:-1] or _CORES)
    turns = asyncio.run(_turns(chosen))
    good, words = verdict(turns, within=chosen.within)
    if chosen.json:
        told = [dataclasses.asdict(turn) for turn in turns]
        print(json.dumps({"good": good, "verdict": words, "turns": told}))
    else:
        print("\n".join([*(turn.text() for turn in turns), *words]))
    return 0 if good else 1


def verdict(turns: list[Turn], *, within: float) -> tuple[bool, list[str]]:
    """Whether the flood left a mark, and why that is believed."""
    words, good = [], True
    for name, better in (("rate_rps", 1), ("p99_ms", -1)):
        quiet = [getattr(turn, name) for turn in turns if not turn.is_flooded]
        flooded = [getattr(turn, name) for turn in turns if turn.is_flooded]
        among = [a / b - 1 for a, b in zip(quiet[1::2], quiet[::2], strict=False)]
        change = statistics.median(flooded) / statistics.median(quiet) - 1
        chance = max(abs(each) for each in among)
        is_mark = -better * change > max(chance, within)
        good = good and not is_mark
        words.append(
            f"{name}: B/A {change:+.1%}; A/A {min(among):+.1%} to {max(among):+.1%}:"
            f" {'a mark' if is_mark else 'no mark'}"
        )
    lost = sum(turn.lost for turn in turns)
    words.append(f"lost: {lost}")
    return good and not lost, words


async def _turns(chosen: argparse.Namespace) -> list[Turn]:
    with _folder(on_small_disk=chosen.disk) as (home, store):
        async with Upstream() as upstream, _plane(home, store, upstream.url) as (url, token, port):
            turns = [await _turn(port, chosen.length)]  # the first one warms up
            turns.clear()
            for _ in range(chosen.turns):
                turns.append(await _turn(port, chosen.length))
                turns.append(await _flooded_turn(port, chosen.length, url, token))
            return turns


@contextlib.contextmanager
def _folder(*, on_small_disk: bool) -> Iterator[tuple[Path, Path]]:
    """A folder, and the folder of the store."""
    with tempfile.TemporaryDirectory(prefix="shedproxy-plane-") as folder:
        home = Path(folder)
        store = home / "store"
        store.mkdir()
        if on_small_disk:
            options = ["-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(store)]
            subprocess.run(["mount", *options], check=True)
        try:
            yield home, store
        finally:
            if on_small_disk:
                subprocess.run(["umount", "-l", str(store)], check=True)


@contextlib.asynccontextmanager
async def _plane(home: Path, store: Path, url: str) -> AsyncIterator[tuple[str, str, int]]:
    """A control plane and a proxy: the URL and token of the one, the port of the other."""
    (home / "edge.toml").write_text(f'log.access = "off"\n[cell.default]\nupstream = "{url}"\n')
    at = f"file://{store}/fleet"
    subprocess.run(
        [*SHEDPROXY, "control", "init", "edge.toml", "--store", at, "--host", "edge-1@zone-a"],
        cwd=home, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    control = home / "control.toml"
    control.write_text('period = "500ms"\n' + control.read_text().replace(":9800", ":0"))
    (home / "edge-1.toml").write_text(
        f'[snapshot]\nsource = "{at}/hosts/{{instance}}"\nkeys = "fleet.pub"\nfolder = "kept"\n'
        'period = "500ms"\ninstance = "edge-1"\n'
    )
    (file,) = home.glob("*.token")
    programs = [
        Program(home, "control", [*_ELSEWHERE, *SHEDPROXY, "control", "run"]),
        Program(home, "edge-1", [*SHEDPROXY, "run", "--config", "edge-1.toml",
                                  "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]),
    ]  # fmt: skip
    try:
        listening = [await program.listening() for program in programs]
        yield (
            f"http://{listening[0]}",
            file.read_text().strip(),
            int(listening[1].rpartition(":")[2]),
        )
    finally:
        for program in programs:
            program.end()


async def _turn(port: int, length_s: float) -> Turn:
    began = time.perf_counter()
    async with Clients(port, _CLIENTS, pause_s=_PAUSE_S) as clients:
        await asyncio.sleep(length_s)
    took = time.perf_counter() - began
    return Turn(
        is_flooded=False,
        rate_rps=round(clients.ok / took, 1),
        p99_ms=clients.p99_ms(),
        lost=len(clients.losses),
    )


async def _flooded_turn(port: int, length_s: float, url: str, token: str) -> Turn:
    """A turn with callers beside it, in a process of their own."""
    command = [sys.executable, "-m", "loadtests.control_plane", url, str(length_s)]
    callers = await asyncio.create_subprocess_exec(
        *_ELSEWHERE, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert callers.stdin is not None
    assert callers.stdout is not None
    callers.stdin.write(f"{token}\n".encode())
    await callers.stdout.readline()  # they have begun
    turn = await _turn(port, length_s)
    said, _ = await callers.communicate()
    turn.is_flooded, turn.calls = True, json.loads(said)
    return turn


# --- the callers --------------------------------------------------------------------------------


_CALLS = (
    ("GET", "/v1/status", True),
    ("POST", "/v1/publish", True),
    ("GET", "/v1/status", False),
    ("GET", "/v1/audit", True),
    ("POST", "/v1/quarantine-cell", True),
)
"""Method, path, and whether a token is shown."""


def _body(path: str, number: int, count: int) -> dict[str, Any]:
    if path == "/v1/publish":
        text = f'[cell.default]\nupstream = "http://127.0.0.1:1"\nlimit = {count}\n'
        return {"texts": {"": f"# {os.getpid()} {number}\n{text}"}}
    return {"cell": "default", "end": count % 2 == 0} if path == "/v1/quarantine-cell" else {}


async def _call(url: str, length_s: float, token: str) -> Counter[str]:
    """Many at once, each as fast as it is answered."""
    statuses: Counter[str] = Counter()
    ends_at = time.perf_counter() + length_s + 0.5

    async def caller(number: int) -> None:
        method, path, shows = _CALLS[number % len(_CALLS)]
        headers = {"authorization": f"Bearer {token}"} if shows else {}
        async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            for count in itertools.count(1):
                if time.perf_counter() >= ends_at:
                    return
                try:
                    answer = await http.request(
                        method, f"{url}{path}", json=_body(path, number, count)
                    )
                    statuses[str(answer.status_code)] += 1
                except httpx2.HTTPError as error:
                    statuses[type(error).__name__] += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(_CALLERS):
            tasks.create_task(caller(number))
    return statuses


def _main() -> None:
    token = sys.stdin.readline().strip()
    print(flush=True)
    print(json.dumps(asyncio.run(_call(sys.argv[1], float(sys.argv[2]), token))))


if __name__ == "__main__":
    _main()
