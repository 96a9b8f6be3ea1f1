"""A soak: shedproxy with two workers before three upstreams, and all that happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.leaks import descriptors, kinds, unexplained
from harness.process import Service, memory_bytes
from harness.proxy import Shedproxy
from soak.clients import GOOD, HOSTILE, Tally, visit

from shedproxy.testing import eventually_async, free_port

__all__ = ["HEAD_S", "WARM_RATIO", "Sample", "Soak", "State"]

WORKERS = 2
GOOD_CLIENTS = 28
HOSTILE_CLIENTS = 14
BURST = 400
"""Clients that come at once, now and then: more than the queue takes."""
HEAD_S = 2
"""Who is connected, and has said no whole word for so long, is let go of."""
WARM_RATIO = 0.4
"""The first part: rolling restarts happen here only, and memory is compared from its end on."""
CONFIG = """
[server]
workers = {workers}
timeouts = {{ client_head = "{head_s}s", client_body = "2s", client_write = "2s", response = "5s" }}
drain = {{ grace = "5s" }}

[cell.default]
upstream = [{upstreams}]

[[rule]]
name = "uploads-{generation}"
match = {{ path = "/upload" }}
"""


@dataclass(frozen=True, slots=True)
class State:
    """What the processes hold while nothing happens."""

    supervisor_descriptors: int
    supervisor_kinds: Counter[str]
    worker_descriptors: int
    """Of the worker with most, connections left out."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What they hold under load."""

    at_s: float
    worker_bytes: tuple[int, ...]
    supervisor_bytes: int
    worker_descriptors: tuple[int, ...]
    in_flight: int


