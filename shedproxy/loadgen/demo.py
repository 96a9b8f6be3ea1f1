"""The demonstration: the same overload on the same service, bare and through shedproxy.

Measures only; the command line shows it. Everything runs on loopback and ends by itself.
"""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Self

import uvloop

from shedproxy.core import Criticality, Nanos, seconds, to_milliseconds
from shedproxy.loadgen.player import Player, PlayerHealth
from shedproxy.loadgen.station import Station
from shedproxy.workload import Mix, Row, Summary, poisson_arrivals, summarise

__all__ = ["Demo", "DemoResult", "ProxyProcess"]

_MIX = {Criticality.CRITICAL: 0.2, Criticality.SHEDDABLE_PLUS: 0.3, Criticality.SHEDDABLE: 0.5}
_START_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Both halves. `goodput_ratio` is goodput over the service's capacity."""

    capacity_rps: float
    overload: float
    deadline_ns: Nanos
    bare: Summary
    shed: Summary
    health: PlayerHealth

    def as_json(self) -> dict[str, Any]:
        """The object that `shedproxy demo --json` prints."""
        return {
            "capacity_rps": self.capacity_rps,
            "offered_rps": round((self.bare.offered_rps + self.shed.offered_rps) / 2, 1),
            "deadline_ms": to_milliseconds(self.deadline_ns),
            "bare": self._half(self.bare),
            "shed": self._half(self.shed),
            "generator": {
                "send_lag_p99_ms": round(to_milliseconds(self.health.send_lag_p99_ns), 2),
                "not_sent": self.health.not_sent,
            },
        }

    def _half(self, summary: Summary) -> dict[str, Any]:
        def to_ms(value: Nanos | None) -> float | None:
            return None if value is None else round(to_milliseconds(value), 1)

        return {
            "goodput_rps": round(summary.goodput_rps, 1),
            "goodput_ratio": round(summary.goodput_rps / self.capacity_rps, 4),
            "p50_ms": to_ms(summary.p50_ns),
            "p99_ms": to_ms(summary.p99_ns),
            "refusal_p99_ms": to_ms(summary.refusal_p99_ns),
            "refused": summary.refused,
            "failed": summary.failed,
            "by_class": summary.classes_as_json(),
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ProxyProcess:
    """`shedproxy run` as a child process, for a `with` block: the real thing, with defaults."""

    def __init__(self, upstream: str) -> None:
        self.port, self.control_port = _free_port(), _free_port()
        self._command = [
            sys.executable,
            "-m",
            "shedproxy",
            "run",
            upstream,
            f"--listen=127.0.0.1:{self.port}",
            f"--control=127.0.0.1:{self.control_port}",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        # A file, not a pipe: nobody reads it unless the start fails, and a full pipe blocks.
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
        )
        give_up_at = time.perf_counter() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() > give_up_at:
                self._said.seek(0)
                said = self._said.read().decode(errors="replace").strip()
                self.__exit__()
                raise RuntimeError(f"shedproxy did not start: {said or 'no message'}")
            self._pause()
        return self

    @staticmethod
    def _pause() -> None:
        # A blocking wait before anything is measured; select is the plain way to take one.
        import select  # noqa: PLC0415 - needed here only

        select.select([], [], [], 0.02)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.control_port), timeout=1) as probe:
                probe.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


Progress = Callable[[str, float, list[Row]], None]
"""Called a few times a second with the half's name, the share of it that is over, and its rows."""


class Demo:
    """`slots` x `service_ms` of capacity, `overload` times that offered, `duration_ns` a half."""

    def __init__(
        self,
        *,
        duration_ns: Nanos,
        deadline_ns: Nanos | None = None,
        slots: int = 4,
        service_ms: float = 20.0,
        overload: float = 3.0,
        seed: int = 1,
    ) -> None:
        self.duration_ns = duration_ns
        self.deadline_ns = seconds(1) if deadline_ns is None else deadline_ns
        self.overload = overload
        self._slots = slots
        self._service_ms = service_ms
        self._seed = seed

    def run(self, progress: Progress) -> DemoResult:
        """Play both halves and compare them.

        Raises:
            RuntimeError: when the service or the proxy does not start.
        """
        with Station(slots=self._slots, service_ms=self._service_ms) as station:
            capacity_rps = station.capacity_rps
            bare, _ = self._half("bare", station.url, capacity_rps, progress)
        shed, _, health = self.run_shed(progress)
        return DemoResult(
            capacity_rps=capacity_rps,
            overload=self.overload,
            deadline_ns=self.deadline_ns,
            bare=bare,
            shed=shed,
            health=health,
        )

    def run_shed(self, progress: Progress) -> tuple[Summary, float, PlayerHealth]:
        """The half through shedproxy alone: its summary, the capacity, how the player kept up.

        A fresh service, so that the bare half's backlog is not the proxy's to clear.
        """
        with (
            Station(slots=self._slots, service_ms=self._service_ms) as station,
            ProxyProcess(station.url) as proxy,
        ):
            capacity_rps = station.capacity_rps
            shed, health = self._half("shedproxy", proxy.url, capacity_rps, progress)
        return shed, capacity_rps, health

    def _half(
        self, name: str, url: str, capacity_rps: float, progress: Progress
    ) -> tuple[Summary, PlayerHealth]:
        return uvloop.run(self._play(name, url, capacity_rps, progress))

    async def _play(
        self, name: str, url: str, capacity_rps: float, progress: Progress
    ) -> tuple[Summary, PlayerHealth]:
        player = Player(f"{url}/", deadline_ns=self.deadline_ns)
        task = asyncio.create_task(player.play(self._arrivals(capacity_rps)))
        started = asyncio.get_running_loop().time()
        total_s = self.duration_ns / 1e9
        while not task.done():
            await asyncio.wait([task], timeout=0.25)
            elapsed = asyncio.get_running_loop().time() - started
            progress(name, min(1.0, elapsed / total_s), player.rows)
        summary = summarise(player.rows, duration_ns=self.duration_ns, deadline_ns=self.deadline_ns)
        return summary, task.result()

    def _arrivals(self, capacity_rps: float) -> Iterator[tuple[Nanos, Criticality]]:
        rng = random.Random(self._seed)  # noqa: S311 - a repeatable workload, not a secret
        mix = Mix(_MIX)
        for offset in poisson_arrivals(
            rate_rps=capacity_rps * self.overload, duration_ns=self.duration_ns, rng=rng
        ):
            yield offset, mix.draw(rng)
