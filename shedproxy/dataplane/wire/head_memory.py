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
from shedproxy.dataplane.wire.headers import build_response_head
from shedproxy.dataplane.wire.tokens import (
    RequestTokens,
    ResponseTokens,
    read_request,
    read_response,
)

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.live import Live

__all__ = ["REMEMBERED_SIZE_MAX", "RequestHeads", "ResponseHeads", "answer_head"]

REMEMBERED_SIZE_MAX = 1024
"""A head of at most this size is remembered."""
_DATE = -1
"""Where the Date that was added stands among the heads built with it."""


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


def answer_head(
    tokens: ResponseTokens,
    framing: ResponseFraming,
    version_minor: int,
    keep_alive: bool,
    date: bytes,
) -> bytes:
    """The head for a client, built from the upstream's, or as it was built for the one before.

    `date` is added where the upstream gave none (RFC 9110 6.6.1); empty where it did.
    """
    built = tokens.built
    if date and built.get(_DATE) != date:
        built.clear()
        built[_DATE] = date
    key = version_minor * 2 + keep_alive
    head = built.get(key)
    if head is None:
        head = built[key] = build_response_head(
            tokens.status,
            tokens.reason,
            framing,
            tokens.headers,
            version_minor=version_minor,
            keep_alive=keep_alive,
            date=date if tokens.status >= 200 else b"",
        )
    return head
