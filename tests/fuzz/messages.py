"""Target `messages`: the pure message policy against the model, in whole and in random splits.

An input is two bytes and a stream: `r` for requests, `g`, `h` or `p` for answers to GET, HEAD and
POST; a digit or letter that seeds the splits; then the bytes as they come from the socket.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

from fuzz.model import (
    BLANK,
    DIGIT,
    Answer,
    Message,
    Reading,
    Request,
    read_answers,
    read_requests,
)
from harness.head_twins import compare_answers, compare_requests

from shedproxy.dataplane.wire.body import BodyReader
from shedproxy.dataplane.wire.field_memory import AnswerFields, RequestFields
from shedproxy.dataplane.wire.framing import (
    LAST_CHUNK,
    BodyKind,
    HeadError,
    begun_head_fault,
    encode_chunk,
    find_head_end,
    is_hopeless,
    overflow_fault,
)
from shedproxy.dataplane.wire.head_memory import RequestHeads, ResponseHeads
from shedproxy.dataplane.wire.headers import (
    answer_body,
    build_request_head,
    build_response_head,
    header_context,
)
from shedproxy.observability.fault import Fault

__all__ = ["DICTIONARY", "DifferenceError", "check", "compare_fields", "expect"]

METHODS = {"g": b"GET", "h": b"HEAD", "p": b"POST"}
HEAD_SIZE_MAX, TARGET_SIZE_MAX, FIELD_COUNT_MAX = 2048, 512, 32
LIVE = SimpleNamespace(
    head_size_max=HEAD_SIZE_MAX,
    target_size_max=TARGET_SIZE_MAX,
    field_count_max=FIELD_COUNT_MAX,
    request_fields=RequestFields(header_context().actions, {}),
)
ANSWER_FIELDS = AnswerFields()
PEER, AUTHORITY = b"192.0.2.7", b"10.0.0.1:80"
CONTEXT = header_context()
MAY_VANISH = frozenset(
    b"host expect connection keep-alive te trailer transfer-encoding upgrade content-length"
    b" http2-settings proxy x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port"
    b" x-forwarded-prefix x-forwarded-scheme x-forwarded-server x-forwarded-ssl x-real-ip"
    b" forwarded x-criticality x-request-timeout-ms x-envoy-expected-rq-timeout-ms"
    b" x-envoy-attempt-count x-retry-attempt via x-request-start".split()
)
"""What a proxy may take from a request on its own account. Whatever else goes, Connection named."""
HOP_BY_HOP = frozenset(b"te trailer http2-settings proxy keep-alive proxy-connection".split())
MAY_APPEAR = MAY_VANISH - HOP_BY_HOP | {b"te"}
NEVER_BY_CONNECTION = frozenset(
    b"authorization cookie content-type content-encoding host x-forwarded-for x-criticality"
    b" x-request-id traceparent range".split()
)
"""Fields that listing in Connection must not make vanish."""
DICTIONARY = (
    b"\r\n\r\n", b"\r\n", b"Host: e\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked",
    b"Connection: close", b"Connection: keep-alive", b"Upgrade: websocket", b"0\r\n\r\n",
    b" HTTP/1.1", b" HTTP/1.0", b"HTTP/1.1 200 OK", b"HTTP/1.1 101 S", b"HTTP/1.1 304 N",
    b"Expect: 100-continue", b"GET ", b"POST ", b"OPTIONS * ", b"http://e/", b"chunked, chunked",
    b"gzip, chunked", b"identity", b"\n", b"\r", b"\x00", b"\t", b";a=b", b"5\r\nhello\r\n",
    b"X-Forwarded-For: ", b"Retry-After: ", b"Content-Length: 5\r\n", b"%2e", b"[::1]:80",
    b"\xff", b"\x0b", b"ffffffffffffffff", b"00", b"+5", b"0x5", b"_", b"Date: x\r\n",
)  # fmt: skip


class DifferenceError(AssertionError):
    """The proxy reads something that the model does not."""


@dataclass
class Seen:
    """One message as the proxy took it: what it would send on, and the body."""

    forwarded: bytes
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False
    kind: int = BodyKind.NONE
    is_switch: bool = False


@dataclass
class Outcome:
    seen: list[Seen] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    """Those that were read, the last one refused perhaps."""
    fault: Fault | None = None


# --- the proxy's reading ------------------------------------------------------------------------


class Pump:
    """What the two connections do with bytes, without a connection."""

    def __init__(self, method: bytes) -> None:
        self.method = method
        """Of the request whose answer is read; empty: requests are read."""
        self.outcome = Outcome()
        self.is_over = False
        self._buffer = b""
        self._known = 0
        self._body: BodyReader | None = None
        self._requests, self._answers = RequestHeads(), ResponseHeads(ANSWER_FIELDS)

    def feed(self, data: bytes) -> None:
        try:
            self._feed(data)
        except HeadError as error:
            self.outcome.fault = error.fault
            self.is_over = True

    def _feed(self, data: bytes) -> None:
        while data and not self.is_over:
            if self._body is not None:
                data = self._feed_body(self._body, data)
                continue
            self._buffer += data
            end = find_head_end(self._buffer, self._known)
            if end < 0 and len(self._buffer) <= HEAD_SIZE_MAX:
                self._look_at_begun()
                self._known = len(self._buffer)
                return
            if end < 0 or end > HEAD_SIZE_MAX:
                fault = overflow_fault(self._buffer, target_size_max=TARGET_SIZE_MAX)
                raise HeadError(fault, "long head")
            head, data = self._buffer[:end], self._buffer[end:]
            self._buffer, self._known = b"", 0
            if self.method:
                self._begin_answer(head)
            else:
                self._begin_request(head)

    def _look_at_begun(self) -> None:
        """What can never become a head is refused before it is all there."""
        if not self.method:
            fault = begun_head_fault(self._buffer, self._known)
            if fault is not None:
                raise HeadError(fault, "begun head")
        elif is_hopeless(self._buffer, self._known):
            raise HeadError(Fault.UPSTREAM_BAD_RESPONSE, "begun head")

    def _begin_request(self, head: bytes) -> None:
        self.outcome.heads.append(head)
        tokens, framing = self._requests.read(head, LIVE)
        forwarded = build_request_head(
            CONTEXT,
            tokens.method,
            framing,
            tokens.headers,
            version_minor=tokens.version_minor,
            peer=PEER,
            is_trusted=False,
            authority=AUTHORITY,
            criticality=b"default",
        )
        self._begin(forwarded, framing.body, framing.length, Fault.BAD_REQUEST)
        self.is_over = self.is_over or (self._body is None and not framing.keep_alive)

    def _begin_answer(self, head: bytes) -> None:
        self.outcome.heads.append(head)
        tokens, framing = self._answers.read(head, self.method)
        forwarded = build_response_head(
            tokens.status,
            tokens.reason,
            framing,
            tokens.headers,
            version_minor=1,
            keep_alive=framing.keep_alive,
        )
        self._begin(forwarded, framing.body, framing.length, Fault.UPSTREAM_BAD_RESPONSE)
        self.outcome.seen[-1].is_switch = tokens.status == 101
        if tokens.status == 101 or (tokens.status >= 200 and self._body is None):
            self.is_over = True

    def _begin(self, forwarded: bytes, kind: int, length: int, fault: Fault) -> None:
        seen = Seen(forwarded, kind=kind, is_whole=kind == BodyKind.NONE)
        self.outcome.seen.append(seen)
        self._body = None if seen.is_whole else BodyReader(kind, length, fault)

    def _feed_body(self, body: BodyReader, data: bytes) -> bytes:
        seen = self.outcome.seen[-1]
        seen.body += body.feed(data)
        if not body.is_complete:
            return b""
        seen.is_whole, self._body = True, None
        self.is_over = bool(self.method)
        return body.leftover


def pump(method: bytes, pieces: list[bytes]) -> Outcome:
    machine = Pump(method)
    for piece in pieces:
        if machine.is_over:
            break
        machine.feed(piece)
    return machine.outcome


# --- comparing ----------------------------------------------------------------------------------


_LONG = (Fault.TARGET_TOO_LONG, Fault.HEAD_TOO_LARGE)


def expect(condition: bool, why: str, *facts: object) -> None:
    if not condition:
        raise DifferenceError(" | ".join([why, *map(repr, facts)]))


def check(data: bytes) -> None:
    """Run one input; raises DifferenceError, or whatever the proxy raises that it must not."""
    mode, seed, stream = data[:1].decode("latin-1"), data[1:2], data[2:]
    method = METHODS.get(mode, b"")
    if method:
        reading = read_answers(stream, [method], has_ended=False, is_tunnel=True)
    else:
        reading = read_requests(stream)
    chance = random.Random(seed)
    whole = pump(method, [stream])
    compare(whole, reading, method)
    for pieces in (split(chance, stream), bytewise(stream)):
        other = pump(method, pieces)
        compare_splits(whole, other)
        compare(other, reading, method)
    for head in whole.heads:
        if method:
            compare_answers(head, method, ANSWER_FIELDS)
        else:
            compare_requests(head, LIVE.request_fields, CONTEXT)


def split(chance: random.Random, stream: bytes) -> list[bytes]:
    pieces = []
    while stream:
        size = chance.choice((1, 2, 3, 17, 100))
        pieces.append(stream[:size])
        stream = stream[size:]
    return pieces


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(min(len(stream), 600))] + [stream[600:]]


def compare_splits(one: Outcome, other: Outcome) -> None:
    """The same, however the bytes came; of two things that are wrong either may be seen first."""
    both = (one.fault is None, other.fault is None)
    expect(both[0] == both[1], "splits: fault", one.fault, other.fault)
    expect(len(one.seen) == len(other.seen), "splits: number of messages")
    for a, b in zip(one.seen, other.seen, strict=True):
        expect(a.forwarded == b.forwarded, "splits: head", a.forwarded, b.forwarded)
        expect(a.is_whole == b.is_whole, "splits: whole", a.is_whole, b.is_whole)
        if one.fault is None or a.is_whole:
            expect(a.body == b.body, "splits: body", a.body, b.body)


def compare(outcome: Outcome, reading: Reading, method: bytes) -> None:
    """Both refuse, or what goes on is, for the model, what came in."""
    for index, seen in enumerate(outcome.seen):
        expect(index < len(reading.messages), "the model has no such message", seen.forwarded)
        message = reading.messages[index]
        compare_message(seen, message, method)
    if outcome.fault is None:
        is_read = len(outcome.seen) <= len(reading.messages)
        expect(is_read, "messages", len(outcome.seen), len(reading.messages))
        if reading.error is not None and len(outcome.seen) == len(reading.messages):
            # A head that is not all there is still waited for; a body is judged as it comes.
            expect(not reading.error_in_body, "the model refuses", str(reading.error))
        return
    # A body is refused after its head was taken.
    in_body = bool(outcome.seen) and not outcome.seen[-1].is_whole
    index = len(outcome.seen) - in_body
    check_fault(outcome.fault, reading, index, is_answer=bool(method))


def check_fault(fault: Fault, reading: Reading, index: int, *, is_answer: bool) -> None:
    """What was refused is malformed, unusual, or not all here yet; and it is called by its name."""
    if is_answer:
        expect(fault is Fault.UPSTREAM_BAD_RESPONSE or fault in _LONG, "answer's fault", fault)
    statuses: set[int] = set()
    if index < len(reading.messages):
        message = reading.messages[index]
        is_open = not message.is_whole or reading.error is not None
        expect(bool(message.unusual) or is_open, "refused without a reason", fault)
        if message.unusual:
            statuses |= {501, 505}
    elif reading.error is not None:
        statuses |= set(reading.error.statuses)
    if not is_answer:
        is_named = 400 <= fault.status < 500 or fault.status in statuses
        expect(is_named, "malformed is not the server's fault", fault, str(reading.error))


def compare_message(seen: Seen, message: Message, method: bytes) -> None:
    after: Reading = (
        read_answers(wire_of(seen), [method], has_ended=True, is_tunnel=True)
        if method
        else read_requests(wire_of(seen))
    )
    error = after.error
    expect(error is None, "what is sent on is malformed", str(error), seen.forwarded)
    expect(len(after.messages) == 1, "what is sent on is not one message", seen.forwarded)
    sent = after.messages[0]
    expect(sent.end == len(wire_of(seen)), "bytes after what is sent on", seen.forwarded)
    expect(sent.body == seen.body, "body as sent on", sent.body, seen.body)
    expect(message.body.startswith(sent.body), "body", message.body, sent.body)
    if seen.is_whole:
        expect(message.is_whole, "whole for us, not for the model", seen.forwarded)
        expect(message.body == sent.body, "body", message.body, sent.body)
    if isinstance(message, Request):
        compare_request(message, sent, is_whole=seen.is_whole)
    else:
        compare_answer(message, sent)
    compare_fields(message, sent)


def wire_of(seen: Seen) -> bytes:
    """Head and body as the next hop gets them."""
    kind = seen.kind
    if b"HTTP/1." in seen.forwarded[:8]:
        kind = answer_body(kind, 1)
    if kind != BodyKind.CHUNKED:
        return seen.forwarded + seen.body
    end = LAST_CHUNK if seen.is_whole or seen.kind == BodyKind.UNTIL_CLOSE else b""
    return seen.forwarded + encode_chunk(bytes(seen.body)) + end


def compare_request(came: Request, sent: Request, *, is_whole: bool) -> None:
    expect(sent.method == came.method, "method", came.method, sent.method)
    expect(sent.minor == 1, "version")
    expect(sent.target == came.path, "target", came.path, sent.target)
    expect(sent.host == (came.host or AUTHORITY), "host", came.host, sent.host)
    expect(sent.framing == came.framing, "framing", came.framing, sent.framing)
    expect(sent.length == came.length, "length", came.length, sent.length)
    expect(sent.is_whole == is_whole, "whole")
    expect(sent.all(b"x-forwarded-for") == [PEER], "x-forwarded-for")
    options = sent.options()
    expect(options in ([], [b"upgrade"], [b"te"]), "Connection sent on", options)
    if options == [b"te"]:
        expect(sent.all(b"te") == [b"trailers"], "TE sent on", sent.all(b"te"))
        expect(b"trailers" in came.options(b"te"), "TE nobody said")
    elif options:
        expect(b"upgrade" in came.options(), "upgrade nobody asked for")
        expect(sent.all(b"upgrade") == [v.lower() for v in came.all(b"upgrade")], "upgrade")


def compare_answer(came: Answer, sent: Answer) -> None:
    expect(sent.status == came.status, "status", came.status, sent.status)
    expect(sent.minor == 1, "version")
    expect(sent.reason == came.reason or not came.reason.strip(BLANK), "reason", came.reason)
    framing = "chunked" if came.framing == "until-close" else came.framing
    expect(sent.framing == framing, "framing", framing, sent.framing)
    if came.framing != "chunked" and came.status not in {204, 304} and came.status >= 200:
        expect(sent.length == came.length, "length", came.length, sent.length)


def compare_fields(came: Message, sent: Message) -> None:
    """Fields go through in order and unchanged; what went or came had to."""
    names = set(came.options())
    position = 0
    for pair in came.fields:
        name, value = pair
        if name in MAY_VANISH:
            continue
        if pair in sent.fields[position:]:
            position = sent.fields.index(pair, position) + 1
            continue
        is_own = name.startswith((b"shedproxy-", b"proxy-")) or b"_" in name
        is_listed = name in names and name not in NEVER_BY_CONNECTION
        is_clamped = isinstance(came, Answer) and name == b"retry-after" and not is_seconds(value)
        expect(is_own or is_listed or is_clamped, "field is lost", name, value)
    came_names = {name for name, _ in came.fields}
    for name, value in sent.fields:
        if (name, value) not in came.fields:
            is_clamped = isinstance(came, Answer) and name in (b"retry-after", b"date")
            expect(is_clamped or name in MAY_APPEAR, "field appears", name, value)
        if name in HOP_BY_HOP and (name, value) != (b"te", b"trailers"):
            expect(name not in came_names, "hop-by-hop field goes through", name)


def is_seconds(value: bytes) -> bool:
    """Whether it is a time that nobody has a reason to change: up to a day."""
    return 0 < len(value) <= 5 and all(byte in DIGIT for byte in value) and int(value) <= 86_400
