"""What servers are asked for, by wrk, in turns; the CPU time of each per answered request.

A cell is a kind of request at a number of connections, and the servers that get it in turn. A run
with steal above a bound, with errors or wrong answers, or whose generator was kept waiting, is
void: it is repeated at once, a few times at most, and then its round has no value.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.environment import Stolen, program
from benchmarks.method import NotMeasuredError
from benchmarks.servers import Server, on_other_core, task_times_ns

__all__ = [
    "ALIKE",
    "DIFFERENT",
    "HEADS",
    "REQUESTS",
    "Cell",
    "Sample",
    "Seen",
    "Traffic",
    "Turns",
    "added_up",
    "in_turns",
    "parsed",
    "repeated",
    "run_wrk",
    "sampled",
    "take_turns",
]

DIFFERENT, ALIKE = "heads differ", "heads alike"
HEADS = (DIFFERENT, ALIKE)
"""Traffic of many users has no two heads alike (paths, traces, cookies); a client that polls, and a
generator left to itself, sends the same bytes for ever. A server that remembers what it has seen
shows it in the difference."""
REQUESTS = {"128": ("GET", "/items"), "16k": ("GET", "/big"), "post16k": ("POST", "/post")}
"""By what the command line calls them; the path says what the upstream answers."""
SAYS = {"128": "GET of 128 B", "16k": "GET of 16 KiB", "post16k": "POST of 16 KiB"}

WARM_UP = 300
"""Requests before the first round, one after the other: caches and pools find their place."""
WRONG_MAX = 0.001
"""Share of answers with another status that is taken for noise."""
STOLEN_MAX = 0.05
"""Share of the machine's time that a hypervisor may have given to others in a run."""
SATURATED = 0.9
"""Share of the time that a server or generator ran, or waited for its core, from which it counts as
busy: it never had nothing to do."""
REPEATS = 2
"""Of a void run."""

_DIFFERENT = """
local headers = {
  ["user-agent"] = "benchmark/1.0", ["accept"] = "application/json",
  ["accept-encoding"] = "gzip, deflate", ["cookie"] = "session=0123456789abcdef"}
local serial = 0
local first, middle, last
init = function()
  headers["traceparent"] = "TRACE"
  local usual = wrk.format(nil, "{path}/NUMBER", headers, wrk.body)
  first, middle, last = usual:match("^(.-)NUMBER(.-)TRACE(.*)$")
end
request = function()
  serial = serial + 1
  local trace = string.format("00-%032x-%016x-01", serial, serial)
  return first .. serial * 7919 % 100000 .. middle .. trace .. last
end
"""
"""Put together from what is alike: the generator is not to be dearer than who answers."""

