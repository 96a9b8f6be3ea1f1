"""Clients that keep their connections, and notice everything that was not announced.

A request is lost when its connection ends without an answer, or when the answer is no 200. A
connection that the proxy closes after it said `connection: close` is an orderly end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

__all__ = ["Clients", "Loss", "Upstream"]

_GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"


class Upstream:
    """Answers every request after a time, while it is entered. `/slow/S` takes S seconds."""

    def __init__(self, service_s: float = 0.001) -> None:
        self._service_s = service_s
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._present = self.most = 0
        """Requests at once, now and at most."""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                slow = path.startswith(b"/slow/")
                self._present += 1
                self.most = max(self.most, self._present)
                try:
                    await asyncio.sleep(float(path[6:]) if slow else self._service_s)
                finally:
                    self._present -= 1
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._conversations.discard(task)
            await _end(writer)


@dataclass(slots=True)
class Loss:
    """A request without an answer that is worth something, and on which connection it was."""

    why: str = ""
    port: int = 0
    """The client's."""
    opened_at: float = 0.0
    sent_at: float = 0.0
    """Both by `time.perf_counter`."""


class Clients:
    """So many at once, each of which asks again when it has its answer, until the block ends.

    Args:
        port: of loopback.
        count: how many.
        requests_per_connection: then a client comes with another connection.
        pause_s: between an answer and the next request.
        requests: what each connection sends, over and over.
    """

    def __init__(
        self,
        port: int,
        count: int,
        *,
        requests_per_connection: int = 50,
        pause_s: float = 0.0,
        requests: Sequence[bytes] = (_GET,),
    ) -> None:
        self._port = port
        self._count = count
        self._per_connection = requests_per_connection
        self._pause_s = pause_s
        self._requests = requests
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []
        self.ok = 0
        self.losses: list[Loss] = []
        self.took: list[float] = []
        """Seconds of every answered request."""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._count)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    @property
    def lost(self) -> list[str]:
        """Why each of them was lost."""
        return [loss.why for loss in self.losses]

    async def answers(self, count: int) -> None:
        """Wait until so many more requests have ended, in whatever way."""
        wanted = self.ok + len(self.losses) + count
        while self.ok + len(self.losses) < wanted:
            await asyncio.sleep(0.001)

    def p99_ms(self) -> float:
        """Of what was answered."""
        took = sorted(self.took)
        return round(took[int(len(took) * 0.99)] * 1000, 2) if took else 0.0

    async def _client(self) -> None:
        while not self._is_over:
            request = Loss()
            try:
                await self._connection(request)
            except (OSError, asyncio.IncompleteReadError) as error:
                request.why = repr(error)
                self.losses.append(request)

    async def _connection(self, request: Loss) -> None:
        request.opened_at = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        request.port = writer.get_extra_info("sockname")[1]
        try:
            for number in range(self._per_connection):
                request.sent_at = began = time.perf_counter()
                writer.write(self._requests[number % len(self._requests)])
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length))
                self.took.append(time.perf_counter() - began)
                if head.startswith(b"http/1.1 200 "):
                    self.ok += 1
                else:
                    why = f"{head[9:12].decode()}: {body[:200].decode()}"
                    self.losses.append(replace(request, why=why))
                if self._is_over or b"connection: close" in head:
                    return
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)
        finally:
            await _end(writer)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
