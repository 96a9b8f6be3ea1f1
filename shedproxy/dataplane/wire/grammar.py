"""What a head may look like, byte by byte. Stands in front of the tokeniser, which is laxer.

Parsers that disagree about where a head, a field or a body ends are how requests are smuggled, so
nothing ambiguous is repaired here: bare CR or LF, folded lines, blanks before a colon, control
bytes and unknown versions end the connection. Grammar of RFC 9110 5.1, 5.5 and RFC 9112 2 to 5.

Every expression is linear: possessive quantifiers, nothing to backtrack into.
"""

from __future__ import annotations

import re
from typing import Final

from shedproxy.observability.fault import Fault

__all__ = [
    "FIELD_LINE",
    "METHODS",
    "PLAIN_REQUEST_LINE",
    "PLAIN_STATUS_LINE",
    "REFUSED_METHODS",
    "TARGET_BYTES",
    "VALUE_BYTES",
    "HeadError",
    "begun_head_fault",
    "check_request_head",
    "check_response_head",
    "find_head_end",
    "is_hopeless",
    "overflow_fault",
]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]"
_TARGET = rb"[\x21\x22\x24-\x7e]"
NAME_SIZE_MAX = 256
"""Bytes of a field name: none that is in use has forty."""
FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"{1,%d}+):[ \t]*+(" % NAME_SIZE_MAX + _VALUE + rb"*+)")
"""One line of `_FIELDS` without its end: the name, and the value without the blanks before it."""
_FIELDS = rb"(?:" + _TOKEN + rb"{1,%d}+:" % NAME_SIZE_MAX + _VALUE + rb"*+\r\n)*+\r\n"

_REQUEST_HEAD = re.compile(
    rb"(?:\r\n){0,2}(" + _TOKEN + rb"++) (" + _TARGET + rb"++) HTTP/1\.[01]\r\n" + _FIELDS
)
_RESPONSE_HEAD = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9](?: " + _VALUE + rb"*+)?\r\n" + _FIELDS)
_REQUEST_LINE = re.compile(rb"[^\s]++ [^\s]++ HTTP/[0-9](?:\.[0-9])?\r\n")
"""Roughly: what is wrong with a line of this shape is said when its head is whole."""
_OTHER_VERSION = re.compile(rb"(?:\r\n)*+[^\s]++ [^\s]++ HTTP/(?!1\.[01]\r)[0-9](?:\.[0-9])?\r\n")

METHODS = frozenset(
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH"
    b" SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""What is forwarded: what the tokeniser knows, without those below."""
REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))
"""Known and never served: a tunnel to anywhere, and an echo of credentials."""

PLAIN_REQUEST_LINE = re.compile(
    rb"(DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT) (/" + _TARGET + rb"*+) HTTP/1\.1"
)
"""The usual ones of `_REQUEST_HEAD`, without the end of the line."""
PLAIN_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\x21-\x7e]++(?: [\x21-\x7e]++)*+)")
"""The usual ones of `_RESPONSE_HEAD`, without the end of the line."""


def _marking(allowed: bytes) -> bytes:
    """A table for `bytes.translate`: what has no other bytes than those allowed comes out as it
    was. That is told sooner than by an expression.
    """
    bytes_allowed = re.compile(allowed)
    mark = b"x"[0]
    return bytes(byte if bytes_allowed.match(bytes((byte,))) else mark for byte in range(256))


VALUE_BYTES: Final = _marking(_VALUE)
"""Finds what no value may hold."""
TARGET_BYTES: Final = _marking(_TARGET)
"""Finds what no usual target may hold."""

_PROBES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x00"), "NUL byte"),
    (re.compile(rb"(?<!\r)\n"), "bare LF"),
    (re.compile(rb"\r(?!\n)"), "bare CR"),
    (re.compile(rb"\n[ \t]"), "folded line"),
    (re.compile(rb"\n:"), "empty field name"),
    (re.compile(rb"\n" + _TOKEN + rb"++[ \t]++:"), "blank before a colon"),
    (re.compile(rb"\n(?!\r\n)[^:\n]*+\n"), "field line without a colon"),
    (re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"), "control byte"),
)
_LONG_NAME = re.compile(rb"\n" + _TOKEN + rb"{%d}" % (NAME_SIZE_MAX + 1))
_HOPELESS = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no head may hold, wherever it stands; a CR at the end may still get its LF."""

RESPONSE_FIELD_COUNT_MAX: Final = 256


class HeadError(Exception):
    """A head or a chunked body that is not accepted. The connection it came on must be closed."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault = fault
        self.detail = detail
        super().__init__(f"{fault.label}: {detail}")


