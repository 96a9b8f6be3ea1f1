"""The middleware under servers that start several processes: one limit for all of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from harness.beside import in_thread
from harness.process import Listening
from harness.slots import Load, assert_kept, mean_held

from shedproxy.testing import eventually_async, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LIMIT = 4
WORKERS = 4
CLIENTS = 16
SERVED = Path(__file__).parent / "served"
APP = "limited_app:middleware"
SERVERS = {
    "uvicorn": [
        *("uvicorn", APP, "--workers", str(WORKERS), "--port", "{port}"),
        *("--log-level", "warning"),
    ],
    "gunicorn": [
        *("gunicorn", APP, "-w", str(WORKERS), "-b", "127.0.0.1:{port}"),
        *("-k", "uvicorn.workers.UvicornWorker", "--log-level", "warning"),
        *("--graceful-timeout", "2"),
    ],
}


class Server(Listening):
    """Four workers, their notes, and the folder where they meet."""

    def __init__(self, name: str, home: Path, runtime: Path) -> None:
        port = free_port()
        self.notes = home / "notes"
        self.meeting = runtime / "shedproxy"
        words = [word.format(port=port) for word in SERVERS[name]]
        environ = {
            "XDG_RUNTIME_DIR": str(runtime),
            "NOTES": str(self.notes),
            "PYTHONPATH": f"{SERVED}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "PYTHONWARNINGS": "ignore",  # gunicorn's class of worker is another package's by now
        }
        super().__init__(
            name, [sys.executable, "-m", *words], port=port, home=home, environ=environ
        )

    def is_up(self) -> bool:
        """Every worker has a seat."""
        return super().is_up() and len(list(self.meeting.glob("*/door-*"))) == WORKERS

    def steps(self) -> list[tuple[int, int, int]]:
        """When, who, one more or less. The last line may still be in writing."""
        lines = self.notes.read_text().split("\n")[:-1]
        return [(int(at), int(who), int(step)) for at, who, step in map(str.split, lines)]

    def held(self, since: int, until: int, dead: int = 0) -> Counter[int]:
        """How long how much was in flight then, in seconds; a dead worker's work is over."""
        steps = sorted(self.steps())
        if dead:
            died_at = max(at for at, who, _ in steps if who == dead)
            left = sum(step for _, who, step in steps if who == dead)
            steps = sorted([*steps, (died_at, dead, -left)])
        now, before = 0, steps[0][0]
        seconds: Counter[int] = Counter()
        for at, _, step in steps:
            if since < at <= until:
                seconds[now] += (at - max(before, since)) / 1e9
            now, before = now + step, at
        return seconds

    def last_at(self) -> int:
        return self.steps()[-1][0]


@pytest.fixture(params=["uvicorn", pytest.param("gunicorn", marks=pytest.mark.peers("gunicorn"))])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    # The path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="shed") as runtime:
        server = Server(request.param, tmp_path, Path(runtime))
        await in_thread(server.__enter__)
        try:
            yield server
        finally:
            await in_thread(server.stop)
        assert not list(server.meeting.iterdir()), "a page was left behind"


async def played(server: Server, load: Load, for_s: float, dead: int = 0) -> list[Counter[int]]:
    """How long how much was in flight, in each of four parts of the time."""
    marks = [server.last_at()]
    for _ in range(4):
        await load.rate(for_s / 4)
        marks.append(server.last_at())
    parts = [server.held(since, until, dead) for since, until in itertools.pairwise(marks)]
    return [part for part in parts if part]


async def test_all_workers_keep_one_limit_and_a_killed_one_leaks_no_slot(server: Server):
    """A slot that is lost is not used in any part of the time; a machine that is busy with others
    leaves slots empty in some.
    """
    load = Load()
    await load.connect(server.port, CLIENTS)
    await load.rate(0.3)
    parts = await played(server, load, 2.0)
    print(f"{server.name}: {parts}")
    assert_kept(sum(parts, Counter()), LIMIT, WORKERS)
    assert max(map(mean_held, parts)) >= 0.8 * LIMIT
    victim = Counter(who for _, who, _ in server.steps()).most_common(1)[0][0]
    os.kill(victim, signal.SIGKILL)
    await eventually_async(lambda: {who for _, who, _ in server.steps()[-40:]} - {victim})
    await asyncio.sleep(0.3)
    parts = await played(server, load, 1.6, dead=victim)
    print(f"{server.name} after a kill: {parts}")
    assert_kept(sum(parts, Counter()), LIMIT, WORKERS)
    assert max(map(mean_held, parts)) >= 0.8 * LIMIT, "3 of 4 would be 0.75"
    await load.end()
