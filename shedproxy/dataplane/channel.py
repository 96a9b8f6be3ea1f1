"""A worker's end of its channel to the supervisor: one JSON object per line, both ways.

A supervisor that does not read must cost the worker nothing: log lines that find no room are
dropped and counted; large messages are for those who ask whether there is room; others are small.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, cast

from shedproxy.errors import StartupError

__all__ = ["WorkerChannel", "read_weights"]

LOG_BUFFER_MAX = 256 * 1024
"""Bytes that may wait for the supervisor before there is no room for more."""
_LOG_MESSAGE_MAX = 256 * 1024


class WorkerChannel(asyncio.Protocol):
    """Calls `on_message` for each message and `on_lost` once when the supervisor is gone."""

    def __init__(
        self, on_message: Callable[[dict[str, Any]], None], on_lost: Callable[[], None]
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._is_closing = False
        self.lines_dropped = 0
        """Log lines that found no room; counts on."""

    async def open(self, fd: int) -> None:
        """Take over the descriptor of our end.

        Raises:
            StartupError: it is no socket.
        """
        try:
            ours = socket.socket(fileno=fd)
        except (OSError, ValueError) as error:
            raise StartupError(f"descriptor {fd} is no channel: {error}") from error
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=ours)

    @property
    def has_room(self) -> bool:
        """Whether the supervisor is there and reads what it is sent."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() <= LOG_BUFFER_MAX

    def post(self, op: str, **fields: Any) -> None:
        """Send a message; nothing happens when nobody is there."""
        if self._transport is not None and not self._transport.is_closing():
            line = json.dumps({"op": op, **fields}, separators=(",", ":"))
            self._transport.write(line.encode() + b"\n")

    def post_log(self, lines: list[str]) -> None:
        """Send log lines, as many messages as it takes, while there is room."""
        batch: list[str] = []
        size = 0
        for index, line in enumerate(lines):
            if not self.has_room:
                self.lines_dropped += len(lines) - index + len(batch)
                return
            batch.append(line)
            size += len(line)
            if size > _LOG_MESSAGE_MAX:
                self.post("log", lines=batch)
                batch, size = [], 0
        if batch:
            self.post("log", lines=batch)

    def close(self) -> None:
        """End it; what was posted still goes out."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Our end is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of messages, in whatever pieces; what is no message is left out."""
        head, newline, rest = data.partition(b"\n")
        if not newline:
            self._pieces.append(data)
            return
        lines = [b"".join((*self._pieces, head)), *rest.split(b"\n")]
        self._pieces = [lines.pop()]
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """The supervisor is gone, or we closed."""
        self._transport = None
        if not self._is_closing:
            self._on_lost()


def read_weights(cells: Any) -> dict[str, dict[str, int]]:
    """Parts of upstreams by cell and URL, from a message; anything else is left out."""
    if not isinstance(cells, dict):
        return {}
    return {
        str(cell): {str(url): int(weight) for url, weight in weights.items()}
        for cell, weights in cells.items()
        if isinstance(weights, dict)
    }
