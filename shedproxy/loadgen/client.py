"""The HTTP/1.1 client of the load player: one request at a time per connection, nothing else.

Raw on purpose: a generator that costs more than the server it loads measures itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

__all__ = ["LoadConnection"]


class LoadConnection(asyncio.Protocol):
    """A keep-alive connection. `on_done(connection, status)` is called once per request sent.

    Status 0: the connection ended without a whole answer.
    """

    def __init__(self, on_done: Callable[[LoadConnection, int], None]) -> None:
        self._on_done = on_done
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._is_busy = False
        self._is_head = False
        self.is_open = False

    def send(self, request: bytes) -> None:
        """Send one request; the connection must be open and idle."""
        assert self._transport is not None
        assert not self._is_busy
        self._is_busy = True
        self._is_head = request.startswith(b"HEAD ")
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def abort(self) -> None:
        """The client stopped waiting: close at once, as a browser tab does."""
        self._is_busy = False
        self._parser = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish(0)
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._finish(0)

    def on_headers_complete(self) -> None:
        """httptools: to HEAD nothing follows, whatever length is announced (RFC 9112 6.3)."""
        if self._is_head and self._is_busy:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        """httptools: the answer is whole."""
        parser = self._parser
        if parser is None:
            return
        self.is_open = self.is_open and parser.should_keep_alive()
        self._finish(parser.get_status_code())

    def _finish(self, status: int) -> None:
        if self._is_busy:
            self._is_busy = False
            self._parser = None
            self._on_done(self, status)
