from __future__ import annotations

import time

import pytest

from shedproxy.dataplane.wire.framing import HeadError
from shedproxy.dataplane.wire.tokens import read_request, read_response
from shedproxy.observability.fault import Fault


def test_a_request_head_in_tokens() -> None:
    tokens = read_request(b"\r\nPURGE /a?b HTTP/1.0\r\nHost: E\r\nX-A:  b c \t\r\nX-A:\r\n\r\n")
    assert (tokens.method, tokens.target, tokens.version_minor) == (b"PURGE", b"/a?b", 0)
    assert tokens.headers == [(b"host", b"E"), (b"x-a", b"b c"), (b"x-a", b"")]


@pytest.mark.parametrize(
    "more",
    [
        b"Upgrade: x\r\nConnection: upgrade\r\n",
        b"Content-Length: 9\r\n",
        b"Expect: 100-continue\r\n",
    ],
)
def test_what_follows_the_head_is_not_the_parsers_business(more: bytes) -> None:
    tokens = read_request(b"GET / HTTP/1.1\r\nHost: e\r\n" + more + b"\r\n")
    assert tokens.version_minor == 1
    assert tokens.headers[0] == (b"host", b"e")


def test_a_response_head_in_tokens() -> None:
    tokens = read_response(b"HTTP/1.1 404 Not Here\r\nETag: a\r\n\r\n")
    assert (tokens.status, tokens.reason, tokens.version_minor) == (404, b"Not Here", 1)
    assert tokens.headers == [(b"etag", b"a")]
    assert not tokens.is_dated
    bare = read_response(b"HTTP/1.0 200\r\n\r\n")
    assert (bare.status, bare.reason, bare.version_minor) == (200, b"", 0)
    assert (
        read_response(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").status == 101
    )


def test_what_the_parser_refuses_is_a_fault_of_its_side() -> None:
    with pytest.raises(HeadError) as request:
        read_request(b"NOPE / HTTP/1.1\r\n\r\n")
    assert request.value.fault is Fault.BAD_REQUEST
    with pytest.raises(HeadError) as response:
        read_response(b"ICY 200 OK\r\n\r\n")
    assert response.value.fault is Fault.UPSTREAM_BAD_RESPONSE


def test_blanks_after_a_framing_value_mean_nothing() -> None:
    """The parser will not have a tab there; the grammar does (RFC 9112 5)."""
    framing = b"Transfer-Encoding: \t chunked \t\r\nX: y \r\n\r\n"
    headers = [(b"transfer-encoding", b"chunked"), (b"x", b"y")]
    assert read_request(b"POST / HTTP/1.1\r\n" + framing).headers == headers
    assert read_response(b"HTTP/1.1 200 OK\r\n" + framing).headers == headers


def test_many_blanks_in_a_head_that_the_parser_will_not_have_cost_little() -> None:
    """A24: tens of milliseconds are too much for any head; their square took hundreds."""
    blanks = b"X: a" + b" " * 15_000 + b"b\r\n"
    head = b"POST / HTTP/1.1\r\n" + blanks + b"Transfer-Encoding: chunked \t\r\n\r\n"
    began = time.process_time()
    tokens = read_request(head)
    assert time.process_time() - began < 0.03
    assert tokens.headers[1] == (b"transfer-encoding", b"chunked")