@dataclass(slots=True)
class Soak:
    """One run. `seed` decides what happens when, as far as clocks and kernel let it."""

    home: Path
    for_s: float
    seed: int = 1
    say: Callable[[str], None] = print
    tally: Tally = field(init=False)
    samples: list[Sample] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    """Of an upstream each: from, to."""
    replacements: list[tuple[float, float]] = field(default_factory=list)
    """Of all workers, one after the other: from, to."""
    deeds: Counter[str] = field(default_factory=Counter)
    before: State = field(init=False)
    after: State = field(init=False)
    counts: dict[str, float] = field(default_factory=dict)
    """Series of /metrics at the end."""
    left: dict[str, int] = field(default_factory=dict)
    """What was in flight, waiting, resident or zombie at the end, summed over the cells."""
    _proxy: Shedproxy = field(init=False)
    _upstreams: list[Service] = field(init=False)
    _rng: random.Random = field(init=False)
    _generation: int = 0

    def run(self) -> Soak:
        """Start everything, let it go on for the time, let it become quiet, end it."""
        self._rng = random.Random(self.seed)
        ports = [free_port() for _ in range(3)]
        self._upstreams = [self._service(port) for port in ports]
        with contextlib.ExitStack() as stack:
            # Whatever runs at the end: they are replaced meanwhile.
            stack.callback(lambda: [upstream.stop() for upstream in self._upstreams])
            for upstream in self._upstreams:
                upstream.__enter__()
            self._proxy = Shedproxy(
                *(f"http://127.0.0.1:{port}" for port in ports),
                home=self.home,
                config=self._config(),
            )
            with self._proxy:
                asyncio.run(self._play())
        return self

    def _service(self, port: int) -> Service:
        return Service(home=self.home, slots=2, service_ms=10, port=port)

    def _config(self) -> str:
        upstreams = ", ".join(f'"http://127.0.0.1:{s.asked_port}"' for s in self._upstreams)
        return CONFIG.format(
            workers=WORKERS, upstreams=upstreams, generation=self._generation, head_s=HEAD_S
        )

    # --- the play ---

    async def _play(self) -> None:
        self.before = await asyncio.to_thread(self._state)
        self.tally = Tally()
        kinds = [*GOOD, *HOSTILE]
        actors = [kinds[n % len(GOOD)] for n in range(GOOD_CLIENTS)]
        actors += [list(HOSTILE)[n % len(HOSTILE)] for n in range(HOSTILE_CLIENTS)]
        async with asyncio.TaskGroup() as group:
            for number, kind in enumerate(actors):
                group.create_task(self._client(kind, random.Random(f"{self.seed}/{number}")))
            warm_s = self.for_s * WARM_RATIO
            group.create_task(self._often(self._restart_upstream, 4, 9, until_s=self.for_s - 4))
            group.create_task(self._often(self._reload, 2, 6, until_s=self.for_s))
            group.create_task(self._often(self._burst, 3, 8, until_s=self.for_s - 2))
            group.create_task(self._often(self._kill, 8, 20, until_s=self.for_s - 2))
            group.create_task(self._often(self._replace_workers, 9, 13, until_s=warm_s - 3))
            group.create_task(self._watch())
        await self._quiet()

    async def _client(self, kind: str, rng: random.Random) -> None:
        while self.tally.now_s() < self.for_s:
            await visit(kind, self._proxy.port, self.tally, rng)
            await asyncio.sleep(rng.uniform(0.01, 0.1))

    async def _often(
        self,
        deed: Callable[[], Coroutine[Any, Any, None]],
        least_s: float,
        most_s: float,
        *,
        until_s: float,
    ) -> None:
        rng = random.Random(f"{self.seed}/{deed.__name__}")
        while True:
            pause_s = rng.uniform(least_s, most_s)
            if self.tally.now_s() + pause_s >= until_s:
                return
            await asyncio.sleep(pause_s)
            self.deeds[deed.__name__.strip("_").replace("_", " ")] += 1
            await deed()

    # --- what happens ---

    async def _burst(self) -> None:
        port = self._proxy.port
        await asyncio.gather(
            *(visit("once", port, self.tally, random.Random(n)) for n in range(BURST))
        )

    async def _restart_upstream(self) -> None:
        index = self._rng.randrange(len(self._upstreams))
        old = self._upstreams[index]
        began_s = self.tally.now_s()
        old.signal(self._rng.choice((signal.SIGTERM, signal.SIGKILL)))
        await asyncio.to_thread(old.stop)
        await asyncio.sleep(self._rng.uniform(0, 1.5))
        new = self._upstreams[index] = self._service(old.asked_port)
        await asyncio.to_thread(new.__enter__)
        self.outages.append((began_s, self.tally.now_s()))

    async def _reload(self) -> None:
        self._generation += 1
        self._proxy.config_file.write_text(self._config())
        await asyncio.to_thread(self._proxy.control, "POST", "/-/reload")

    async def _replace_workers(self) -> None:
        now_s = self.tally.now_s()
        self.replacements.append((now_s, now_s))  # as far as is known: the samples say how long
        await asyncio.to_thread(self._proxy.control, "POST", "/-/restart")

    async def _kill(self) -> None:
        """The last worker only: the first one's memory is watched."""
        worker = (await asyncio.to_thread(self._proxy.status))["workers"][-1]
        if worker["state"] == "ready":
            self.kills.append(self.tally.now_s())
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGKILL)

    # --- what is seen ---

    async def _watch(self) -> None:
        printed_s = 0.0
        while self.tally.now_s() < self.for_s:
            await asyncio.sleep(1)
            with contextlib.suppress(OSError, AssertionError):  # a worker that ends just now
                self.samples.append(await asyncio.to_thread(self._sample))
            if self.tally.now_s() - printed_s >= 10 and self.samples:
                printed_s = self.tally.now_s()
                self.say(self._line())

    def _sample(self) -> Sample:
        status = self._proxy.status()
        if self.replacements and status["restart"]["state"] == "running":
            self.replacements[-1] = (self.replacements[-1][0], self.tally.now_s())
        pids = [worker["pid"] for worker in status["workers"]]
        return Sample(
            self.tally.now_s(),
            tuple(memory_bytes(pid) for pid in pids),
            memory_bytes(self._proxy.pid),
            tuple(descriptors(pid) for pid in pids),
            sum(cell["in_flight"] for cell in status["cells"]),
        )

    def _line(self) -> str:
        last = self.samples[-1]
        outcomes: Counter[str] = Counter()
        for (kind, what), count in self.tally.outcomes.items():
            outcomes[what if kind in GOOD else "hostile"] += count
        said = ", ".join(f"{count} {what}" for what, count in outcomes.most_common())
        workers = "+".join(f"{size / 1e6:.1f}" for size in last.worker_bytes)
        files = "+".join(map(str, last.worker_descriptors))
        return (
            f"{last.at_s:5.0f} s  {said}; workers {workers} MB, supervisor "
            f"{last.supervisor_bytes / 1e6:.1f} MB; descriptors {files}; "
            f"{last.in_flight} in flight; {len(self.kills)} kills"
        )

    async def _quiet(self) -> None:
        with contextlib.suppress(AssertionError):  # the verdicts say what is left
            await eventually_async(
                lambda: asyncio.to_thread(self._is_quiet), within_s=60, what="quiet"
            )
        status = await asyncio.to_thread(self._proxy.status)
        for name in ("in_flight", "queue_length", "residents", "zombies"):
            self.left[name] = sum(cell[name] for cell in status["cells"])
        _, text = await asyncio.to_thread(self._proxy.control, "GET", "/metrics")
        for line in text.decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                self.counts[name] = float(value)

    def _is_quiet(self) -> bool:
        # Read once: the connection on which the status came may be closing still, and count.
        self.after = self._state()
        workers = self._proxy.status()["workers"]
        return (
            self._proxy.is_idle()
            and len(workers) == WORKERS
            and all(worker["connections"] == 0 for worker in workers)
            and self.after.worker_descriptors <= self.before.worker_descriptors
            and self.after.supervisor_descriptors <= self.before.supervisor_descriptors
        )

    def _state(self) -> State:
        workers = self._proxy.status()["workers"]
        pid = self._proxy.pid
        return State(descriptors(pid), kinds(pid), max(map(unexplained, workers)))
