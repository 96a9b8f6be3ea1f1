"""Honest success beside slow clients: 64 trickled bodies, then 32 readers that stall on 16 MiB.

Then 24 of both just above the least rate: 66 kB of a body and 400 B/s of it, 400 B/s of an answer.

Every proxy may have 16 requests at the service, by its own means: shedproxy by its limit, nginx by
limit_conn, HAProxy by maxconn, Envoy by its circuit breakers. The service is event-driven and has
room for all. Honest clients are measured from 3 s after the stall begins.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peers
from benchmarks.method import NotMeasuredError, Report, Row, Spread
from benchmarks.servers import Server, running
from benchmarks.slow_client_load import Honest, readers, senders, slow_readers

__all__ = ["measure"]

LIMIT, SENDERS, READERS, TRICKLERS, RATE = 16, 64, 32, 24, 100
_TRICKLE = {"piece": 100, "period_s": 0.25}
SETTLE_S = 3.0
_SHEDPROXY = f'[cell.default.limit]\nalgorithm = "fixed"\ninitial = {LIMIT}\n'


@contextmanager
def _service(home: Path) -> Iterator[int]:
    """The event-driven service of the tests: 64 slots of 20 ms; its port."""
    script = peers.ROOT / "tests" / "harness" / "service.py"
    log = home / "service.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", script, "--slots=64"], stdin=subprocess.PIPE, stdout=said
        )
    assert process.stdin is not None
    try:
        for _ in range(200):
            words = log.read_text().split()
            if len(words) >= 2:
                break
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise NotMeasuredError("the service does not start")
        yield int(words[1])
    finally:
        process.stdin.close()
        process.wait(10)


async def _measure(server: Server, scale: float) -> list[tuple[str, float]]:
    honest = Honest(server.port, rate=RATE)
    try:
        await honest.run(1)
        idle = await honest.run(3 * scale)
        async with senders(server.port, SENDERS):
            await honest.run(1)
            beside_senders = await honest.run(3 * scale)
        # The senders have gone: else the slots they hold would be counted against the readers.
        await honest.run(1)
        before = server.memory_bytes()
        with readers(server.port, READERS):
            await honest.run(SETTLE_S)
            beside_readers = await honest.run(4 * scale)
            growth = server.memory_bytes() - before
        await honest.run(1)
        async with senders(server.port, TRICKLERS, at_once=66_000, **_TRICKLE):
            await honest.run(SETTLE_S)
            beside_uploads = await honest.run(3 * scale)
        await honest.run(1)
        async with slow_readers(server.port, TRICKLERS, **_TRICKLE):
            await honest.run(SETTLE_S)
            beside_downloads = await honest.run(3 * scale)
    finally:
        honest.close()
    return [
        ("idle, p99 ms", idle.p99_ms),
        ("beside senders, success %", 100 * beside_senders.success),
        ("beside senders, p99 ms", beside_senders.p99_ms),
        ("beside readers, success %", 100 * beside_readers.success),
        ("beside readers, p99 ms", beside_readers.p99_ms),
        ("KiB a reader", growth / READERS / 1024),
        ("beside uploads at 400 B/s, success %", 100 * beside_uploads.success),
        ("beside uploads at 400 B/s, p99 ms", beside_uploads.p99_ms),
        ("beside downloads at 400 B/s, success %", 100 * beside_downloads.success),
        ("beside downloads at 400 B/s, p99 ms", beside_downloads.p99_ms),
    ]


def measure(*, quick: bool) -> Report:
    rows: list[Row] = []
    absent: list[str] = []
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home = Path(directory)
        if os.geteuid() == 0:
            home.chmod(0o755)
        with _service(home) as up:
            found: dict[str, Server | None] = {
                "shedproxy": peers.shedproxy(home, up, config=_SHEDPROXY),
                "nginx": peers.nginx_proxy(home, up, limit=LIMIT),
                "HAProxy": peers.haproxy(home, up, limit=LIMIT),
                "Envoy": peers.envoy(home, up, limit=LIMIT),
            }
            for name, server in found.items():
                if server is None:
                    absent.append(name)
                    continue
                with running([server]):
                    values = asyncio.run(_measure(server, 0.5 if quick else 1.0))
                rows += [Row(f"{name}: {what}", Spread.of([value])) for what, value in values]
    return Report(
        title=f"{RATE} honest requests/s beside {SENDERS} trickled bodies, then {READERS} readers"
        f" stalled on 16 MiB, then {TRICKLERS} of both at 400 B/s, at limit {LIMIT}",
        unit="success in %, p99 of the answered in ms (inf: none), memory in KiB",
        rows=rows,
        absent=absent,
        notes=[
            f"KiB a reader is over all {READERS}, of whom {LIMIT} at most had a slot at a time",
            "uploads at 400 B/s have sent 66 kB before; honest requests are counted from 3 s on",
        ],
    )
