"""An upstream that does what its script says, byte by byte: also what no real server would do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

__all__ = ["Script", "ScriptedUpstream"]

Script = (
    Sequence[bytes | float]
    | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
)
"""What to do with a connection once a request head is in: bytes are sent, numbers are seconds to
wait; or a coroutine function that does as it likes."""


class ScriptedUpstream:
    r"""Listens on an ephemeral loopback port while it is entered.

        async with ScriptedUpstream([b"HTTP/1.1 204 No Content\r\n\r\n"]) as up:
            ...  # up.port, up.heads, up.connection_count

    Args:
        script: played for every request head that arrives, on any connection.
        close: close the connection after the script instead of reading the next head.
    """

    def __init__(self, script: Script = (), *, close: bool = False) -> None:
        self.script = script
        """May be changed between requests."""
        self.heads: list[bytes] = []
        """Every request head so far, with its end."""
        self.connection_count = 0
        self.closed_count = 0
        """Connections that have ended, by whichever side."""
        self._close = close
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port listened on.

        Raises:
            RuntimeError: it is not running.
        """
        if self._server is None:
            raise RuntimeError("the upstream is not running; use `async with`")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening and cut what is open."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connection_count += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._play(reader, writer)
        except asyncio.CancelledError:
            # Our own end: asyncio would report the cancelled handler as an error.
            writer.transport.abort()
        finally:
            self.closed_count += 1
            self._tasks.discard(task)
            writer.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            script = self.script
            if callable(script):
                await script(reader, writer)
            else:
                for step in script:
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    else:
                        await asyncio.sleep(step)
            if self._close:
                return
