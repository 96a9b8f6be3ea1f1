"""Uvicorn in the loop that there is, without its signal handlers, logs and lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from shedproxy.listening.callers import PEER_USER

__all__ = ["AppServer"]

_STOP_BOUND = 2.0
_HEAD_SIZE_MAX = 16 * 1024
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group at the other end of a unix socket."""


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who it is, where the kernel says."""
        super().connection_made(transport)
        found: socket.socket = transport.get_extra_info("socket")
        if found.family == socket.AF_UNIX:
            said = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            self.app_state = {**self.app_state, PEER_USER: _CREDENTIALS.unpack(said)[1]}


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.servers = []
        self.answers = asyncio.Event()
        """Is set when it answers, or never will."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it answers."""
        await super().startup(sockets=sockets)
        self.answers.set()

    def close_now(self, sockets: list[socket.socket]) -> None:
        """What `shutdown` does in the end, when it was not given the time."""
        for server in self.servers:
            server.close()
        for sock in sockets:
            sock.close()
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        for task in tuple(self.server_state.tasks):
            task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are those of who runs it."""
        yield


class AppServer:
    """Serves an ASGI app on sockets that are already bound."""

    def __init__(self, app: ASGIApp, sockets: list[socket.socket]) -> None:
        config = uvicorn.Config(
            app,
            # Strict, and with a bound on heads, which the other one that uvicorn has does without.
            http=_Protocol,
            h11_max_incomplete_event_size=_HEAD_SIZE_MAX,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._sockets = sockets
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it answers.

        Raises:
            Exception: it cannot, for this; nothing is left listening.
        """
        server = self._server
        self._task = task = asyncio.create_task(
            server.serve(sockets=self._sockets), name="control listener"
        )
        task.add_done_callback(lambda _: server.answers.set())
        await server.answers.wait()
        if task.done():
            self._task = None
            server.close_now(self._sockets)
            await task

    async def stop(self) -> None:
        """Answer what was asked, then close; bounded."""
        if self._task is None:
            return
        self._server.should_exit = True
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_BOUND)
        if not done:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if not done:
            self._server.close_now(self._sockets)
