"""Before workers that cannot be stopped, clients that leave do not fill the service with work."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from harness.peers import gunicorn
from harness.proxy import Shedproxy

pytestmark = [pytest.mark.integration, pytest.mark.peers("gunicorn")]

WORKERS = 8
WORK_MS = 200
OVERLOAD = 3
PLAY_S = 8.0
SHARES = {"median": 0.5, "p90": 0.9, "most": 1.0}
RESET = struct.pack("ii", 1, 0)
REQUEST = b"GET /work HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Unfinished:
    """Work in the service: begun and not ended, and accepted by the kernel but not begun."""

    def __init__(self, counts: Path, port: int) -> None:
        self._counts = counts
        self._port = f":{port:04X}"
        self.samples: list[int] = []

    def now(self) -> int:
        started, finished = (self.count(name) for name in ("started", "finished"))
        return started - finished + self._backlog()

    def count(self, name: str) -> int:
        file = self._counts / name
        return file.stat().st_size if file.exists() else 0

    def _backlog(self) -> int:
        """Connections in the accept queue: the receive queue of a listening socket."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, queues, *_ = line.split()
            if state == "0A" and local.endswith(self._port):
                return int(queues.partition(":")[2], 16)
        raise AssertionError("the service does not listen")

    async def watch(self) -> None:
        while True:
            self.samples.append(self.now())
            await asyncio.sleep(0.02)


async def ask(port: int, patience_s: float) -> int:
    """One client; the status it got, or 0 when it left first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        with suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            line = await asyncio.wait_for(reader.readuntil(b"\r\n"), patience_s)
            return int(line.split()[1])
        # A reset, which the proxy sees at once: the slot must stay taken all the same.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return 0
    finally:
        writer.transport.abort()


async def play(port: int, rng: random.Random, rate_rps: float) -> list[int]:
    """Open loop; every other client leaves after 50 to 150 ms, the others wait 2 s."""
    tasks: list[asyncio.Task[int]] = []
    at = time.perf_counter()
    ends_at = at + PLAY_S
    while at < ends_at:
        at += rng.expovariate(rate_rps)
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        patience_s = rng.uniform(0.05, 0.15) if len(tasks) % 2 else 2.0
        tasks.append(asyncio.create_task(ask(port, patience_s)))
    return await asyncio.gather(*tasks)


async def overload(home: Path, *arguments: str) -> list[int]:
    """Unfinished work, every 20 ms of the run. Fails when the workers were not kept busy."""
    environ = {"COUNT_DIR": str(home), "WORK_MS": str(WORK_MS)}
    with (
        gunicorn(home, workers=WORKERS, environ=environ) as service,
        Shedproxy(service.url, home=home, arguments=arguments) as proxy,
    ):
        unfinished = Unfinished(home, service.port)
        watching = asyncio.create_task(unfinished.watch())
        capacity_rps = WORKERS * 1000 / WORK_MS
        statuses = await play(proxy.port, random.Random(3), OVERLOAD * capacity_rps)
        watching.cancel()
        finished = unfinished.count("finished")
        assert proxy.cell()["rejected"] > PLAY_S * capacity_rps, "that was no overload"
    assert finished > 0.6 * PLAY_S * capacity_rps
    assert statuses.count(200) > 0.3 * finished
    return sorted(unfinished.samples)


def shown(samples: list[int]) -> str:
    """What to say when it fails."""
    at = {name: samples[int(share * (len(samples) - 1))] for name, share in SHARES.items()}
    return f"unfinished work: {at}"


@pytest.mark.anyio
async def test_unfinished_work_stays_near_the_workers(tmp_path: Path) -> None:
    """With the limit that the workers have, at no moment more than that and one is in there.

    A client that left gives its slot back when its work is seen to be done, not before.
    """
    samples = await overload(tmp_path, f"--limit={WORKERS}")
    assert samples[-1] <= WORKERS + 1, shown(samples)


@pytest.mark.anyio
async def test_the_default_limit_finds_the_workers(tmp_path: Path) -> None:
    """Nobody told it the number of workers: it holds 1.5 x that, once it knows the service."""
    samples = await overload(tmp_path)
    assert samples[len(samples) // 2] <= 1.5 * WORKERS, shown(samples)
    assert samples[-1] <= 3 * WORKERS, shown(samples)
