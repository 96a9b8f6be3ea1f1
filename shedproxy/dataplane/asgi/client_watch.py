"""Watches for the client to leave while its request waits in the queue.

Only `receive` tells, and it may give other messages first. At most one part of a body is taken
that way, kept, and given to the app later; a body that goes on stays where it is, in the client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from shedproxy.dataplane.asgi.types import Message, Receive

__all__ = ["ClientWatch"]

_KEPT_MAX: Final = 2
_GONE: Final = frozenset(("http.disconnect", "websocket.disconnect"))


class ClientWatch:
    """To the app, `receive`: first what was kept, then the read that is under way, then more."""

    __slots__ = ("_kept", "_reading", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: deque[Message] = deque()
        self._reading: asyncio.Task[Message] | None = None

    async def until(self, verdict: asyncio.Future[Any], *, is_allowed: bool) -> bool:
        """Wait until `verdict` is there (False) or the client has left (True)."""
        while is_allowed and not verdict.done():
            self._reading = reading = asyncio.get_running_loop().create_task(self._read())
            reading.add_done_callback(_retrieve)
            await asyncio.wait((verdict, reading), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return False  # the app gets what it reads
            self._reading = None
            message = reading.result()
            if message["type"] in _GONE:
                return True
            self._kept.append(message)
            is_allowed = not message.get("more_body", False) and len(self._kept) < _KEPT_MAX
        if not verdict.done():
            await asyncio.wait((verdict,))
        return False

    async def receive(self) -> Message:
        """What the app gets as `receive`."""
        if self._kept:
            return self._kept.popleft()
        reading, self._reading = self._reading, None
        if reading is None:
            return await self._receive()
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            # The app waits no longer; what comes is for its next call.
            if not reading.cancelled():
                self._reading = reading
            raise

    def close(self) -> None:
        """Nobody will ask for more."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> Message:
        return await self._receive()


def _retrieve(reading: asyncio.Task[Message]) -> None:
    """An error of a read that nobody waits for any more is nobody's error."""
    if not reading.cancelled():
        reading.exception()
