"""A worker that runs an ASGI application: uvicorn with the middleware mounted.

Imported only by workers of the kind `asgi`: uvicorn is not light.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from shedproxy.core import NS_PER_S, CellTable, Nanos
from shedproxy.dataplane.application import load_application
from shedproxy.dataplane.asgi.middleware import ShedMiddleware
from shedproxy.dataplane.asgi.runtime import compile_document
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.wire.backlog import take_waiting
from shedproxy.dataplane.wire.tls import renew
from shedproxy.errors import DocumentInvalidError, Problem, StartupError
from shedproxy.snapshot import Document

__all__ = ["AsgiService"]

_POLL_S = 0.02
_NEXT_WORD_S = 1
"""How long a drain waits for the next request of who was told to stay: uvicorn's least."""
_FIRST_WORD_NS = NS_PER_S // 2
"""And for that of all others, once nobody is accepted any more."""
_CLOSE = (b"connection", b"close")


class _Server(uvicorn.Server):
    """uvicorn's server in a loop whose signals belong to the worker."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn leaves the process when the lifespan fails; here somebody wants to know."""
        try:
            await super().startup(sockets)
        except SystemExit:
            raise StartupError("its lifespan failed; the lines before this are its own") from None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """uvicorn's connection, that a drain does not close behind an answer which was to keep it."""

    def shutdown(self) -> None:
        """A drain begins: close when nothing is under way, or with the answer that says so."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            # The end of an answer does what its head said: who was told to stay may have asked
            # again already, and has a moment for it.
            self.timeout_keep_alive = _NEXT_WORD_S
        else:
            super().shutdown()


class AsgiService:
    """Runs the application until drained or closed.

    Raises:
        StartupError: the application cannot be imported.
    """

    def __init__(
        self, driver: Driver, target: str, *, app_dir: str = "", is_factory: bool = False
    ) -> None:
        application = load_application(target, app_dir=app_dir, is_factory=is_factory)
        self._driver = driver
        self._middleware = ShedMiddleware(application, driver=driver)
        tls = driver.document.proxy.tls
        self._config = uvicorn.Config(
            self._middleware,
            loop="none",
            # Not httptools: it takes heads of any size, requests without Host, and trailers for
            # headers, after admission has looked at them.
            http=_Connection,
            # "auto": Django and others have no lifespan; one that fails to start still stops us.
            lifespan="auto",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            ssl_certfile=None if tls is None else tls.cert,
            ssl_keyfile=None if tls is None else tls.key or None,
        )
        self._bound_connections(driver.document)
        self._server = _Server(self._config)
        self._serving: asyncio.Task[None] | None = None
        self._sockets: Sequence[socket.socket] = ()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Start the application and serve it.

        Raises:
            StartupError: the application's start failed.
        """
        self._sockets = sockets
        self._serving = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=list(sockets))
        )
        while not self._server.started:
            if self._serving.done():
                error = self._serving.exception()
                raise StartupError(f"the application did not start: {error or 'see its log'}")
            await asyncio.sleep(_POLL_S)

    def _bound_connections(self, document: Document) -> None:
        """Those that are accepted from now on: uvicorn's connections read it as they begin."""
        idle_ns = document.proxy.timeouts.client_idle_ns
        self._config.timeout_keep_alive = max(1, idle_ns // NS_PER_S)
        self._config.h11_max_incomplete_event_size = document.proxy.head_size_max

    def apply(self, document: Document) -> None:
        """Admit by another document; certificates and bounds hold for connections from now on."""
        tls = document.proxy.tls
        context = getattr(self._config, "ssl", None)  # made when uvicorn starts
        try:
            compile_document(document)
            if tls is not None and context is not None:
                renew(context, tls)
        except (ValueError, OSError) as error:
            raise DocumentInvalidError([Problem(message=str(error))]) from error
        self._driver.apply(document)
        self._bound_connections(document)
        self._middleware.refresh()

    def take_table(self, table: CellTable | None) -> None:
        """Nothing: an application's document has its table inside."""

    def announce(self) -> None:
        """Answers carry Connection: close from now on."""
        headers = self._server.server_state.default_headers
        if _CLOSE not in headers:
            headers.append(_CLOSE)

    async def drain(self, grace_ns: Nanos) -> int:
        """Let requests end, then the application; how many connections were cut off."""
        if self._serving is None:
            return 0
        self.announce()
        patience_ns = min(_FIRST_WORD_NS, grace_ns)
        await self._close_listeners(patience_ns)
        grace_ns = Nanos(grace_ns - patience_ns)
        self._config.timeout_graceful_shutdown = max(1, -(-grace_ns // NS_PER_S))
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=grace_ns / NS_PER_S + 2)
        return len(self._server.server_state.connections)

    async def _close_listeners(self, patience_ns: int) -> None:
        """Accept no more, but first take who waits there: closing would reset them."""
        waiting = take_waiting(self._sockets)
        for listener in self._server.servers:
            listener.close()
        loop, context = asyncio.get_running_loop(), self._config.ssl
        coming = [
            loop.create_task(loop.connect_accepted_socket(self._make_connection, sock, ssl=context))
            for sock in waiting
        ]
        if coming or self._server.server_state.connections:
            # Who has just come, or was just answered, may be asking already.
            await asyncio.sleep(patience_ns / NS_PER_S)
        for task in coming:
            task.cancel()  # its handshake is not through
        await asyncio.gather(*coming, return_exceptions=True)

    def _make_connection(self) -> _Connection:
        server = self._server
        return _Connection(self._config, server.server_state, server.lifespan.state)

    def close(self) -> None:
        """Stop at once."""
        self._server.force_exit = True
        self._server.should_exit = True
        if self._serving is not None:
            self._serving.cancel()

    def save_memory(self, *, is_short: bool) -> None:
        """What the application holds is its own."""

    def log_lines(self) -> list[str]:
        """The application has its own log."""
        return []

    def upstream_health(self) -> dict[str, dict[str, bool]]:
        """There is no upstream: the application is here."""
        return {}

    def upstream_tallies(self) -> dict[str, dict[str, list[float]]]:
        """As above."""
        return {}

    def weigh_upstreams(self, weights: dict[str, dict[str, int]]) -> None:
        """As above."""
