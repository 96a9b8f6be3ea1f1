"""TLS handshakes of strangers do not starve who is connected already."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from harness.process import HERE, Process, memory_bytes

from benchmarks.slow_client_load import Honest

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

RATE = 2000


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_config(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "both.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    return f'[server.tls]\ncert = "{file}"\nkey = "{file}"\n'


@contextmanager
def flood(port: int, home: Path) -> Iterator[Process]:
    class Flood(Process):
        def is_up(self) -> bool:
            return self.text().startswith("flooding")

        def end(self) -> float:
            """Stop; how many handshakes were begun per second."""
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=self.STOP_S)
            return float(self.text().split()[-1])

    command = [sys.executable, "-P", HERE / "hello_flood.py", str(port), f"--rate={RATE}"]
    with Flood("flood", command, home=home, stdin=True) as running:
        yield running


async def test_a_flood_of_handshakes_leaves_open_connections_their_time(
    serve, tls_config, authority, tmp_path
) -> None:
    """2 000 a second: traffic on open connections is answered, its p99 within 1.5 x, and whoever
    comes when it is over is let in at once.

    The flood is as steady as the clock: what it costs is seen in each of three windows, what
    something else on the machine costs is not; calm is what it was before it or after it.
    """
    proxy = serve(tls_config)
    pid = proxy.worker_pid
    context = ssl.create_default_context()
    authority.configure_trust(context)
    honest = Honest(proxy.port, rate=100, tls=context)
    try:
        await honest.open(50)
        await honest.run(0.5)
        idle = await honest.run(2)
        before = memory_bytes(pid)
        with flood(proxy.port, tmp_path) as strangers:
            seen = [await honest.run(1.2) for _ in range(3)]
            growth = memory_bytes(pid) - before
            assert strangers.end() > 0.9 * RATE
        after = await honest.run(2)
    finally:
        honest.close()
    assert not [failure for window in seen for failure in window.failures]
    p99s_ms = [window.p99_ms for window in seen]
    idle_ms = max(idle.p99_ms, after.p99_ms)
    assert min(p99s_ms) <= 1.5 * idle_ms, (idle_ms, p99s_ms)
    assert growth < 64 * 1024**2
    began = time.perf_counter()
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=context)
    assert time.perf_counter() - began < 1
    writer.transport.abort()
