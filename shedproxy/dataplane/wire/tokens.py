"""Heads into tokens, by httptools. A fresh parser per message, fed one head and nothing else.

The parser sees only what `framing` has found strict, and never a body: what it would make of the
bytes after the head (an upgrade, a HEAD answer with a length, trailers) is without meaning here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

from shedproxy.dataplane.wire.framing import HeadError
from shedproxy.observability.fault import Fault

__all__ = ["RequestTokens", "ResponseTokens", "read_request", "read_response"]


_BLANKS = re.compile(rb"[ \t]++\r\n")
"""After a value they mean nothing (RFC 9112 5), but the parser will not have some of them."""


class RequestTokens(NamedTuple):
    """A request head: header names in lower case, everything else as received."""

    method: bytes
    target: bytes
    version_minor: int
    headers: list[tuple[bytes, bytes]]
    built: dict[tuple[bytes, int], bytes]
    """Heads made from this one for an upstream (by its authority and the criticality decided), so
    that a client which repeats itself is not translated again."""


class ResponseTokens(NamedTuple):
    """An answer's head: header names in lower case."""

    status: int
    reason: bytes
    version_minor: int
    headers: list[tuple[bytes, bytes]]
    is_dated: bool
    """Whether it has a Date of its own."""
    built: dict[int, bytes]
    """Heads made from this one for clients, by version and keep-alive."""


class _Sink:
    """Collects what the parser calls back with."""

    __slots__ = ("headers", "text")

    def __init__(self) -> None:
        self.text = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.text += url

    def on_status(self, reason: bytes) -> None:
        self.text += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser takes the blanks before a value away, not those after it.
        self.headers.append((name.lower(), value.rstrip(b" \t")))


def read_request(head: bytes) -> RequestTokens:
    """The tokens of a complete request head.

    Raises:
        HeadError: the parser refuses it.
    """
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        if len(bare := _BLANKS.sub(b"\r\n", head)) < len(head):
            return read_request(bare)
        raise HeadError(Fault.BAD_REQUEST, str(error)) from error
    minor = 0 if parser.get_http_version() == "1.0" else 1
    return RequestTokens(parser.get_method(), sink.text, minor, sink.headers, {})


def read_response(head: bytes) -> ResponseTokens:
    """The tokens of a complete answer head.

    Raises:
        HeadError: the parser refuses it.
    """
    sink = _Sink()
    parser = httptools.HttpResponseParser(sink)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        if len(bare := _BLANKS.sub(b"\r\n", head)) < len(head):
            return read_response(bare)
        raise HeadError(Fault.UPSTREAM_BAD_RESPONSE, str(error)) from error
    minor = 0 if parser.get_http_version() == "1.0" else 1
    is_dated = any(name == b"date" for name, _ in sink.headers)
    return ResponseTokens(parser.get_status_code(), sink.text, minor, sink.headers, is_dated, {})
