from __future__ import annotations

import pytest

from shedproxy.dataplane.wire import field_memory as memory
from shedproxy.dataplane.wire.field_memory import AnswerFields, RequestFields
from shedproxy.dataplane.wire.headers import header_context

ACTIONS = header_context().actions


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"Accept: x", memory.ORDINARY),
        (b"X-Anything:", memory.ORDINARY),
        (b"Keep-Alive: 5", memory.SILENT),
        (b"x_y: 1", memory.SILENT),
        (b"Shedproxy-Id: 1", memory.SILENT),
        (b"Host: a.example:80", memory.HOST),
        (b"Host: a/b", memory.CAREFUL),
        (b"Content-Length: 0", memory.LENGTH),
        (b"Content-Length: +1", memory.CAREFUL),
        (b"Connection: Keep-Alive", memory.PERSISTENT),
        (b"Connection: keep-alive, x", memory.CAREFUL),
        (b"Connection: close", memory.CAREFUL),
        (b"Transfer-Encoding: chunked", memory.CAREFUL),
        (b"Expect: 100-continue", memory.CAREFUL),
        (b"Upgrade: x", memory.CAREFUL),
        (b"TE: trailers", memory.CAREFUL),
        (b"Max-Forwards: 1", memory.CAREFUL),
        (b"X-Forwarded-For: a", memory.SPECIAL),
        (b"X-Criticality: a", memory.SPECIAL),
    ],
)
def test_what_a_line_of_a_request_is(line: bytes, code: int) -> None:
    found = RequestFields(ACTIONS, {}).find(line)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"Server: x", memory.ORDINARY),
        (b"Date: now", memory.DATED),
        (b"Content-Length: 12", memory.LENGTH),
        (b"Content-Length: 1, 2", memory.CAREFUL),
        (b"Transfer-Encoding: Chunked", memory.CHUNKED),
        (b"Transfer-Encoding: gzip, chunked", memory.CAREFUL),
        (b"Connection: keep-alive", memory.PERSISTENT),
        (b"Connection: upgrade", memory.CAREFUL),
        (b"Content-Type: text/html", memory.ORDINARY),
        (b"Content-Type: Text/Event-Stream; x", memory.CAREFUL),
        (b"Retry-After: 1", memory.CAREFUL),
        (b"Upgrade: x", memory.CAREFUL),
        (b"Keep-Alive: 5", memory.SILENT),
        (b"Proxy-X: 5", memory.SILENT),
    ],
)
def test_what_a_line_of_an_answer_is(line: bytes, code: int) -> None:
    found = AnswerFields().find(line)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize("line", [b"", b"a", b"a b: c", b": x", b"a: \x00", b" a: b", b"a: b\r"])
def test_what_is_no_line_by_the_grammar_is_none(line: bytes) -> None:
    assert RequestFields(ACTIONS, {}).find(line) is None
    assert AnswerFields().find(line) is None


def test_a_line_that_comes_again_is_read_no_more_and_goes_on_with_a_lower_case_name() -> None:
    fields = RequestFields(ACTIONS, {b"x-tenant": 32})
    found = fields.find(b"X-Tenant: \t Blue \t")
    assert found is not None
    assert found.pair == (b"x-tenant", b"Blue")
    assert found.line == b"\r\nx-tenant: Blue"
    assert found.said == 32
    again = fields.find(b"X-Tenant: \t Blue \t")
    assert again is not found
    assert fields.find(b"X-Tenant: \t Blue \t") is again


@pytest.mark.parametrize(
    "line",
    [b"Authorization: Bearer x", b"cookie: a=b", b"Proxy-Authorization: x", b"Set-Cookie: a"],
)
def test_credentials_are_never_kept(line: bytes) -> None:
    for fields in (RequestFields(ACTIONS, {}), AnswerFields()):
        found = [fields.find(line) for _ in range(4)]
        assert len({id(field) for field in found}) == 4
        assert not fields._recent


def test_a_line_is_kept_when_it_comes_again_and_pushes_nobody_out_before() -> None:
    fields = AnswerFields()
    kept = [fields.find(b"kept: 1") for _ in range(2)][-1]
    for number in range(10 * memory.LINES_MAX):
        fields.find(b"n: %d" % number)
    assert fields.find(b"kept: 1") is kept


def test_the_memory_is_bounded_in_lines_and_bytes_and_keeps_what_is_used() -> None:
    fields = AnswerFields()
    long = b"a: " + b"x" * memory.LINE_SIZE_MAX
    assert fields.find(long) is not fields.find(long)
    used = [fields.find(b"used: 1") for _ in range(2)][-1]
    first = [fields.find(b"first: 1") for _ in range(2)][-1]
    for number in range(3 * memory.LINES_MAX):
        fields.find(b"n: %d" % number)
        fields.find(b"n: %d" % number)
        assert fields.find(b"used: 1") is used
    assert fields.find(b"first: 1") is not first


def test_first_lines_of_answers() -> None:
    fields = AnswerFields()
    found = fields.find_status(b"HTTP/1.1 404 Not Found")
    assert found is not None
    assert (found.status, found.reason, found.line) == (
        404,
        b"Not Found",
        b"HTTP/1.1 404 Not Found",
    )
    assert fields.find_status(b"HTTP/1.1 404 Not Found") is found
    for line in (
        *(b"HTTP/1.1 %d X" % status for status in (100, 101, 204, 304, 426, 600)),
        *(b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK ", b""),
    ):
        assert fields.find_status(line) is None
    for number in range(2 * memory.LINES_MAX):
        assert fields.find_status(b"HTTP/1.1 200 OK%d" % number) is not None
    assert fields.find_status(b"HTTP/1.1 404 Not Found") is not found
