"""The usual head, read and written line by line: a quick way beside the careful one.

It takes a strict subset: HTTP/1.1, a usual method, a path, one Host, no framing but a length (or an
answer's chunks), no Connection but keep-alive. For those it says what the careful way says, byte
for byte; for anything else it says nothing, and the careful way has the word. `tests/fuzz` and
`tests/unit/dataplane/wire/test_plain_heads.py` compare the two.
"""

from __future__ import annotations

from typing import Final

from shedproxy.dataplane.wire.field_memory import (
    CAREFUL,
    CHUNKED,
    DATED,
    HOST,
    LENGTH,
    ORDINARY,
    PERSISTENT,
    SPECIAL,
    AnswerFields,
    Field,
    FieldMemory,
    RequestFields,
)
from shedproxy.dataplane.wire.framing import BodyKind, RequestFraming, ResponseFraming
from shedproxy.dataplane.wire.grammar import (
    PLAIN_REQUEST_LINE,
    RESPONSE_FIELD_COUNT_MAX,
    TARGET_BYTES,
)
from shedproxy.dataplane.wire.headers import HeaderContext, forwarding
from shedproxy.dataplane.wire.tokens import PlainLines, RequestTokens, ResponseTokens

__all__ = [
    "plain_tail",
    "read_plain_request",
    "read_plain_response",
    "target_after",
    "write_plain_request",
    "write_plain_response",
]

_NONE: Final = int(BodyKind.NONE)
_SIZED: Final = int(BodyKind.SIZED)
_CHUNKED: Final = int(BodyKind.CHUNKED)
_NO_NAMES: Final[frozenset[bytes]] = frozenset()
_KEEP_ALIVE: Final = frozenset((b"keep-alive",))
_SPACE: Final = ord(" ")
_SLASH: Final = ord("/")
_TRANSFER_CHUNKED: Final = b"\r\ntransfer-encoding: chunked"


def read_plain_request(
    head: bytes,
    fields: RequestFields,
    *,
    target_size_max: int,
    field_count_max: int,
    before: RequestTokens | None = None,
) -> tuple[RequestTokens, RequestFraming] | None:
    """The reading of one whole request head, or None: it has to be read the careful way.

    `before` is what the head before it was read as, by the same configuration: a client repeats
    most of its lines, or at least their names.
    """
    lines = head.split(b"\r\n")
    end = len(lines) - 2
    if end - 1 > field_count_max:
        return None
    first = lines[0]
    known = None if before is None else before.lines
    method, target = _read_first(first, before, known)
    if not target or len(target) > target_size_max:
        return None
    known_fields = [] if known is None else known.fields
    read: list[Field] = []
    found: dict[bytes, bytes] | None = None
    host, length, said = b"", -1, 0
    names, is_special = _NO_NAMES, False
    for index in range(1, end):
        field = _read_line(lines[index], known_fields, index - 1, fields)
        if field is None:
            return None
        read.append(field)
        if field.said:
            said |= field.said
            found = {} if found is None else found
            found.setdefault(field.pair[0], field.pair[1])
        code = field.code
        if code == ORDINARY:
            continue
        if code == HOST:
            if host:
                return None
            host = field.pair[1]
        elif code == LENGTH:
            if length >= 0:
                return None
            length = field.length
        elif code == PERSISTENT:
            names = _KEEP_ALIVE
        elif code == SPECIAL:
            is_special = True
        elif code == CAREFUL:
            return None
    if not host:
        return None
    body = _SIZED if length > 0 else _NONE
    return (
        RequestTokens(method, target, 1, None, PlainLines(first, read, is_special), said, found),
        RequestFraming(body, length, True, False, b"", host, target, names, False),
    )


def _read_first(
    first: bytes, before: RequestTokens | None, known: PlainLines | None
) -> tuple[bytes, bytes]:
    """Method and target of the first line; both empty where it is no usual one."""
    method = b""
    if before is not None and known is not None:
        method = before.method
        if first == known.first:
            return method, before.target
    target = target_after(method, first)
    if target:
        return method, target
    match = PLAIN_REQUEST_LINE.fullmatch(first)
    if match is None:
        return b"", b""
    method, target = match.groups()
    return method, target


