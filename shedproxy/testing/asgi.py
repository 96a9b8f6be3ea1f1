"""Drives an ASGI application message by message, as a server would, without a server.

    probe = AsgiProbe(app)
    request = probe.request("GET", "/items/1")
    request.send_body()
    assert (await request.read())["status"] == 200

`send_*`, `disconnect` and `cancel` are what the client and the server do; `read` is what they see.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = ["AsgiExchange", "AsgiProbe"]

Message = MutableMapping[str, Any]
_App = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]
_Headers = Iterable[tuple[bytes, bytes]]

_WAIT_MAX_S = 10.0


class AsgiProbe:
    """Starts requests, WebSockets and the lifespan on an app; needs a running event loop."""

    def __init__(self, app: _App, *, client: tuple[str, int] | None = ("127.0.0.1", 50000)) -> None:
        self._app = app
        self._client = client

    def request(
        self, method: str = "GET", path: str = "/", headers: _Headers = (), **scope: Any
    ) -> AsgiExchange:
        """Start an HTTP request. Further scope entries by keyword; None takes one away."""
        return self._start(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                **self._address(path, headers),
            },
            scope,
        )

    def websocket(
        self,
        path: str = "/",
        headers: _Headers = (),
        *,
        can_deny: bool = True,
        **scope: Any,
    ) -> AsgiExchange:
        """Start a WebSocket; `can_deny`: the server has the denial response extension."""
        return self._start(
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "scheme": "ws",
                "subprotocols": [],
                "extensions": {"websocket.http.response": {}} if can_deny else {},
                **self._address(path, headers),
            },
            scope,
        )

    def lifespan(self) -> AsgiExchange:
        """Start the lifespan; feed it `lifespan.startup` and `lifespan.shutdown`."""
        return self._start(
            {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}, {}
        )

    def _address(self, path: str, headers: _Headers) -> dict[str, Any]:
        bare, _, query = path.partition("?")
        return {
            "path": bare,
            "raw_path": bare.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": list(headers),
            "client": self._client,
            "server": ("127.0.0.1", 8000),
            "state": {},
        }

    def _start(self, scope: dict[str, Any], changes: dict[str, Any]) -> AsgiExchange:
        scope |= changes
        for name in [name for name, value in changes.items() if value is None]:
            del scope[name]
        return AsgiExchange(self._app, scope)


class AsgiExchange:
    """One running call of the app."""

    def __init__(self, app: _App, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.sent: list[Message] = []
        """Everything the app sent so far."""
        self.receive_count = 0
        """How often `receive` was called: 0 while nobody has asked for the body."""
        self.hold_sends = asyncio.Event()
        """Clear it to make the client a slow reader: every `send` then waits."""
        self.hold_sends.set()
        self.send_error: BaseException | None = None
        """Raised by the next `send`: what a server does when the client has gone."""
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._run(app))

    async def _run(self, app: _App) -> None:
        await app(self.scope, self._receive, self._send)

    async def _receive(self) -> Message:
        self.receive_count += 1
        return await self._to_app.get()

    async def _send(self, message: Message) -> None:
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(message)
        self._from_app.put_nowait(message)
        await self.hold_sends.wait()

    def feed(self, message: Message) -> None:
        """Give the app any message."""
        self._to_app.put_nowait(message)

    def send_body(self, body: bytes = b"", *, more: bool = False) -> None:
        """A part of the request body, or with `more=False` its end."""
        self.feed({"type": "http.request", "body": body, "more_body": more})

    def disconnect(self) -> None:
        """The client leaves."""
        is_http = self.scope["type"] == "http"
        self.feed(
            {"type": "http.disconnect"}
            if is_http
            else {"type": "websocket.disconnect", "code": 1001}
        )

    def cancel(self) -> None:
        """The server cancels the call."""
        self._task.cancel()

    @property
    def is_done(self) -> bool:
        """Whether the call has returned, raised or been cancelled."""
        return self._task.done()

    async def read(self) -> Message:
        """The next message of the app.

        Raises:
            AssertionError: the app ended without one, or none came in time.
        """
        reading = asyncio.get_running_loop().create_task(self._from_app.get())
        try:
            await asyncio.wait(
                (reading, self._task),
                timeout=_WAIT_MAX_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not reading.done() and self._from_app.qsize():
                await reading
            if not reading.done():
                raise AssertionError("the app sent no further message")
            return reading.result()
        finally:
            reading.cancel()

    async def end(self) -> BaseException | None:
        """Wait for the call to end; what it raised, if it raised (also when cancelled).

        Raises:
            AssertionError: it did not end in time.
        """
        await asyncio.wait((self._task,), timeout=_WAIT_MAX_S)
        if not self._task.done():
            raise AssertionError("the call did not end")
        with contextlib.suppress(asyncio.CancelledError):
            return self._task.exception()
        return asyncio.CancelledError()

    @property
    def status(self) -> int | None:
        """Status of the answer, if it has begun."""
        return next((m["status"] for m in self.sent if "status" in m), None)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer, names in lower case; {} before it has begun."""
        pairs = next((m.get("headers", ()) for m in self.sent if "status" in m), ())
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}

    @property
    def body(self) -> bytes:
        """Body of the answer so far."""
        return b"".join(m.get("body", b"") for m in self.sent if m["type"].endswith(".body"))
