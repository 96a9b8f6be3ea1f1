from __future__ import annotations

import pytest

from shedproxy.dataplane.wire.body import BodyReader
from shedproxy.dataplane.wire.framing import BodyKind, HeadError
from shedproxy.observability.fault import Fault


def test_a_sized_body_is_counted_to_the_byte() -> None:
    body = BodyReader(BodyKind.SIZED, 5, Fault.BAD_REQUEST)
    assert body.feed(b"ab") == b"ab"
    assert (body.is_complete, body.remaining) == (False, 3)
    assert body.feed(b"cdeGET /") == b"cde"
    assert (body.is_complete, body.leftover) == (True, b"GET /")
    assert body.feed(b" x") == b""
    assert body.leftover == b"GET / x"


def test_a_sized_body_that_comes_whole_leaves_nothing() -> None:
    body = BodyReader(BodyKind.SIZED, 2, Fault.BAD_REQUEST)
    assert body.feed(b"ab") == b"ab"
    assert (body.is_complete, body.leftover) == (True, b"")


def test_a_chunked_body_gives_its_payload_and_what_follows() -> None:
    body = BodyReader(BodyKind.CHUNKED, -1, Fault.BAD_REQUEST)
    assert body.feed(b"2\r\nab\r\n1\r") == b"ab"
    assert body.feed(b"\nc\r\n0\r\n") == b"c"
    assert not body.is_complete
    assert body.feed(b"A: b\r\n\r\nnext") == b""
    assert (body.is_complete, body.leftover) == (True, b"next")


def test_a_body_until_close_is_never_complete() -> None:
    body = BodyReader(BodyKind.UNTIL_CLOSE, -1, Fault.UPSTREAM_BAD_RESPONSE)
    assert body.feed(b"ab") == b"ab"
    assert not body.is_complete


def test_no_body_is_complete_at_once() -> None:
    body = BodyReader(BodyKind.NONE, 99, Fault.BAD_REQUEST)
    assert body.is_complete
    assert body.feed(b"x") == b""
    assert body.leftover == b"x"


def test_a_broken_chunk_is_the_fault_it_was_told() -> None:
    body = BodyReader(BodyKind.CHUNKED, -1, Fault.UPSTREAM_BAD_RESPONSE)
    with pytest.raises(HeadError) as caught:
        body.feed(b"zz\r\n")
    assert caught.value.fault is Fault.UPSTREAM_BAD_RESPONSE
