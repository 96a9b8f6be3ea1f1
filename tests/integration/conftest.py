"""Real processes on loopback: an upstream, `shedproxy` before it, clients that keep connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from harness.own_time import own_time

from shedproxy.testing import eventually


class Service:
    """An upstream in the test's own loop; `/slow/S` takes S seconds, everything else 1 ms."""

    def __init__(self) -> None:
        self.served = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Service:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                await asyncio.sleep(float(path[6:]) if path.startswith("/slow/") else 0.001)
                self.served += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Connection:
    """One keep-alive connection of a client. Any end that was not announced is an exception."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.must_close = False

    @classmethod
    async def open(cls, address: str) -> Connection:
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def get(self, path: str = "/") -> tuple[int, bytes]:
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        self.must_close = b"connection: close" in head
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        self._writer.transport.abort()


class Load:
    """Keep-alive clients that ask in a loop, and note what went wrong."""

    def __init__(self, address: str, clients: int) -> None:
        self._address = address
        self._clients = clients
        self._stop = False
        self.ok = 0
        self.statuses: dict[int, int] = {}
        self.errors: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        connection = None
        while not self._stop:
            try:
                connection = connection or await Connection.open(self._address)
                status, _ = await connection.get()
            except (OSError, asyncio.IncompleteReadError) as error:
                self.errors.append(repr(error))
                return
            self.ok += status == 200
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if connection.must_close:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def accepts(path: str) -> bool:
    """Whether somebody listens at this unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


class Instance:
    """A `shedproxy` process, seen through its control listener."""

    def __init__(self, process: subprocess.Popen[str], control: str) -> None:
        self.process = process
        self.control = control
        transport = httpx2.HTTPTransport(uds=control)
        self.http = httpx2.Client(transport=transport, base_url="http://localhost", timeout=10)

    @property
    def status(self) -> dict[str, Any]:
        return self.http.get("/-/status").json()

    @property
    def address(self) -> str:
        return self.status["listening"][0]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def cell(self) -> dict[str, Any]:
        return self.status["cells"][0]

    def worker_pid(self, index: int = 0) -> int:
        return self.status["workers"][index]["pid"]

    def wait_ready(self) -> Instance:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise SystemExit(f"it ended with {self.process.returncode}")
            # httpx2 leaks a socket that cannot connect, and the file is there before who listens.
            return accepts(self.control) and self.http.get("/readyz").status_code == 200

        eventually(ready, within_s=60, what="readiness")
        return self

    def post(self, path: str, content: dict[str, Any] | None = None) -> httpx2.Response:
        return self.http.post(path, json=content or {})

    async def post_async(self, path: str, content: dict[str, Any] | None = None) -> httpx2.Response:
        return await asyncio.to_thread(self.post, path, content)

    def signal(self, signum: int) -> None:
        os.kill(self.process.pid, signum)

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(40)

    def answer_times(self, paths: tuple[str, ...], *, rounds: int) -> list[float]:
        """Seconds of its own that the supervisor took for each of a stream of control requests."""
        took = []
        for _ in range(rounds):
            for path in paths:
                began = own_time(self.process.pid)
                assert self.http.get(path).status_code in {200, 503}
                took.append(own_time(self.process.pid) - began)
            time.sleep(0.01)
        return sorted(took)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Starts `shedproxy ...` on ephemeral ports and ends it after the test."""
    instances: list[Instance] = []
    numbers = itertools.count()

    def starter(*arguments: str, ready: bool = True, **environ: str) -> Instance:
        control = str(tmp_path / f"control-{next(numbers)}")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "shedproxy", *arguments),
                *("--listen", "127.0.0.1:0", "--control", f"unix:{control}"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE if not ready else None,
            text=True,
            env={**os.environ, **environ},
            cwd=tmp_path,
        )
        instance = Instance(process, control)
        instances.append(instance)
        return instance.wait_ready() if ready else instance

    yield starter
    left = [instance for instance in instances if instance.process.poll() is None]
    for instance in left:
        instance.process.terminate()  # all of them, before the first is waited for
    for instance in instances:
        instance.http.close()
        if instance in left:
            try:
                instance.process.wait(20)
            except subprocess.TimeoutExpired:
                instance.process.kill()
                instance.process.wait()
        if instance.process.stderr is not None:
            instance.process.stderr.close()


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a `shedproxy` command to its end."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shedproxy", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **environ},
            cwd=tmp_path,
            check=False,
        )

    return run


@pytest.fixture
async def service(anyio_backend: str) -> AsyncIterator[Service]:
    """The upstream."""
    async with Service() as running:
        yield running


@pytest.fixture
def load() -> Callable[[str, int], contextlib.AbstractAsyncContextManager[Load]]:
    """Makes clients that ask in a loop."""
    return Load


@pytest.fixture
def connect() -> Callable[[str], Any]:
    """Opens one client connection."""
    return Connection.open