def target_after(method: bytes, first: bytes) -> bytes:
    """What `PLAIN_REQUEST_LINE` finds, where the method is that of the request before.

    Empty where it is not.
    """
    size = len(method)
    if (
        not method
        or not first.startswith(method)
        or not first.endswith(b" HTTP/1.1")
        or len(first) < size + 11
        or first[size] != _SPACE
        or first[size + 1] != _SLASH
    ):
        return b""
    target = first[size + 1 : -9]
    return target if target.translate(TARGET_BYTES) == target else b""


def _read_line(line: bytes, before: list[Field], index: int, memory: FieldMemory) -> Field | None:
    """The field of a line, where the head before it had those of `before`."""
    if index < len(before):
        field = before[index]
        if line == field.raw:
            return field
        like = field.like(line)
        if like is not None:
            return like
    return memory.find(line)


def read_plain_response(
    head: bytes, method: bytes, fields: AnswerFields, before: ResponseTokens | None = None
) -> tuple[ResponseTokens, ResponseFraming] | None:
    """The reading of one whole answer head to a request of this method, or None, as above."""
    lines = head.split(b"\r\n")
    end = len(lines) - 2
    first = None if before is None else before.first
    if first is None or first.line != lines[0]:
        first = fields.find_status(lines[0])
    if first is None or method == b"HEAD" or end - 1 > RESPONSE_FIELD_COUNT_MAX:
        return None
    known = None if before is None else before.fields
    known_fields = [] if known is None else known
    read: list[Field] = []
    ordinary: list[bytes] = [first.line]
    framing_line = b""
    length = -1
    is_dated = False
    names = _NO_NAMES
    for index in range(1, end):
        field = _read_line(lines[index], known_fields, index - 1, fields)
        if field is None:
            return None
        read.append(field)
        code = field.code
        if code == ORDINARY:
            ordinary.append(field.line)
        elif code == DATED:
            ordinary.append(field.line)
            is_dated = True
        elif code in (LENGTH, CHUNKED):
            if framing_line:
                return None
            length = field.length
            framing_line = (
                b"\r\ncontent-length: %d" % length if code == LENGTH else _TRANSFER_CHUNKED
            )
        elif code == PERSISTENT:
            names = _KEEP_ALIVE
        elif code == CAREFUL:
            return None
    if not framing_line:
        return None
    body = _CHUNKED if length < 0 else _SIZED if length else _NONE
    plain = b"".join(ordinary)
    return (
        ResponseTokens(
            first.status, first.reason, 1, None, is_dated, plain, framing_line, read, first
        ),
        ResponseFraming(body, length, True, False, b"", names),
    )


def plain_tail(context: HeaderContext, peer: bytes, host: bytes, criticality: bytes) -> bytes:
    """What is added behind the lines of a request that go on, each behind a line's end."""
    added = b"\r\n" + forwarding(peer, context.scheme, host)
    if context.forward_criticality:
        added += b"\r\n%b: %b" % (context.criticality_name, criticality)
    return added


def write_plain_request(
    context: HeaderContext,
    tokens: RequestTokens,
    framing: RequestFraming,
    authority: bytes,
    tail: bytes,
) -> bytes:
    """As `build_request_head`, for a request with `plain` lines and no retry, time or pressure."""
    plain = tokens.plain
    assert plain is not None
    host = framing.host if context.preserve_host else authority
    start = (tokens.method, b" ", framing.path, b" HTTP/1.1\r\nhost: ", host, plain, tail)
    if framing.length < 0:
        return b"".join((*start, b"\r\n", context.ends[1]))
    return b"".join((*start, b"\r\ncontent-length: %d\r\n" % framing.length, context.ends[1]))


def write_plain_response(tokens: ResponseTokens, plain: bytes, date: bytes) -> bytes:
    """As `build_response_head`, for a client of HTTP/1.1 that is kept."""
    if date:
        return b"".join((plain, b"\r\ndate: ", date, tokens.framing_line, b"\r\n\r\n"))
    return b"".join((plain, tokens.framing_line, b"\r\n\r\n"))
