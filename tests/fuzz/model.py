"""HTTP/1.1 read from the text of RFC 9110 and 9112, byte by byte: slow, plain, and nobody else's.

It shares no line and no table with the proxy. What it reads is one of three things: a message; a
message that a careful proxy may refuse (`unusual` says why: a bound, a method, an odd host); or
`MalformedError`, which nobody may pass on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address

__all__ = [
    "Answer",
    "MalformedError",
    "Message",
    "Reading",
    "Request",
    "read_answers",
    "read_requests",
]

ALPHA = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGIT = b"0123456789"
HEX = DIGIT + b"abcdefABCDEF"
TOKEN = ALPHA + DIGIT + b"!#$%&'*+-.^_`|~"
BLANK = b" \t"
VISIBLE = bytes(range(0x21, 0x7F))
TEXT = BLANK + VISIBLE + bytes(range(0x80, 0x100))
UNRESERVED = ALPHA + DIGIT + b"-._~"
SUB_DELIMS = b"!$&'()*+,;="
URI = UNRESERVED + SUB_DELIMS + b":/?[]@%"
KNOWN_METHODS = b"GET HEAD POST PUT DELETE OPTIONS PATCH".split()
NOT_SERVED = (b"CONNECT", b"TRACE")

LINE_USUAL, HEAD_USUAL, FIELDS_USUAL, NAME_USUAL = 400, 1500, 24, 100
"""What anybody must take here; beyond it a bound may be met."""
EXTENSION_USUAL, TRAILERS_USUAL, TRAILERS_BYTES_USUAL, EXTENSIONS_USUAL = 200, 20, 2000, 8000


class MalformedError(Exception):
    """Not a message. `statuses`: what may be said about it besides 4xx."""

    def __init__(self, why: str, statuses: tuple[int, ...] = ()) -> None:
        self.statuses = statuses
        super().__init__(why)


@dataclass
class Message:
    """What both directions have. `begin`, `body_begin` and `end` are offsets in the stream."""

    begin: int
    minor: int = 1
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body_begin: int = 0
    end: int = 0
    framing: str = "none"
    """none, sized, chunked, or until-close."""
    length: int = -1
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_whole: bool = False
    unusual: set[str] = field(default_factory=set)

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    def options(self, name: bytes = b"connection") -> list[bytes]:
        words = b",".join(self.all(name)).lower().split(b",")
        return [word.strip(BLANK) for word in words if word.strip(BLANK)]


@dataclass
class Request(Message):
    method: bytes = b""
    target: bytes = b""
    host: bytes = b""
    path: bytes = b""


@dataclass
class Answer(Message):
    status: int = 0
    reason: bytes = b""


@dataclass
class Reading:
    """Messages in order, the last perhaps not whole; then either more may come, or an error."""

    messages: list
    error: MalformedError | None = None
    error_in_body: bool = False
    rest: int = 0
    """Offset of the first byte that no message holds."""


def only(data: bytes, allowed: bytes) -> bool:
    return all(byte in allowed for byte in data)


def need(condition: bool, why: str, *statuses: int) -> None:
    if not condition:
        raise MalformedError(why, statuses)


# --- heads ------------------------------------------------------------------------------------


def lines_of(data: bytes, at: int) -> tuple[list[bytes], int] | None:
    """The lines from `at` to the first empty one, and where the next byte is; None: not all here.

    RFC 9112 2.2: CRLF ends a line; a bare CR or LF inside one is refused here where it stands.
    """
    lines = []
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            return None
        line = data[at:end]
        need(line.endswith(b"\r"), "bare LF")
        line = line[:-1]
        need(b"\r" not in line, "bare CR")
        at = end + 1
        if not line:
            return lines, at
        lines.append(line)


def field_of(line: bytes) -> tuple[bytes, bytes]:
    """RFC 9110 5.1, 5.5; RFC 9112 5: no fold, no blank before the colon, no control byte."""
    need(line[:1] not in (b" ", b"\t"), "folded line")
    name, colon, value = line.partition(b":")
    need(bool(colon), "no colon")
    need(bool(name), "empty name")
    need(only(name, TOKEN), "name is not a token")
    need(only(value, TEXT), "control byte in a value")
    return name.lower(), value.strip(BLANK)


def take_fields(message: Message, lines: list[bytes]) -> None:
    message.fields = [field_of(line) for line in lines]
    if len(lines) > FIELDS_USUAL or any(len(name) > NAME_USUAL for name, _ in message.fields):
        message.unusual.add("many fields or a long name")


def version_of(text: bytes) -> int:
    if text in (b"HTTP/1.0", b"HTTP/1.1"):
        return text[-1] - 0x30
    well_formed = (
        len(text) in (6, 8)
        and text.startswith(b"HTTP/")
        and text[5:6].isdigit()
        and (len(text) == 6 or (text[6:7] == b"." and text[7:8].isdigit()))
    )
    raise MalformedError("version", (505,) if well_formed else ())


def version_statuses(data: bytes, at: int) -> tuple[int, ...]:
    """What a first line in another version than ours may be answered, whatever comes after it."""
    parts = data[at:].partition(b"\r\n")[0].split(b" ")
    try:
        version_of(parts[-1])
    except MalformedError as error:
        return error.statuses if len(parts) == 3 else ()
    return ()


def frame(message: Message, *, coding_statuses: tuple[int, ...] = ()) -> None:
    """RFC 9112 6: one framing, or none; every doubt is refused."""
    lengths = message.all(b"content-length")
    codings = message.all(b"transfer-encoding")
    if codings:
        need(not lengths, "Transfer-Encoding and Content-Length")
        need(message.minor == 1, "Transfer-Encoding in HTTP/1.0")
        words = message.options(b"transfer-encoding")
        if words == [b"chunked"]:
            if codings != [codings[0]] or codings[0].lower() != b"chunked":
                message.unusual.add("empty elements in Transfer-Encoding")
            message.framing = "chunked"
            return
        raise MalformedError("Transfer-Encoding", coding_statuses)
    if lengths:
        values = [part.strip(BLANK) for value in lengths for part in value.split(b",")]
        need(all(value and only(value, DIGIT) for value in values), "Content-Length")
        need(len({int(value) for value in values}) == 1, "Content-Length differ")
        if len(values) > 1:
            message.unusual.add("Content-Length said twice")
        message.length = int(values[0])
        if len(values[0]) > 19 or message.length > 2**63 - 1:
            message.unusual.add("huge Content-Length")
        message.framing = "sized" if message.length else "none"


def is_address(text: bytes) -> bool:
    """RFC 4291 2.2."""
    try:
        IPv6Address(text.decode())
    except ValueError:
        return False
    return True


def host_check(request: Request, host: bytes) -> None:
    """RFC 3986 3.2.2: uri-host [":" port]; what is unusual in one may be refused."""
    need(only(host, UNRESERVED + SUB_DELIMS + b"%:[]"), "byte in a host")
    name, _, port = host.rpartition(b":") if not host.endswith(b"]") else (host, b"", b"")
    if b":" not in host:
        name, port = host, b""
    if name.startswith(b"["):
        need(name.endswith(b"]"), "IP literal is not closed")
        if only(name[1:-1], HEX + b":."):
            need(is_address(name[1:-1]), "no IPv6 address")
        else:
            request.unusual.add("IP literal")
    else:
        need(only(name, UNRESERVED + SUB_DELIMS + b"%"), "byte in a host")
        if not only(name, UNRESERVED):
            request.unusual.add("host name")
    need(only(port, DIGIT), "port")
    if not name or len(name) > 255 or len(port) > 5 or host.endswith(b":"):
        request.unusual.add("host or port")
    if port and int(port) > 65535:
        request.unusual.add("port")


def route(request: Request) -> None:
    """RFC 9112 3.2: host and origin-form path."""
    hosts = request.all(b"host")
    need(len(hosts) <= 1, "Host twice")
    need(bool(hosts) or request.minor == 0, "no Host")
    request.host = hosts[0] if hosts else b""
    if hosts:
        host_check(request, hosts[0])
    target, method = request.target, request.method
    if method in NOT_SERVED:
        request.unusual.add("method is not served")
    if target.startswith(b"/"):
        request.path = target
        return
    if target == b"*":
        need(method == b"OPTIONS" or method in NOT_SERVED, "* is for OPTIONS", 501)
        request.path = target
        return
    if method == b"CONNECT":
        return
    lower = target.lower()
    need(lower.startswith((b"http://", b"https://")), "target", 501)
    rest = target[target.index(b"://") + 3 :]
    ends = [index for index in (rest.find(b"/"), rest.find(b"?")) if index >= 0]
    authority = rest[: min(ends)] if ends else rest
    path = rest[len(authority) :]
    need(bool(authority), "no host in the target", 501)
    host_check(request, authority)
    if authority != request.host:
        request.unusual.add("target and Host differ")
    request.host = authority
    if not path:
        path = b"*" if method == b"OPTIONS" else b"/"
    request.path = b"/" + path if path.startswith(b"?") else path


def request_of(lines: list[bytes], begin: int) -> Request:
    request = Request(begin)
    parts = lines[0].split(b" ")
    need(len(parts) == 3, "request line")
    request.method, request.target, version = parts
    need(bool(request.method) and only(request.method, TOKEN), "method")
    need(bool(request.target), "no target")
    need(only(request.target, VISIBLE), "byte in the target")
    request.minor = version_of(version)
    need(b"#" not in request.target, "fragment")
    if not only(request.target, URI):
        request.unusual.add("byte in the target")
    if request.method not in KNOWN_METHODS:
        request.unusual.add("method")
    if len(request.target) > LINE_USUAL:
        request.unusual.add("long target")
    take_fields(request, lines[1:])
    try:
        frame(request, coding_statuses=(501,))
        route(request)
    except MalformedError as error:
        # Every line is right; what they mean together depends on a method that may be unknown.
        if request.method not in KNOWN_METHODS:
            error.statuses += (501,)
        raise
    if request.minor == 0 and request.length < 0 and request.method in (b"POST", b"PUT", b"PATCH"):
        request.unusual.add("HTTP/1.0 body without a length")
    if any(value.lower() != b"100-continue" for value in request.all(b"expect")):
        request.unusual.add("expectation")
    return request


def answer_of(lines: list[bytes], begin: int, method: bytes) -> Answer:
    answer = Answer(begin)
    version, _, rest = lines[0].partition(b" ")
    answer.minor = version_of(version)
    code, space, answer.reason = rest.partition(b" ")
    need(len(code) == 3 and only(code, DIGIT), "status")
    answer.status = int(code)
    need(answer.status >= 100, "status")
    need(only(answer.reason, TEXT), "byte in the reason")
    if not space or answer.status > 599:
        answer.unusual.add("status line")
    take_fields(answer, lines[1:])
    frame(answer)
    if answer.status < 200 or answer.status == 204:
        if answer.framing != "none":
            answer.unusual.add("a framing where there is no body")
        answer.framing, answer.length = "none", -1
        if answer.status == 101:
            need(bool(answer.options(b"upgrade")), "101 to nothing")
            answer.unusual.add("101")
    elif answer.status == 304 or method == b"HEAD":
        answer.framing = "none"
    elif answer.framing == "none" and answer.length < 0:
        answer.framing = "until-close"
    return answer


# --- bodies -----------------------------------------------------------------------------------


def take_body(message: Message, data: bytes, at: int, *, has_ended: bool) -> int:
    """Read the body from `at`; the offset after it."""
    message.body_begin = at
    if message.framing == "none":
        message.is_whole = True
    elif message.framing == "sized":
        message.body = data[at : at + message.length]
        message.is_whole = len(message.body) == message.length
        at += len(message.body)
    elif message.framing == "until-close":
        message.body, at = data[at:], len(data)
        message.is_whole = has_ended
    else:
        at = take_chunks(message, data, at)
    message.end = at
    return at


def take_chunks(message: Message, data: bytes, at: int) -> int:
    """RFC 9112 7.1."""
    extensions = 0
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            return len(data)
        line = data[at:end]
        need(line.endswith(b"\r"), "bare LF in a chunk line")
        line = line[:-1]
        at = end + 1
        digits, semicolon, extension = line.partition(b";")
        if digits != digits.rstrip(BLANK) and semicolon:
            message.unusual.add("blank before a chunk extension")
            digits = digits.rstrip(BLANK)
        need(bool(digits) and only(digits, HEX), "chunk size")
        if semicolon:
            need(only(extension, TEXT), "byte in a chunk extension")
            extensions += len(extension) + 1
            if not is_extension(extension):
                message.unusual.add("chunk extension")
            if len(extension) > EXTENSION_USUAL or extensions > EXTENSIONS_USUAL:
                message.unusual.add("long chunk extension")
        size = int(digits, 16)
        if len(digits) > 16 or size > 2**63 - 1:
            message.unusual.add("huge chunk")
        if not size:
            return take_trailers(message, data, at)
        message.body += data[at : at + size]
        at += size
        if len(data) < at + 2:
            need(b"\r\n".startswith(data[at : at + 2]), "chunk does not end in CRLF")
            return len(data)
        need(data[at : at + 2] == b"\r\n", "chunk does not end in CRLF")
        at += 2


def is_extension(text: bytes) -> bool:
    """token ["=" (token / quoted without anything odd)], several joined by semicolons."""
    for part in text.split(b";"):
        name, equals, value = part.partition(b"=")
        if not name or not only(name, TOKEN) or (equals and not (value and only(value, TOKEN))):
            return False
    return True


def take_trailers(message: Message, data: bytes, at: int) -> int:
    begin = at
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - begin > TRAILERS_BYTES_USUAL:
                message.unusual.add("long trailers")
            return len(data)
        line = data[at:end]
        need(line.endswith(b"\r"), "bare LF in a trailer")
        need(b"\r" not in line[:-1], "bare CR in a trailer")
        at = end + 1
        if line == b"\r":
            message.is_whole = True
            return at
        message.trailers.append(field_of(line[:-1]))
        if at - begin > TRAILERS_BYTES_USUAL or data.count(b"\n", begin, at) > TRAILERS_USUAL:
            message.unusual.add("long trailers")


# --- streams ----------------------------------------------------------------------------------


def read_requests(data: bytes) -> Reading:
    """Everything a client sent on one connection."""
    reading = Reading([])
    at = 0
    while at < len(data):
        reading.rest = at
        begin, blank = at, 0
        while data.startswith(b"\r\n", at):
            at, blank = at + 2, blank + 1
        try:
            found = lines_of(data, at)
            if found is None:
                return reading
            lines, after = found
            request = request_of(lines, begin)
        except MalformedError as error:
            error.statuses += version_statuses(data, at)
            reading.error = error
            return reading
        if blank > 1:
            request.unusual.add("empty lines before a request")
        if after - begin > HEAD_USUAL:
            request.unusual.add("long head")
        reading.messages.append(request)
        at = _take_body(reading, request, data, after, has_ended=False)
        if not request.is_whole:
            return reading
    reading.rest = at
    return reading


def read_answers(
    data: bytes, methods: list[bytes], *, has_ended: bool, is_tunnel: bool = False
) -> Reading:
    """What came back on one connection: interim answers and the final ones to these methods.

    Answers beyond the last method, and everything after a 101, stay unread. With `is_tunnel` the
    101 is the last; else it is an interim answer like others.
    """
    reading = Reading([])
    at, finals = 0, 0
    while at < len(data) and finals < len(methods):
        reading.rest = at
        try:
            found = lines_of(data, at)
            if found is None:
                return reading
            lines, after = found
            need(bool(lines), "empty line for a status line")
            answer = answer_of(lines, at, methods[finals])
            if after - at > HEAD_USUAL:
                answer.unusual.add("long head")
        except MalformedError as error:
            reading.error = error
            return reading
        reading.messages.append(answer)
        at = _take_body(reading, answer, data, after, has_ended=has_ended)
        if not answer.is_whole:
            return reading
        if answer.status >= 200:
            finals += 1
        elif answer.status == 101 and is_tunnel:
            break
    reading.rest = at
    return reading


def _take_body(reading: Reading, message: Message, data: bytes, at: int, *, has_ended: bool) -> int:
    try:
        return take_body(message, data, at, has_ended=has_ended)
    except MalformedError as error:
        reading.error, reading.error_in_body = error, True
        message.end = len(data)
        return len(data)