def find_head_end(buffer: bytes | bytearray, start: int) -> int:
    """The index after the CRLF CRLF that ends the head, or -1 when it is not all there yet.

    The head begins at index 0 of `buffer`; up to two empty lines before it belong to it
    (RFC 9112 2.2). `start` bytes were there at the last call (0 at the first): only what is new
    is looked at, so that a head that comes byte by byte costs no more than one that comes whole.
    """
    if type(buffer) is bytes and not start and not buffer.startswith(b"\r\n"):
        found: int = buffer.find(b"\r\n\r\n")  # as below, which is dearer
        return found + 4 if found >= 0 else -1
    begin = 0
    while begin < 4 and buffer.startswith(b"\r\n", begin):
        begin += 2
    found = buffer.find(b"\r\n\r\n", max(begin, start - 3))
    return found + 4 if found >= 0 else -1


def begun_head_fault(buffer: bytes | bytearray, start: int) -> Fault | None:
    """Why a request head that is not all there yet can never be one; None while it still can.

    `start` bytes were looked at before. Who ends lines in a bare LF, or speaks TLS to a plain
    port, would else wait for an answer until the time for a head is over.
    """
    if is_hopeless(buffer, start):
        return Fault.BAD_REQUEST
    begin = 0
    while begin < 4 and buffer.startswith(b"\r\n", begin):
        begin += 2
    line_end = buffer.find(b"\n", begin)
    if line_end >= start and not _REQUEST_LINE.match(buffer, begin):
        return Fault.BAD_REQUEST
    return None


def is_hopeless(buffer: bytes | bytearray, start: int) -> bool:
    """Whether what came after the first `start` bytes of a head can stand in no head."""
    return _HOPELESS.search(buffer, max(0, start - 1)) is not None


def overflow_fault(buffer: bytes | bytearray, *, target_size_max: int) -> Fault:
    """Why a head that outgrew its bound is refused: for its target, or as a whole."""
    line_size_max = target_size_max + 64
    line_end = buffer.find(b"\n", 4, line_size_max)
    return Fault.TARGET_TOO_LONG if line_end < 0 < len(buffer) - line_size_max else _TOO_LARGE


_TOO_LARGE = Fault.HEAD_TOO_LARGE


def check_request_head(head: bytes, *, target_size_max: int, field_count_max: int) -> None:
    """Check one whole request head, from its first byte to the empty line that ends it.

    Raises:
        HeadError: VERSION, METHOD, METHOD_NOT_ALLOWED, TARGET_TOO_LONG (bytes), HEAD_TOO_LARGE
            (fields, or a name), or BAD_REQUEST for everything else.
    """
    match = _REQUEST_HEAD.fullmatch(head)
    if match is None:
        if _OTHER_VERSION.match(head):
            raise HeadError(Fault.VERSION, "version is not HTTP/1.0 or HTTP/1.1")
        if _LONG_NAME.search(head):
            raise HeadError(Fault.HEAD_TOO_LARGE, f"field name is over {NAME_SIZE_MAX} bytes")
        raise HeadError(Fault.BAD_REQUEST, _explain(head, "malformed request line or field"))
    target_begin, target_end = match.span(2)
    if target_end - target_begin > target_size_max:
        raise HeadError(Fault.TARGET_TOO_LONG, f"target is over {target_size_max} bytes")
    if head.count(b"\n", target_end) - 2 > field_count_max:
        raise HeadError(Fault.HEAD_TOO_LARGE, f"more than {field_count_max} fields")
    if match[1] in REFUSED_METHODS:
        raise HeadError(Fault.METHOD_NOT_ALLOWED, "method is not allowed")
    if match[1] not in METHODS:
        raise HeadError(Fault.METHOD, "method is not served")


def check_response_head(head: bytes, *, field_count_max: int = RESPONSE_FIELD_COUNT_MAX) -> None:
    """Check one whole answer head, from its first byte to the empty line that ends it.

    Raises:
        HeadError: UPSTREAM_BAD_RESPONSE, whatever is wrong.
    """
    if _RESPONSE_HEAD.fullmatch(head) is None:
        detail = _explain(head, "malformed status line or field")
        raise HeadError(Fault.UPSTREAM_BAD_RESPONSE, detail)
    if head.count(b"\n") - 2 > field_count_max:
        raise HeadError(Fault.UPSTREAM_BAD_RESPONSE, f"more than {field_count_max} fields")


def _explain(head: bytes, otherwise: str) -> str:
    """What is wrong with a head that failed, in words; only failures pay for it."""
    for probe, detail in _PROBES:
        if probe.search(head):
            return detail
    return otherwise
