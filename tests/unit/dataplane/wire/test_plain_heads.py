"""The quick way takes usual heads, and says of each what the careful way says."""

from __future__ import annotations

import pytest
from harness.head_twins import compare_answers, compare_requests
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.dataplane.wire.field_memory import AnswerFields, RequestFields
from shedproxy.dataplane.wire.headers import header_context
from shedproxy.dataplane.wire.plain_heads import read_plain_request, read_plain_response

CONTEXT = header_context()
ELSEWHERE = header_context(
    via="", preserve_host=False, forward_criticality=False, criticality_header="x-tenant"
)
FIELDS = RequestFields(CONTEXT.actions, {b"traceparent": 16})
ANSWERS = AnswerFields()
BARE_FIELDS = RequestFields(ELSEWHERE.actions, {})

LINES = (
    b"Host: e", b"Host: f:80", b"Host: a/b", b"accept: */*", b"Cookie: a=b; c", b"Empty:",
    b"Content-Length: 5", b"Content-Length: 0", b"content-length: 05", b"Content-Length: x",
    b"Connection: keep-alive", b"Connection: close", b"Connection: keep-alive, cookie",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"TE: trailers",
    b"Expect: 100-continue", b"Upgrade: websocket", b"Keep-Alive: 5", b"Proxy-X: y", b"x_y: z",
    b"X-Forwarded-For: a", b"Forwarded: for=a", b"X-Criticality: critical", b"Max-Forwards: 1",
    b"traceparent: 00-x", b"Server: s", b"Date: d", b"Content-Type: text/event-stream",
    b"Content-Type: text/html", b"Retry-After: 1", b"Retry-After: x", b"Blank: \t a b \t ",
    b"Odd: \xff\x80", b"bad\x00: x", b"a : b", b"no colon", b" folded", b"via: x", b"A: b\r",
)  # fmt: skip
FIRST = (
    b"GET / HTTP/1.1", b"POST /a?b=%2e HTTP/1.1", b"GET /a HTTP/1.0", b"OPTIONS * HTTP/1.1",
    b"GET http://e/x HTTP/1.1", b"PURGE / HTTP/1.1", b"GET /a#b HTTP/1.1", b"TRACE / HTTP/1.1",
    b"GET  / HTTP/1.1", b"HEAD /" + b"x" * 600 + b" HTTP/1.1", b"get / HTTP/1.1",
)  # fmt: skip
STATUS = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 503 No", b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 None", b"HTTP/1.1 304 Same", b"HTTP/1.1 103 Early", b"HTTP/1.1 999 X",
    b"HTTP/1.1 426 Up", b"HTTP/1.1 200 A  B", b"HTTP/1.1 200 A B", b"ICY 200 OK",
)  # fmt: skip


def head_of(first: bytes, lines: list[bytes]) -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


USUAL = [b"Host: e", b"Accept: */*", b"User-Agent: x", b"Cookie: a=b"]


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        (b"GET /a?b HTTP/1.1", USUAL),
        (b"POST /a HTTP/1.1", [*USUAL, b"Content-Length: 5", b"Connection: keep-alive"]),
        (b"DELETE /a HTTP/1.1", [*USUAL, b"X-Forwarded-For: a", b"Keep-Alive: 1"]),
    ],
)
def test_usual_requests_are_taken(first: bytes, lines: list[bytes]) -> None:
    assert compare_requests(head_of(first, lines), FIELDS, CONTEXT)
    assert compare_requests(head_of(first, lines), BARE_FIELDS, ELSEWHERE)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Server: x", b"Content-Length: 5", b"Date: d", b"Connection: keep-alive"],
        [b"Content-Length: 0"],
        [b"Transfer-Encoding: chunked", b"Content-Type: text/html"],
    ],
)
def test_usual_answers_are_taken(lines: list[bytes]) -> None:
    assert compare_answers(head_of(b"HTTP/1.1 200 OK", lines), b"GET", ANSWERS)
    assert not compare_answers(head_of(b"HTTP/1.1 200 OK", lines), b"HEAD", ANSWERS)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(FIRST), st.lists(st.sampled_from(LINES), max_size=6))
def test_what_the_quick_way_takes_it_takes_as_the_careful_way_does(
    first: bytes, lines: list[bytes]
) -> None:
    compare_requests(head_of(first, [b"Host: e", *lines]), FIELDS, CONTEXT)
    compare_requests(head_of(first, lines), BARE_FIELDS, ELSEWHERE)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(STATUS),
    st.lists(st.sampled_from(LINES), max_size=6),
    st.sampled_from((b"GET", b"HEAD", b"POST")),
)
def test_and_so_of_answers(first: bytes, lines: list[bytes], method: bytes) -> None:
    compare_answers(head_of(first, [b"Content-Length: 3", *lines]), method, ANSWERS)
    compare_answers(head_of(first, lines), method, ANSWERS)


NAMES = (
    b"host", b"content-length", b"transfer-encoding", b"connection", b"te", b"trailer", b"expect",
    b"upgrade", b"cookie", b"accept", b"x-forwarded-for", b"x-forwarded-host", b"forwarded",
    b"x-criticality", b"x-retry-attempt", b"x-tenant", b"keep-alive", b"proxy-connection",
    b"http2-settings", b"date", b"retry-after", b"content-type", b"shedproxy-id", b"a_b", b"via",
    b"x" * 256, b"x" * 257, b"max-forwards", b"x-request-timeout-ms", b"set-cookie", b"!#$%&'*+",
)  # fmt: skip
VALUES = (
    b"", b" ", b"\t", b"e", b"e:80", b"[::1]:8080", b"e, f", b"0", b"00", b"5", b"+5", b"5, 5",
    b"9223372036854775807", b"9223372036854775808", b"chunked", b"chunked, chunked", b"identity",
    b"keep-alive", b"Keep-Alive", b"close", b"x-tenant, keep-alive", b"keep-alive,", b"trailers",
    b"upgrade", b"100-continue", b"websocket", b"\x80\xff", b"a\tb", b"\x7f", b"\x0b", b"a\x00",
    b"\r", b"\n x", b"\r\n x", b"\r\nHost: f", b"text/event-stream", b"x" * 300,
)  # fmt: skip


