"""Clients of a wire proxy that ask one request after the other, and what they met."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.own_time import own_time

__all__ = ["GET", "POST", "Load", "Reply", "quantile"]

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\n\r\nabc"


@dataclass(frozen=True, slots=True)
class Reply:
    """One request and what became of it."""

    request: bytes
    began_s: float
    ended_s: float
    """Both by the monotonic clock."""
    ended_own_s: float
    took_s: float
    """Both by `own_time`: proxy, upstream and clients are one thread."""
    status: int
    """0: cut, or closed without an answer."""
    head: bytes = b""


class Load:
    """Asks until `stop`, or as often as it was told to.

    Args:
        proxy: where clients connect to.
        clients: how many ask at the same time.
        request: what they ask; a function is called for each request.
        pause_s: between an answer and the next request of a client, on average: clients that are
            refused together must not come back together for ever.
    """

    def __init__(
        self,
        proxy: Any,
        *,
        clients: int = 1,
        request: bytes | Callable[[], bytes] = GET,
        pause_s: float = 0,
    ) -> None:
        self.replies: list[Reply] = []
        self._proxy = proxy
        self._clients = clients
        self._make = request if callable(request) else lambda: request
        self._pause_s = pause_s
        self._random = random.Random(1)
        self._left: float = float("inf")
        self._tasks: list[asyncio.Task] = []

    async def run(self, count: int) -> list[Reply]:
        """So many requests in all."""
        self._left = count
        await asyncio.gather(*(self._client() for _ in range(self._clients)))
        return self.replies

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> list[Reply]:
        """Let those under way end."""
        self._left = 0
        await asyncio.gather(*self._tasks)
        return self.replies

    def since(self, at_s: float) -> list[Reply]:
        """Requests begun after a moment."""
        return [reply for reply in self.replies if reply.began_s >= at_s]

    def statuses(self) -> Counter[int]:
        return Counter(reply.status for reply in self.replies)

    async def _client(self) -> None:
        client = None
        while self._left > 0:
            self._left -= 1
            if client is None:
                client = await self._proxy.connect()
            request, began_s, began_own_s = self._make(), time.monotonic(), own_time()
            status, head = 0, b""
            try:
                answer = await client.ask(request)
                status, head = answer.status, answer.head
            except (asyncio.IncompleteReadError, OSError):  # a timeout of the client too
                pass
            ended_s, ended_own_s = time.monotonic(), own_time()
            took_s = ended_own_s - began_own_s
            self.replies.append(Reply(request, began_s, ended_s, ended_own_s, took_s, status, head))
            if not status or b"onnection: close" in head:
                client.close()
                client = None
            if self._pause_s:
                await asyncio.sleep(self._pause_s * self._random.uniform(0.5, 1.5))
        if client is not None:
            client.close()


def quantile(replies: list[Reply], share: float) -> float:
    """How long a share of them took at most, in seconds of `own_time`."""
    took = sorted(reply.took_s for reply in replies)
    return took[min(len(took) - 1, int(len(took) * share))]
