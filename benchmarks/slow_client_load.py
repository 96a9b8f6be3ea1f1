"""Clients that are slow on purpose, and honest ones beside them: who gets an answer, and when.

Slow clients are bare sockets: they cost the generator nothing, and what they do not read stays
unread. Honest requests come at fixed times, whatever became of those before; each is timed from the
moment it was due, and one that has no 200 within a second has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = [
    "BODY_SIZE",
    "DOWNLOAD_SIZE",
    "Honest",
    "Seen",
    "percentile",
    "readers",
    "senders",
    "slow_readers",
]

BODY_SIZE = 1024 * 1024
DOWNLOAD_SIZE = 16 * 1024 * 1024
PATIENCE_S = 1.0

_POST = b"POST /upload HTTP/1.1\r\nHost: slow\r\nContent-Length: %d\r\n\r\n" % BODY_SIZE
_GET = b"GET /download?size=%d HTTP/1.1\r\nHost: slow\r\n\r\n" % DOWNLOAD_SIZE
_HONEST = b"GET /work HTTP/1.1\r\nHost: honest\r\n\r\n"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextlib.contextmanager
def _sockets(port: int, count: int, *, is_narrow: bool = False) -> Iterator[list[socket.socket]]:
    """Connections; narrow ones have small segments and windows, so that little is in flight."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            if is_narrow:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(5)
            sock.connect(("127.0.0.1", port))
        yield socks


@contextlib.asynccontextmanager
async def _steps(
    socks: list[socket.socket], step: Callable[[socket.socket], object], period_s: float
):
    """Each of them takes a step in each period, until it is answered or closed."""

    async def walk() -> None:
        left = set(socks)
        while left:
            await asyncio.sleep(period_s)
            for sock in tuple(left):
                try:
                    step(sock)
                except BlockingIOError:
                    continue
                except OSError:
                    left.discard(sock)

    task = asyncio.create_task(walk())
    try:
        yield socks
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def senders(
    port: int, count: int, *, at_once: int = 0, piece: int = 1, period_s: float = 0.5
):
    """Requests whose body comes piece by piece, but for what of it comes `at_once`."""
    with _sockets(port, count) as socks:
        for sock in socks:
            sock.sendall(_POST + b"x" * at_once)
            sock.setblocking(False)
        send = b"x" * piece
        async with _steps(socks, lambda sock: sock.send(send, socket.MSG_NOSIGNAL), period_s):
            yield socks


@contextlib.asynccontextmanager
async def slow_readers(
    port: int, count: int, *, piece: int, period_s: float, is_narrow: bool = True
):
    """Requests for 16 MiB that are read piece by piece."""
    with _sockets(port, count, is_narrow=is_narrow) as socks:
        for sock in socks:
            sock.sendall(_GET)
            sock.setblocking(False)
        async with _steps(socks, lambda sock: sock.recv(piece), period_s):
            yield socks


@contextlib.contextmanager
def readers(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Requests for 16 MiB of which not a byte is read."""
    with _sockets(port, count) as socks:
        for sock in socks:
            sock.send(_GET)
        yield socks


@dataclass(slots=True)
class Seen:
    """What honest clients saw in one phase."""

    times_s: list[float] = field(default_factory=list)
    """Of the answered ones."""
    failures: list[str] = field(default_factory=list)

    @property
    def success(self) -> float:
        """Share of requests with an answer."""
        count = len(self.times_s) + len(self.failures)
        return len(self.times_s) / count if count else 0.0

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.times_s) * 1000 if self.times_s else float("inf")

    @property
    def p99_ms(self) -> float:
        return percentile(self.times_s, 0.99) * 1000 if self.times_s else float("inf")


class Honest:
    """An open loop of small requests over connections that are kept."""

    def __init__(self, port: int, *, rate: float, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._rate = rate
        self._tls = tls
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        """They take turns: one that says nothing for long is closed by the other side."""

    async def open(self, count: int) -> None:
        """See that so many connections are there, so that none has to be made later."""
        for _ in range(count - len(self._free)):
            self._free.append(await self._connect())

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)

    async def run(self, seconds: float) -> Seen:
        """Ask for so long, and wait for the last answers."""
        seen, tasks, began = Seen(), [], time.perf_counter()
        for index in range(round(seconds * self._rate)):
            due = began + index / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._ask(seen, due)))
        await asyncio.gather(*tasks)
        return seen

    def close(self) -> None:
        for _, writer in self._free:
            writer.transport.abort()
        self._free.clear()

    async def _ask(self, seen: Seen, due: float) -> None:
        try:
            async with asyncio.timeout(due + PATIENCE_S - time.perf_counter()):
                status = await self._exchange()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            seen.failures.append(type(error).__name__)
            return
        if status == 200:
            seen.times_s.append(time.perf_counter() - due)
        else:
            seen.failures.append(str(status))

    async def _exchange(self) -> int:
        reader, writer = self._free.popleft() if self._free else await self._connect()
        is_kept = False
        try:
            writer.write(_HONEST)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            is_kept = b"connection: close" not in head
        finally:
            if is_kept:
                self._free.append((reader, writer))
            else:
                writer.transport.abort()
        return int(head.split(b" ", 2)[1])