def cased(name: bytes, flips: int) -> bytes:
    """The name with some of its letters in the other case."""
    return bytes(
        ord(chr(byte).swapcase()) if flips >> index % 16 & 1 else byte
        for index, byte in enumerate(name)
    )


field_lines = st.builds(
    lambda name, flips, blank, value: cased(name, flips) + b":" + blank + value,
    st.sampled_from(NAMES),
    st.sampled_from((0, 1, 0xFFFF, 0x5555)),
    st.sampled_from((b"", b" ", b" \t ")),
    st.sampled_from(VALUES) | st.binary(max_size=4),
)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(FIRST),
    st.sampled_from(STATUS),
    st.lists(field_lines, max_size=4),
    st.sampled_from((USUAL, [b"Host: e", b"A: b"] + [b"A: b"] * 29, [])),
)
def test_nor_do_fields_of_any_name_and_value_come_between_the_two(
    first: bytes, status: bytes, lines: list[bytes], others: list[bytes]
) -> None:
    for _ in range(3):  # as it is read first, when it is kept, and as it was kept
        for fields, context in ((FIELDS, CONTEXT), (BARE_FIELDS, ELSEWHERE)):
            compare_requests(head_of(first, [*others, *lines]), fields, context)
        compare_answers(head_of(status, [*lines, b"Content-Length: 3"]), b"GET", ANSWERS)
        compare_answers(head_of(status, lines), b"POST", ANSWERS)


def changed(line: bytes, value: bytes) -> bytes:
    """The line with another value."""
    name, colon, _ = line.partition(b":")
    return name + colon + value


changes = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.sampled_from(("other value", "other line", "more", "less")),
        st.sampled_from(VALUES) | st.binary(max_size=4) | st.text(max_size=4).map(str.encode),
        field_lines,
    ),
    max_size=3,
)


def evolved(lines: list[bytes], steps: list[tuple[int, str, bytes, bytes]]) -> list[bytes]:
    """The lines of a head that is like the one before it."""
    lines = list(lines)
    for place, what, value, line in steps:
        at = place % (len(lines) + 1)
        if what == "more" or at == len(lines):
            lines.insert(at, line)
        elif what == "less":
            del lines[at]
        else:
            lines[at] = changed(lines[at], value) if what == "other value" else line
    return lines


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(field_lines, max_size=4),
    st.lists(changes, min_size=1, max_size=3),
    st.lists(
        st.sampled_from(FIRST)
        | st.binary(max_size=6).map(lambda path: b"GET /" + path + b" HTTP/1.1"),
        min_size=4,
        max_size=4,
    ),
)
def test_whatever_head_came_before_a_head_says_the_same(
    lines: list[bytes], steps: list[list[tuple[int, str, bytes, bytes]]], first: list[bytes]
) -> None:
    lines = [*USUAL, b"traceparent: 00-x", *lines]
    request = compare_requests(head_of(b"GET /a HTTP/1.1", lines), FIELDS, CONTEXT)
    status, framed = b"HTTP/1.1 200 OK", b"Content-Length: 3"
    answer = compare_answers(head_of(status, [framed, *lines]), b"GET", ANSWERS)
    for step, line in zip(steps, first, strict=False):
        lines = evolved(lines, step)
        request = compare_requests(head_of(line, lines), FIELDS, CONTEXT, request)
        answer = compare_answers(head_of(status, [framed, *lines]), b"GET", ANSWERS, answer)


@pytest.mark.parametrize(
    "path", [b"", b"/", b"/a", b"/a b", b"/a#b", b"/a\x7f", b"/\xc3\xa4", b"a"]
)
def test_a_first_line_like_the_one_before_is_looked_at_as_closely(path: bytes) -> None:
    before = compare_requests(head_of(b"GET /a HTTP/1.1", USUAL), FIELDS, CONTEXT)
    assert before is not None
    for method in (b"GET", b"GETS", b"GE", b"POST"):
        for end in (b" HTTP/1.1", b" HTTP/1.0", b"  HTTP/1.1", b""):
            head = head_of(method + b" " + path + end, USUAL)
            alone = compare_requests(head, FIELDS, CONTEXT)
            after = compare_requests(head, FIELDS, CONTEXT, before)
            assert (alone is None) is (after is None)


def test_what_the_classifier_reads_is_said_and_bounds_are_kept() -> None:
    head = head_of(b"GET /abc HTTP/1.1", [*USUAL, b"traceparent: 00-x"])
    found = read_plain_request(head, FIELDS, target_size_max=4, field_count_max=5)
    assert found is not None
    assert found[0].said == 16
    assert read_plain_request(head, FIELDS, target_size_max=3, field_count_max=5) is None
    assert read_plain_request(head, FIELDS, target_size_max=4, field_count_max=4) is None
    many = head_of(b"HTTP/1.1 200 OK", [b"Content-Length: 1", *[b"a: b"] * 256])
    assert read_plain_response(many, b"GET", ANSWERS) is None
