"""Heads into tokens, by httptools. A fresh parser per message, fed one head and nothing else.

The parser sees only what `framing` has found strict, and never a body: what it would make of the
bytes after the head (an upgrade, a HEAD answer with a length, trailers) is without meaning here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import httptools

from shedproxy.compiling import mypyc_attr
from shedproxy.dataplane.wire.field_memory import ORDINARY, Field, StatusLine
from shedproxy.dataplane.wire.framing import HeadError
from shedproxy.observability.fault import Fault

__all__ = ["PlainLines", "RequestTokens", "ResponseTokens", "read_request", "read_response"]


_Parser = TypeVar("_Parser", httptools.HttpRequestParser, httptools.HttpResponseParser)
_BLANKS = re.compile(rb"(?<![ \t])[ \t]++\r\n")
"""After a value they mean nothing (RFC 9112 5), but the parser will not have some of them.

A run of blanks is looked at from its first only, or a long one would cost its square.
"""


@mypyc_attr(acyclic=True, free_list_len=1)
class PlainLines:
    """The lines of a usual head, as they were understood."""

    __slots__ = ("fields", "first", "is_special")

    def __init__(self, first: bytes, fields: list[Field], is_special: bool) -> None:
        self.first = first
        self.fields = fields
        self.is_special = is_special
        """What becomes of some of them is decided with others."""


@mypyc_attr(acyclic=True, free_list_len=1)
class RequestTokens:
    """A request head: header names in lower case, everything else as received."""

    __slots__ = (
        "_headers",
        "_plain",
        "found",
        "lines",
        "method",
        "said",
        "target",
        "version_minor",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version_minor: int,
        headers: list[tuple[bytes, bytes]] | None,
        lines: PlainLines | None = None,
        said: int = -1,
        found: dict[bytes, bytes] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.version_minor = version_minor
        self._headers = headers
        self.lines = lines
        """What it was read from, line by line; None: it was read the careful way."""
        self._plain: bytes | None = None
        self.said = said
        """What a classifier reads the fields for, as its bits; -1: nobody has looked."""
        self.found = found
        """The fields that a classifier reads, by name; None: there are none, or nobody has looked.
        """

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All fields, in order. Gathered when they are asked for, as what follows."""
        headers = self._headers
        if headers is None:
            lines = self.lines
            assert lines is not None
            headers = self._headers = [field.pair for field in lines.fields]
        return headers

    def take_host(self, host: bytes) -> None:
        """Let the Host field say what an absolute target says: it replaces it, or there was none.

        Who decides by the host then sees the one that the service sees (RFC 9112 3.2.2).
        """
        self._headers = [(b"host", host), *(pair for pair in self.headers if pair[0] != b"host")]

    @property
    def plain(self) -> bytes | None:
        """The lines that go on as they are, each behind a line's end; None: each field has to be
        looked at. A request that is refused goes nowhere.
        """
        plain = self._plain
        lines = self.lines
        if plain is None and lines is not None and not lines.is_special:
            plain = self._plain = b"".join(
                [field.line for field in lines.fields if field.code == ORDINARY]
            )
        return plain


class ResponseTokens:
    """An answer's head: header names in lower case."""

    __slots__ = (
        "_headers",
        "fields",
        "first",
        "framing_line",
        "is_dated",
        "plain",
        "reason",
        "status",
        "version_minor",
    )

    def __init__(
        self,
        status: int,
        reason: bytes,
        version_minor: int,
        headers: list[tuple[bytes, bytes]] | None,
        is_dated: bool,
        plain: bytes | None = None,
        framing_line: bytes = b"",
        fields: list[Field] | None = None,
        first: StatusLine | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.version_minor = version_minor
        self._headers = headers
        self.fields = fields
        """What it was read from, line by line; None: it was read the careful way."""
        self.first = first
        """The line before them."""
        self.is_dated = is_dated
        """Whether it has a Date of its own."""
        self.plain = plain
        """The lines that go on as they are, the first one included; None: as above."""
        self.framing_line = framing_line
        """With `plain`: the line that says where the answer ends, behind a line's end."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All fields, in order. Of an answer that goes on as it is nobody asks for them."""
        headers = self._headers
        if headers is None:
            fields = self.fields
            assert fields is not None
            headers = self._headers = [field.pair for field in fields]
        return headers


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
    parser, sink = _feed(httptools.HttpRequestParser, head, Fault.BAD_REQUEST)
    return RequestTokens(parser.get_method(), sink.text, _minor(parser), sink.headers)


def read_response(head: bytes) -> ResponseTokens:
    """The tokens of a complete answer head.

    Raises:
        HeadError: the parser refuses it.
    """
    parser, sink = _feed(httptools.HttpResponseParser, head, Fault.UPSTREAM_BAD_RESPONSE)
    is_dated = any(name == b"date" for name, _ in sink.headers)
    return ResponseTokens(
        parser.get_status_code(), sink.text, _minor(parser), sink.headers, is_dated
    )


def _feed(make: Callable[[_Sink], _Parser], head: bytes, fault: Fault) -> tuple[_Parser, _Sink]:
    sink = _Sink()
    parser = make(sink)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        if len(bare := _BLANKS.sub(b"\r\n", head)) < len(head):
            return _feed(make, bare, fault)
        raise HeadError(fault, str(error)) from error
    return parser, sink


def _minor(parser: httptools.HttpRequestParser | httptools.HttpResponseParser) -> int:
    return 0 if parser.get_http_version() == "1.0" else 1
