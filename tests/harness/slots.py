"""A service that knows how much it was asked at once, and clients that always want more."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

__all__ = ["SERVICE_S", "Load", "Station", "assert_kept", "busy", "mean_held"]

SERVICE_S = 0.02
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Station:
    """Answers after 20 ms, and knows how long it was asked for how much at once."""

    def __init__(self) -> None:
        self.url = ""
        self.now = 0
        self.seconds: Counter[int] = Counter()
        self._since = time.monotonic()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Station:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d" % self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0.05)

    def take_seconds(self) -> Counter[int]:
        """For how long how much was asked for since the last call."""
        self._move(0)
        seconds, self.seconds = self.seconds, Counter()
        return seconds

    def _move(self, step: int) -> None:
        now = time.monotonic()
        self.seconds[self.now] += now - self._since
        self.now, self._since = self.now + step, now

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self._move(1)
                try:
                    await asyncio.sleep(SERVICE_S)
                finally:
                    self._move(-1)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Load:
    """Clients that ask again at once when they were served, a moment later when refused."""

    def __init__(self) -> None:
        self.served = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, port: int, count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._tasks.append(asyncio.create_task(self._live(port, reader, writer)))

    async def _live(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            try:
                await self._ask(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                # Its worker was killed: another has the next connection.
                pass
            finally:
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split()[0]
            await reader.readexactly(int(length))
            if head.startswith(b"HTTP/1.1 200 "):
                self.served += 1
            else:
                await asyncio.sleep(SERVICE_S)

    async def rate(self, seconds: float) -> float:
        before, since = self.served, time.monotonic()
        await asyncio.sleep(seconds)
        return (self.served - before) / (time.monotonic() - since)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def mean_held(seconds: Counter[int]) -> float:
    """How much was asked for at once, on average."""
    return sum(held * part for held, part in seconds.items()) / sum(seconds.values())


def assert_kept(seconds: Counter[int], limit: int, workers: int) -> None:
    """Of the work a hundredth at most was beyond the limit.

    Workers that look at the same moment exceed it by one each; of 400 requests one such is 5 ms to
    20 ms, so that a share of the time would be a share of one or two of them.
    """
    assert max(seconds) <= limit + workers
    beyond = sum((held - limit) * part for held, part in seconds.items() if held > limit)
    assert beyond <= 0.01 * sum(held * part for held, part in seconds.items())


async def busy(station: Station, load: Load, for_s: float) -> tuple[float, Counter[int]]:
    """How much the station had at once, and for how long how much.

    The first is the best of twelve parts of the time: a slot that nobody may use is not used in any
    of them, and a machine that is busy with others leaves slots empty in some.
    """
    parts = []
    station.take_seconds()
    for _ in range(12):
        await load.rate(for_s / 12)
        parts.append(station.take_seconds())
    return max(map(mean_held, parts)), sum(parts, Counter())
