"""The supervisor's end of a worker's channel: one JSON object per line, both ways, bounded.

A worker that does not read (its loop is blocked) must cost the supervisor nothing: at most one
message of each kind waits for it, the newest, and what the kernel's socket buffer holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

__all__ = ["LINE_SIZE_MAX", "Channel", "Message"]

Message = Mapping[str, Any]
"""`op` names the kind; the rest belongs to it."""

LINE_SIZE_MAX = 1024 * 1024
"""Bytes of one message from a worker; one that sends more is broken and is restarted."""

_WRITE_BUFFER = 64 * 1024


class Channel:
    """Messages to and from one worker process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._outbox: dict[str, bytes] = {}
        self._has_mail = asyncio.Event()
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._pump_task = asyncio.create_task(self._pump())

    @classmethod
    async def open(cls, ours: socket.socket) -> Channel:
        """Take over our end of the socket pair."""
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_SIZE_MAX)
        return cls(reader, writer)

    def post(self, op: str, **fields: Any) -> None:
        """Send soon; replaces an unsent message of the same kind. Never blocks, never fails."""
        self._outbox.pop(op, None)
        line = json.dumps({"op": op, **fields}, separators=(",", ":"))
        self._outbox[op] = line.encode() + b"\n"
        self._has_mail.set()

    async def messages(self) -> AsyncIterator[Message]:
        """What the worker says, until it closes its end or breaks the protocol."""
        while True:
            try:
                line = await self._reader.readline()
                message = json.loads(line) if line.endswith(b"\n") else None
            except (OSError, ValueError):  # reset; a line too long; not JSON
                return
            if not isinstance(message, dict) or not isinstance(message.get("op"), str):
                return
            yield message

    async def close(self) -> None:
        """Close our end: a worker that reads this stops by itself."""
        self._pump_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump_task
        self._writer.transport.abort()

    async def _pump(self) -> None:
        while True:
            await self._has_mail.wait()
            self._has_mail.clear()
            while self._outbox:
                line = self._outbox.pop(next(iter(self._outbox)))
                self._writer.write(line)
                try:
                    await self._writer.drain()
                except OSError:
                    return  # the process is gone; whoever watches it notices
