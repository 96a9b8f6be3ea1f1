"""Checked heads in tokens with their framing, and the memory of the last one.

Clients that poll, probe or test send the same head again and again, and many answers of a service
begin alike. Comparing bytes costs a fiftieth of reading them, so each connection remembers one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.dataplane.wire.framing import (
    RequestFraming,
    ResponseFraming,
    check_request_head,
    check_response_head,
    request_framing,
    response_framing,
)
from shedproxy.dataplane.wire.tokens import (
    RequestTokens,
    ResponseTokens,
    read_request,
    read_response,
)

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.live import Live

__all__ = ["REMEMBERED_SIZE_MAX", "RequestHeads", "ResponseHeads"]

REMEMBERED_SIZE_MAX = 1024
"""A head of at most this size is remembered."""


class RequestHeads:
    """Reads the request heads of one client connection."""

    __slots__ = ("_found", "_head", "_live")

    def __init__(self) -> None:
        self._head = b""
        self._live: Live | None = None
        self._found: tuple[RequestTokens, RequestFraming]

    def read(self, head: bytes, live: Live) -> tuple[RequestTokens, RequestFraming]:
        """The head by the bounds of `live`.

        Raises:
            HeadError: it is no request that is served.
        """
        # What was built from the tokens holds for one configuration only.
        if head == self._head and live is self._live:
            return self._found
        proxy = live.proxy
        check_request_head(
            head, target_size_max=proxy.target_size_max, field_count_max=proxy.field_count_max
        )
        tokens = read_request(head)
        framing = request_framing(
            tokens.method, tokens.version_minor, tokens.target, tokens.headers
        )
        found = tokens, framing
        if len(head) <= REMEMBERED_SIZE_MAX:
            self._head, self._live, self._found = head, live, found
        return found


class ResponseHeads:
    """Reads the answer heads of one upstream connection."""

    __slots__ = ("_found", "_head", "_method")

    def __init__(self) -> None:
        self._head = b""
        self._method = b""
        self._found: tuple[ResponseTokens, ResponseFraming]

    def read(self, head: bytes, method: bytes) -> tuple[ResponseTokens, ResponseFraming]:
        """The head of an answer to a request of this method.

        Raises:
            HeadError: it is no answer that can be passed on.
        """
        if head == self._head and method == self._method:
            return self._found
        check_response_head(head)
        tokens = read_response(head)
        framing = response_framing(method, tokens.status, tokens.version_minor, tokens.headers)
        found = tokens, framing
        if len(head) <= REMEMBERED_SIZE_MAX:
            self._head, self._method, self._found = head, method, found
        return found