_REQUESTS = re.compile(r"(\d+) requests in ")
_OTHER_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of load."""

    size: str = "128"
    connections: int = 16
    heads: str = DIFFERENT
    pause_ms: int = 0
    """What each connection does nothing for after an answer: as many requests a second for all."""
    generators: int = 1
    """Processes of wrk, each with an equal part of the connections; as many at least as URLs."""

    def __str__(self) -> str:
        said = f"{SAYS[self.size]}, {self.connections} connections, {self.heads}"
        return f"{said}, {self.pause_ms} ms apart" if self.pause_ms else said

    def script(self) -> str:
        """For wrk."""
        method, path = REQUESTS[self.size]
        body = 'wrk.body = string.rep("x", 16384)\n' if method == "POST" else ""
        heads = _DIFFERENT.replace("{path}", path) if self.heads == DIFFERENT else ""
        pause = f"function delay() return {self.pause_ms} end\n" if self.pause_ms else ""
        return f'wrk.method = "{method}"\n{body}{heads}{pause}'


@dataclass(frozen=True, slots=True)
class Cell:
    """What is asked of whom, in turn."""

    traffic: Any
    """A `Traffic`, or whatever else can be a key and says in words what it is."""
    servers: Sequence[Server]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the generator saw in one run."""

    answered: int
    wrong: int
    """Of them, those with a status that was not wanted."""
    errors: int
    """Of sockets: connect, read, write, timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run: a raw row."""

    traffic: str
    server: str
    us: float
    answered: int
    wrong: int
    server_busy: float
    """Share of a core."""
    generator_busy: float
    stolen: float
    faults: tuple[str, ...]
    """Why it is void."""
    server_waited: float = 0.0
    """Share of the run that it waited for its core, as did the generator; older rows have none."""
    generator_waited: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether the server had nothing to do for a part of the time."""
        return self.server_busy + self.server_waited < SATURATED

    @property
    def is_generator_full(self) -> bool:
        """Whether the generator always had something to do."""
        return self.generator_busy + self.generator_waited >= SATURATED


@dataclass(slots=True)
class Turns:
    """Microseconds per request by traffic and server, a value a round, nan for a void one."""

    values: dict[Any, dict[str, list[float]]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def raw(self) -> list[dict[str, Any]]:
        return [asdict(sample) for sample in self.samples]

    def notes(self) -> list[str]:
        """What the reader of the medians has to know."""
        void: dict[tuple[str, str], int] = {}
        for sample in self.samples:
            for fault in sample.faults:
                key = (f"{sample.server}, {sample.traffic}", fault.partition(":")[0])
                void[key] = void.get(key, 0) + 1
        lines = [f"void: {name}: {why} ({count} runs)" for (name, why), count in void.items()]
        wrong: dict[str, int] = {}
        for sample in self.samples:
            if sample.wrong and not sample.faults:
                wrong[sample.server] = wrong.get(sample.server, 0) + sample.wrong
        lines += [f"{name} gave {count} wrong answers" for name, count in wrong.items()]
        return lines + self._idle()

    def kept_waiting(self, traffic: object, server: str) -> str:
        """Why its cost flatters whoever is compared with it; "": it was as busy as it can be.

        A server that has nothing to do goes to sleep and is woken more often, for less each time.
        """
        rows = self._sound().get((server, str(traffic)), [])
        shares = [row.server_busy + row.server_waited for row in rows]
        if not rows or statistics.median(shares) >= SATURATED:
            return ""
        is_full = statistics.median([row.is_generator_full for row in rows]) >= 0.5
        by_whom = " by a generator that was saturated" if is_full else ""
        return f"{server} was kept waiting{by_whom}"

    def _sound(self) -> dict[tuple[str, str], list[Sample]]:
        found: dict[tuple[str, str], list[Sample]] = {}
        for sample in self.samples:
            if not sample.faults:
                found.setdefault((sample.server, sample.traffic), []).append(sample)
        return found

    def _idle(self) -> list[str]:
        """A server that waits for the generator wakes up more often, and costs more per request."""
        lines = []
        for (server, traffic), rows in self._sound().items():
            if self.kept_waiting(traffic, server):
                busy = statistics.median([row.server_busy for row in rows])
                full = " (the generator was)" if rows[0].is_generator_full else ""
                lines.append(
                    f"not saturated{full}, busy for {busy:.0%} of its core: {server}, {traffic}"
                )
        return lines


def parsed(text: str, status: int) -> Seen:
    """What wrk has printed.

    Raises:
        ValueError: it does not say how many requests there were.
    """
    counted = _REQUESTS.search(text)
    if counted is None:
        raise ValueError(f"wrk said: {text[:2000]}")
    answered = int(counted[1])
    errors = _SOCKET_ERRORS.search(text)
    other = _OTHER_STATUS.search(text)
    others = int(other[1]) if other else 0
    return Seen(
        answered=answered,
        wrong=others if status < 400 else answered - others,
        errors=sum(map(int, errors.groups())) if errors else 0,
    )


def added_up(parts: Sequence[Seen]) -> Seen:
    """What several generators saw at the same time."""
    return Seen(
        answered=sum(part.answered for part in parts),
        wrong=sum(part.wrong for part in parts),
        errors=sum(part.errors for part in parts),
    )


def faults(seen: Seen, *, stolen: float, waited: float) -> tuple[str, ...]:
    """Why a run says nothing; `waited`: share of the run that the generator waited for its core."""
    found = []
    if not seen.answered:
        found.append("nothing was answered")
    if seen.wrong > WRONG_MAX * seen.answered:
        found.append(f"wrong answers: {seen.wrong} of {seen.answered}")
    if seen.errors:
        found.append(f"errors of sockets: {seen.errors}")
    if stolen > STOLEN_MAX:
        found.append(f"time was stolen: {stolen:.1%}")
    if waited > WAITED_MAX:
        found.append(f"the generator lagged: {waited:.1%}")
    return tuple(found)


WAITED_MAX = 0.6
"""Share of a run that the generator may wait for its core; the upstream, on the same core, has
about half of it when both are busy."""


def repeated(run: Callable[[], Sample]) -> list[Sample]:
    """A run, and again while it is void and the bound is not reached."""
    samples = [run()]
    while samples[-1].faults and len(samples) <= REPEATS:
        samples.append(run())
    return samples


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program whose output is kept, and which does not outlive this."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run_wrk(server: Server, traffic: Traffic, script: Path, seconds: int) -> Sample:
    """What it costs the server while wrk asks it for so long.

    Raises:
        NotMeasuredError: there is no wrk.
    """
    path = REQUESTS[traffic.size][1]
    wrk = program("wrk")
    if wrk is None:
        raise NotMeasuredError("wrk is not on this machine")
    urls = server.urls * -(-traffic.generators // len(server.urls))
    options = ["-t1", f"-c{traffic.connections // len(urls)}", f"-d{seconds}s", "-s", str(script)]
    stolen, before, began_at = Stolen(), server.times_ns(), time.perf_counter()
    with on_other_core(), contextlib.ExitStack() as stack:
        generators = [
            stack.enter_context(_started([wrk, *options, url.rstrip("/") + path])) for url in urls
        ]
        times = [(0, 0) for _ in generators]

        def look() -> None:
            times[:] = [task_times_ns(process.pid) for process in generators]

        looking = threading.Timer(seconds * 0.9, look)
        looking.start()
        try:
            said = [process.communicate(timeout=seconds + 20)[0] for process in generators]
        finally:
            looking.cancel()
    spent_ns, queued_ns = (now - then for now, then in zip(server.times_ns(), before, strict=True))
    looking.join()
    took_ns = (time.perf_counter() - began_at) * 1e9
    busy_ns = sum(busy for busy, _ in times)
    # While one of them runs, another waits for nobody else.
    waited_ns = max(0, *(waited - (busy_ns - busy) for busy, waited in times))
    seen = added_up([parsed(text.decode(errors="replace"), server.status) for text in said])
    share = stolen.share()
    return Sample(
        traffic=str(traffic),
        server=server.name,
        us=spent_ns / max(1, seen.answered) / 1000,
        answered=seen.answered,
        wrong=seen.wrong,
        server_busy=round(spent_ns / took_ns, 3),
        generator_busy=round(busy_ns / (seconds * 0.9e9), 3),
        stolen=round(share, 4),
        faults=faults(seen, stolen=share, waited=waited_ns / (seconds * 0.9e9)),
        server_waited=round(queued_ns / took_ns, 3),
        generator_waited=round(waited_ns / (seconds * 0.9e9), 3),
    )


def sampled(server: Server, traffic: object, load: Callable[[], Seen]) -> Sample:
    """What it costs the server while this process itself makes the load."""
    stolen, before, began_at = Stolen(), server.times_ns(), time.perf_counter()
    ran_ns, waited_ns = task_times_ns(os.getpid())
    seen = load()
    took_ns = (time.perf_counter() - began_at) * 1e9
    spent_ns, queued_ns = (now - then for now, then in zip(server.times_ns(), before, strict=True))
    ran_since_ns, waited_since_ns = task_times_ns(os.getpid())
    share = stolen.share()
    return Sample(
        traffic=str(traffic),
        server=server.name,
        us=spent_ns / max(1, seen.answered) / 1000,
        answered=seen.answered,
        wrong=seen.wrong,
        server_busy=round(spent_ns / took_ns, 3),
        generator_busy=round((ran_since_ns - ran_ns) / took_ns, 3),
        stolen=round(share, 4),
        faults=faults(seen, stolen=share, waited=(waited_since_ns - waited_ns) / took_ns),
        server_waited=round(queued_ns / took_ns, 3),
        generator_waited=round((waited_since_ns - waited_ns) / took_ns, 3),
    )


def take_turns(cells: Sequence[Cell], home: Path, *, rounds: int, seconds: int = 1) -> Turns:
    """What wrk asks for: A B C A B C ... in every cell, and the cells in turn."""
    scripts: Mapping[Any, Path] = {
        cell.traffic: home / f"load-{number}.lua" for number, cell in enumerate(cells)
    }
    for cell in cells:
        scripts[cell.traffic].write_text(cell.traffic.script())

    def run(server: Server, traffic: Traffic) -> Sample:
        return run_wrk(server, traffic, scripts[traffic], seconds)

    return in_turns(cells, run, rounds=rounds)


def in_turns(cells: Sequence[Cell], run: Callable[[Server, Any], Sample], *, rounds: int) -> Turns:
    """The same for any way to make load; `run` gives one server one cell's load."""
    turns = Turns()
    for cell in cells:
        turns.values[cell.traffic] = {server.name: [] for server in cell.servers}
    for server in {id(server): server for cell in cells for server in cell.servers}.values():
        server.warm_up(WARM_UP)
    for _ in range(rounds):
        for cell in cells:
            for server in cell.servers:
                samples = repeated(partial(run, server, cell.traffic))
                last = samples[-1]
                value = math.nan if last.faults else last.us
                turns.values[cell.traffic][server.name].append(value)
                turns.samples += samples
    return turns
