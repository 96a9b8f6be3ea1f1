"""The middleware under servers that start several processes: one limit for all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from harness.beside import in_thread
from harness.process import Listening, free_port
from harness.slots import SERVICE_S, Load

from shedproxy.testing import eventually_async

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
        """When, who, one more or less."""
        lines = self.notes.read_text().splitlines()
        return [(int(at), int(who), int(step)) for at, who, step in map(str.split, lines)]

    def held(self, since: int, dead: int = 0) -> Counter[int]:
        """How long how much was in flight since then, in seconds; a dead worker's work is over."""
        steps = sorted(self.steps())
        if dead:
            died_at = max(at for at, who, _ in steps if who == dead)
            left = sum(step for _, who, step in steps if who == dead)
            steps = sorted([*steps, (died_at, dead, -left)])
        now, before = 0, steps[0][0]
        seconds: Counter[int] = Counter()
        for at, _, step in steps:
            if at > since:
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


def assert_kept(seconds: Counter[int]) -> None:
    above = sum(part for held, part in seconds.items() if held > LIMIT)
    assert max(seconds) <= LIMIT + WORKERS
    assert above <= 0.01 * sum(seconds.values())


async def test_all_workers_keep_one_limit_and_a_killed_one_leaks_no_slot(server: Server):
    load = Load()
    await load.connect(server.port, CLIENTS)
    await load.rate(0.3)
    since = server.last_at()
    rate = await load.rate(2.0)
    seconds = server.held(since)
    print(f"{server.name}: {rate:.1f}/s; {dict(seconds)}")
    assert_kept(seconds)
    assert rate >= 0.8 * LIMIT / SERVICE_S
    victim = Counter(who for _, who, _ in server.steps()).most_common(1)[0][0]
    os.kill(victim, signal.SIGKILL)
    await eventually_async(lambda: {who for _, who, _ in server.steps()[-40:]} - {victim})
    await asyncio.sleep(0.3)
    since = server.last_at()
    rate = await load.rate(1.0)
    seconds = server.held(since, dead=victim)
    print(f"{server.name} after a kill: {rate:.1f}/s; {dict(seconds)}")
    assert_kept(seconds)
    assert seconds[LIMIT] >= 0.8 * sum(seconds.values())
    await load.end()
