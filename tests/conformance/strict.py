"""A strict reader of HTTP/1.1 messages, written from RFC 9110 and 9112 without the proxy's code.

It takes only what no two readers could take differently: one spelling of every framing, CRLF at
every end of line, tokens for names. What a proxy sends on must pass here.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field

__all__ = ["MalformedError", "Message", "read_answer", "read_request"]

TOKEN = set((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())
VISIBLE = set(range(0x21, 0x7F))
VALUE = VISIBLE | {0x20, 0x09} | set(range(0x80, 0x100))
DIGITS = set(string.digits.encode())
HEX = set(string.hexdigits.encode())


class MalformedError(Exception):
    """Not a message, or not one that everybody reads alike."""


@dataclass
class Message:
    """A whole message."""

    start: tuple[str, ...]
    fields: list[tuple[str, str]]
    framing: str = "none"
    """none, length, chunked or close."""
    body: bytes = b""
    is_whole: bool = True
    trailers: list[tuple[str, str]] = field(default_factory=list)
    raw: bytes = b""
    connection: int = -1
    """Which connection of a recording upstream it came on."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        found = self.values(name)
        return ", ".join(found) if found else None

    @property
    def status(self) -> int:
        return int(self.start[1])


def read_request(data: bytes) -> tuple[Message, bytes] | None:
    """The first request and what is after it; None while it is not all there."""
    head = _head(data)
    if head is None:
        return None
    line, fields, rest = head
    words = line.split(b" ")
    _demand(len(words) == 3, f"request line {line!r}")
    method, target, version = words
    _demand(bool(method) and set(method) <= TOKEN, f"method {method!r}")
    _demand(bool(target) and set(target) <= VISIBLE - {0x23}, f"target {target!r}")
    _demand(version in {b"HTTP/1.1", b"HTTP/1.0"}, f"version {version!r}")
    message = Message(tuple(word.decode("latin-1") for word in words), fields)
    hosts = len(message.values("host"))
    _demand(hosts == 1 or (hosts == 0 and version == b"HTTP/1.0"), "not one Host")
    if not _frame(message, rest, is_answer=False):
        return None
    message.raw = data[: len(data) - len(_rest(message, rest))]
    return message, _rest(message, rest)


def read_answer(data: bytes, *, is_head: bool, at_end: bool) -> tuple[Message, bytes] | None:
    """The first answer and what is after it; `at_end`: nothing more will come."""
    head = _head(data)
    if head is None:
        return None
    line, fields, rest = head
    version, _, after = line.partition(b" ")
    status, _, reason = after.partition(b" ")
    _demand(version in {b"HTTP/1.1", b"HTTP/1.0"}, f"version {version!r}")
    _demand(len(status) == 3 and set(status) <= DIGITS, f"status {status!r}")
    message = Message((version.decode(), status.decode(), reason.decode("latin-1")), fields)
    is_bodiless = is_head or message.status < 200 or message.status in {204, 304}
    if is_bodiless:
        _lengths(message)
        return message, rest
    whole = _frame(message, rest, is_answer=True)
    if message.framing == "close":
        message.body = rest
        return (message, b"") if at_end else None
    if whole:
        return message, _rest(message, rest)
    if at_end:
        message.is_whole = False
        return message, b""
    return None


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise MalformedError(what)


def _head(data: bytes) -> tuple[bytes, list[tuple[str, str]], bytes] | None:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        _demand(b"\n" not in data.replace(b"\r\n", b""), "bare LF")
        return None
    line, *lines = data[:end].split(b"\r\n")
    return line, [_field(each) for each in lines], data[end + 4 :]


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    _demand(bool(colon) and bool(name) and set(name) <= TOKEN, f"field {line!r}")
    _demand(set(value) <= VALUE, f"value {line!r}")
    return name.decode().lower(), value.strip(b" \t").decode("latin-1")


def _lengths(message: Message) -> tuple[str | None, int | None]:
    codings, lengths = message.values("transfer-encoding"), message.values("content-length")
    _demand(len(codings) + len(lengths) <= 1, "two framings")
    if codings:
        _demand(codings[0] == "chunked", f"coding {codings[0]!r}")
        return codings[0], None
    if lengths:
        _demand(lengths[0].isascii() and lengths[0].isdigit(), f"length {lengths[0]!r}")
        return None, int(lengths[0])
    return None, None


def _frame(message: Message, rest: bytes, *, is_answer: bool) -> bool:
    coding, length = _lengths(message)
    if coding is not None:
        message.framing = "chunked"
        return _chunks(message, rest)
    if length is not None:
        message.framing = "length"
        message.body = rest[:length]
        return len(message.body) == length
    if is_answer:
        message.framing = "close"
    return True


def _rest(message: Message, rest: bytes) -> bytes:
    if message.framing == "chunked":
        return rest[message.consumed :]
    return rest[len(message.body) :]


def _chunks(message: Message, rest: bytes) -> bool:
    position = 0
    while True:
        end = rest.find(b"\r\n", position)
        if end < 0:
            return False
        digits = rest[position:end]
        _demand(bool(digits) and set(digits) <= HEX, f"chunk size {digits!r}")
        size = int(digits, 16)
        position = end + 2
        if not size:
            break
        if len(rest) < position + size + 2:
            message.body += rest[position : position + size]
            return False
        message.body += rest[position : position + size]
        position += size
        _demand(rest[position : position + 2] == b"\r\n", "chunk without CRLF")
        position += 2
    while True:
        end = rest.find(b"\r\n", position)
        if end < 0:
            return False
        line, position = rest[position:end], end + 2
        if not line:
            message.consumed = position
            return True
        message.trailers.append(_field(line))
