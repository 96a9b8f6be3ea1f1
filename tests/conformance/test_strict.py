"""The reader that judges the proxy is strict itself."""

import pytest
from conformance.case import passes
from conformance.judge import differences, explain, second_opinion
from conformance.observe import Observation
from conformance.strict import MalformedError, Message, read_answer, read_request

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def test_a_request_ends_where_its_framing_says():
    for framing, body in (
        (b"Content-Length: 2\r\n\r\n", b"hi"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nhi\r\n0\r\nX: y\r\n\r\n"),
    ):
        message, rest = read_request(POST + framing + body + GET)
        assert (message.body, rest) == (b"hi", GET)
        for size in range(len(POST + framing + body)):
            assert read_request((POST + framing + body)[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /a HTTP/1.1\nHost: a\n\n",
        b"GET  /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Content-Length: 5, 5\r\n\r\n",
        POST + b"Transfer-Encoding: Chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    ],
)
def test_what_two_readers_could_take_differently_is_malformed(data):
    with pytest.raises(MalformedError):
        read_request(data)


def test_an_answer_that_ends_early_is_not_whole():
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"
    assert read_answer(cut, is_head=False, at_end=False) is None
    assert not read_answer(cut, is_head=False, at_end=True)[0].is_whole
    assert read_answer(cut, is_head=True, at_end=False) is not None
    until_close = b"HTTP/1.1 200 OK\r\n\r\nhe"
    assert read_answer(until_close, is_head=False, at_end=False) is None
    assert read_answer(until_close, is_head=False, at_end=True)[0].body == b"he"


def test_a_second_reader_is_asked():
    message, _ = read_request(GET)
    assert list(second_opinion(message)) == []
    message.raw = POST + b"Content-Length: 2\r\n\r\nhi"
    assert list(second_opinion(message)) == ["h11 reads b'POST' b'/' b'hi'"]


def test_a_case_that_fails_shows_its_bytes_and_its_clause():
    case = passes("a name", "RFC 9112 3", GET, target="/b", fields={"x": "y"})
    message, _ = read_request(GET)
    seen = Observation(answers=[Message(("HTTP/1.1", "200", ""), [])], requests=[message])
    found = differences(case, seen)
    assert found == [
        "the connection is waits, not kept",
        "forwarded as GET /a, not GET /b",
        "x is None, not 'y'",
    ]
    text = explain(case, seen, found)
    assert "a name (RFC 9112 3)" in text
    assert repr(GET) in text
