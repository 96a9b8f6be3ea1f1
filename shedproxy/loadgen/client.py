"""The HTTP/1.1 client of the load player: one request at a time per connection, nothing else.

Raw on purpose: a generator that costs more than the server it loads measures itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
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
        self._status = 0
        """Of the answer that is whole."""
        self.is_open = False

    def send(self, request: bytes) -> None:
        """Send one request; the connection must be open and idle."""
        assert self._transport is not None
        assert not self._is_busy
        self._is_busy = True
        self._is_head = request.startswith(b"HEAD ")
        self._status = 0
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def abort(self) -> None:
        """The client stopped waiting: close at once, as a browser tab does."""
        self._is_busy = False
        self._parser = None
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            # Nobody asked: what follows could not be told from the answer to the next request.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_open = False
            if not self._status:
                self._finish(0)
        # Not before the parser is done: what it still has to say is not about the next request.
        if self._status:
            self._finish(self._status)
        if not self.is_open:
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._finish(0)

    def on_message_begin(self) -> None:
        """httptools: another answer, after one in the same piece."""
        if self._status:
            self.is_open = False

    def on_headers_complete(self) -> None:
        """httptools: to HEAD nothing follows, whatever length is announced (RFC 9112 6.3)."""
        if self._is_head:
            self.on_message_complete()

    def on_body(self, _: bytes) -> None:
        """httptools: to HEAD nothing may follow; what does is no answer to the next request."""
        if self._status:
            self.is_open = False

    def on_message_complete(self) -> None:
        """httptools: an answer is whole; one below 200 is not the last (RFC 9110 15.2)."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= HTTPStatus.OK and not self._status:
            self._status = status
            self.is_open = self.is_open and self._parser.should_keep_alive()

    def _finish(self, status: int) -> None:
        if self._is_busy:
            self._is_busy = False
            self._parser = None
            self._on_done(self, status)
