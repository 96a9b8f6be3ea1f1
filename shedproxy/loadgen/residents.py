"""Streams that are opened at their time and held: server-sent events, WebSockets, long polls.

A resident is one connection. Its first byte is timed from when it was meant to be opened; one that
is refused, breaks, or ends before it is let go has failed. A long poll that is answered asks again,
and its first byte is the service's to delay.
"""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import urlsplit

from shedproxy.clock import monotonic_now
from shedproxy.core import NS_PER_S, Instant

__all__ = ["KINDS", "ResidentPool"]

KINDS = ("sse", "websocket", "longpoll")
_HEADERS = {
    "sse": "accept: text/event-stream\r\n",
    "websocket": (
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    ),
    "longpoll": "",
}
_GOOD = {"sse": (200,), "websocket": (101,), "longpoll": (200, 204, 304)}
_STATUS_SIZE = len("HTTP/1.1 200")
_LAST_CHUNK = b"0\r\n\r\n"
_OPEN_S = 10.0


class _Resident(asyncio.Protocol):
    def __init__(self, pool: ResidentPool, due_at: Instant) -> None:
        self._pool = pool
        self._due_at = due_at
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._pool.request)

    def data_received(self, data: bytes) -> None:
        if not self._status:
            self._head += data
            if len(self._head) < _STATUS_SIZE:
                return
            text = self._head[9:_STATUS_SIZE]
            self._status = int(text) if text.isdigit() else -1
            self._pool.began(self, self._status, monotonic_now() - self._due_at)
        elif self._pool.kind == "sse" and data.endswith(_LAST_CHUNK):
            self.close()
            self._pool.ended(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.ended(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Poll(_Resident):
    """Asks again when it is answered; connections are not kept, so that any server will do."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._status in _GOOD["longpoll"]:
            self._pool.again(self)
        else:
            self._pool.ended(self)


class ResidentPool:
    """All residents at one path. Use it on one running loop, and `close` it there."""

    def __init__(self, url: str, path: str, kind: str) -> None:
        """`kind` is one of `KINDS`; http only."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or kind not in KINDS:
            raise ValueError(f"{url!r} is not an http:// URL, or {kind!r} none of {KINDS}")
        self.kind = kind
        close = "connection: close\r\n" if kind == "longpoll" else ""
        head = f"GET {path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{_HEADERS[kind]}{close}\r\n"
        self.request = head.encode("latin-1")
        self._host, self._port = parts.hostname, parts.port or 80
        self._held: dict[_Resident, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self.first_byte_ns: list[int] = []
        """Since it was last emptied."""
        self.failed_count = 0
        """Since it was last set to 0."""

    @property
    def open_count(self) -> int:
        """Residents that are there."""
        return len(self._held)

    async def grow(self, count: int, rate_rps: float) -> None:
        """Open so many more, each at its time, whatever became of the others."""
        begin_at = monotonic_now()
        for place in range(count):
            due_at = Instant(begin_at + round(place / rate_rps * NS_PER_S))
            await asyncio.sleep(max(0.0, (due_at - monotonic_now()) / NS_PER_S))
            self._begin(due_at)

    async def shrink(self, count: int) -> None:
        """Let go until so many are left."""
        for resident in list(self._held)[count:]:
            del self._held[resident]
            resident.close()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Let all go."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await self.shrink(0)

    def _begin(self, due_at: Instant) -> None:
        task = asyncio.get_running_loop().create_task(self._open(due_at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, due_at: Instant) -> None:
        kind = _Poll if self.kind == "longpoll" else _Resident
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_OPEN_S):
                _, resident = await loop.create_connection(
                    lambda: kind(self, due_at), self._host, self._port
                )
        except (OSError, TimeoutError):
            self.failed_count += 1
            return
        if self._is_closing:
            resident.close()
        else:
            self._held[resident] = None

    def began(self, resident: _Resident, status: int, after_ns: int) -> None:
        """A head came."""
        if status in _GOOD[self.kind]:
            self.first_byte_ns.append(after_ns)
        else:
            self.ended(resident)
            resident.close()

    def ended(self, resident: _Resident) -> None:
        """One is gone that was not let go."""
        if self._held.pop(resident, self) is None:
            self.failed_count += 1

    def again(self, resident: _Resident) -> None:
        """A poll was answered."""
        if self._held.pop(resident, self) is None and not self._is_closing:
            self._begin(monotonic_now())
