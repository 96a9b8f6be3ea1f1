"""HTTP/1.1 messages made by chance and read strictly, without a line of the proxy's code."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Answer", "Message", "Request", "make_answer", "make_request", "parse"]


@dataclass
class Message:
    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    is_whole: bool = False

    def get(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key == name]
        assert len(found) < 2, f"{name} twice in {self}"
        return found[0] if found else None

    @property
    def status(self) -> int:
        return int(self.start.split()[1])


def parse(
    data: bytes, *, is_bodiless: bool = False, until_close: bool = False
) -> tuple[Message | None, bytes]:
    """The first message in `data` as far as it is there, and the bytes after it."""
    head, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        return None, data
    start, *lines = head.decode("latin-1").split("\r\n")
    message = Message(start, [(n.lower(), v) for n, v in (line.split(": ", 1) for line in lines)])
    coding, length = message.get("transfer-encoding"), message.get("content-length")
    assert coding is None or length is None
    if is_bodiless:
        message.is_whole = True
    elif coding is not None:
        assert coding == "chunked"
        return message, _read_chunks(message, rest)
    elif length is not None:
        message.body = rest[: int(length)]
        message.is_whole = len(message.body) == int(length)
        rest = rest[int(length) :]
    elif until_close:
        message.body, rest = rest, b""
    else:
        message.is_whole = True
    return message, rest


def _read_chunks(message: Message, rest: bytes) -> bytes:
    while True:
        line, mark, after = rest.partition(b"\r\n")
        if not mark:
            return rest
        size = int(line.split(b";")[0], 16)
        if not size:
            message.is_whole = after.startswith(b"\r\n")
            return after[2:]
        if len(after) < size + 2:
            message.body += after[:size]
            return rest
        message.body += after[:size]
        assert after[size : size + 2] == b"\r\n"
        rest = after[size + 2 :]


def _chunks_of(chance: random.Random, body: bytes, trailer: bytes = b"") -> bytes:
    raw = b""
    while body:
        size = chance.choice((1, 2, 15, 400))
        piece, body = body[:size], body[size:]
        raw += b"%x%b\r\n%b\r\n" % (len(piece), chance.choice((b"", b";a=b")), piece)
    return raw + b"0\r\n" + trailer + b"\r\n"


@dataclass
class Request:
    name: str
    method: str
    body: bytes
    raw: bytes
    version_minor: int


def make_request(chance: random.Random, name: str, *, is_last: bool) -> Request:
    method = chance.choice(("GET", "GET", "HEAD", "POST", "PUT", "DELETE"))
    body, fields = b"", ""
    raw_body = b""
    if method in {"POST", "PUT"}:
        body = chance.randbytes(chance.choice((0, 1, 30, 900, 3000)))
        raw_body = body
        if chance.random() < 0.5:
            fields = "Transfer-Encoding: chunked\r\n"
            raw_body = _chunks_of(chance, body, chance.choice((b"", b"Host: trailer\r\nX: y\r\n")))
        else:
            fields = f"Content-Length: {len(body)}\r\n"
        if chance.random() < 0.2:
            fields += "Expect: 100-continue\r\n"
    minor = 0 if is_last and "chunked" not in fields and chance.random() < 0.3 else 1
    raw = f"{method} /{name}?a=b HTTP/1.{minor}\r\nHost: host-{name}\r\n{fields}X-Name: {name}\r\n"
    return Request(name, method, body, raw.encode() + b"\r\n" + raw_body, minor)


@dataclass
class Answer:
    status: int
    body: bytes
    raw: bytes
    ends: bool
    """The upstream closes the connection after it."""


def make_answer(name: str, method: str) -> Answer:
    """The one answer to this request, whichever upstream gives it."""
    chance = random.Random(name)
    status = chance.choice((200, 200, 200, 201, 204, 304, 404, 500, 503))
    has_body = method != "HEAD" and status not in {204, 304}
    body = chance.randbytes(chance.choice((0, 1, 50, 900, 4000))) if has_body else b""
    head = f"HTTP/1.1 {status} Reason of {name}\r\nX-Name: {name}\r\n"
    way = chance.choice(("sized", "sized", "chunked", "close", "events"))
    ends = chance.random() < 0.15
    raw_body = body
    if way == "events":
        head += "Content-Type: text/event-stream\r\n"
    if has_body and way in {"chunked", "events"}:
        head += "Transfer-Encoding: chunked\r\n"
        raw_body = _chunks_of(chance, body, chance.choice((b"", b"X-Name: trailer\r\n")))
    elif has_body and way == "close":
        ends = True
    elif has_body or (method == "HEAD" and way == "sized"):
        head += f"Content-Length: {len(body) if has_body else 77}\r\n"
    if ends:
        head += "Connection: close\r\n"
    interim = chance.choice(
        (b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n")
    )
    return Answer(status, body, interim + head.encode() + b"\r\n" + raw_body, ends)
