"""A server of a few lines on loopback, whose connections end with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["raw_server"]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[str]:
    """Its `host:port`. A connection is closed when `serve` returns, or at the end: what outlives
    the loop would be a warning in another test.
    """
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield "127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await _turns()  # in which whoever has just connected begins
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await _turns()  # in which transports that are closed let go of their sockets


async def _turns() -> None:
    """More turns of the loop than its ways to begin and to end a connection take."""
    for _ in range(10):
        await asyncio.sleep(0)
