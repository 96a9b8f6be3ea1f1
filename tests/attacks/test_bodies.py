"""Bodies that nobody wants (A21, A22)."""

from __future__ import annotations

import pytest

from shedproxy.snapshot import Match, Rule

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CLOSED = {"rules": (Rule(name="closed", match=Match(path=("/closed",)), limit=0),)}
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.attack("A21")
@pytest.mark.parametrize("padding", [0, 1000, 200_000], ids=["small", "bounded", "large"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
async def test_the_body_of_a_refused_request_is_never_a_request(ring, padding, is_chunked):
    """It is read and thrown away up to a small bound; beyond that the connection ends."""
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, classification=CLOSED)
    body = b"x" * padding + SMUGGLED
    head = b"POST /closed HTTP/1.1\r\nHost: h\r\n"
    if is_chunked:
        raw = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        raw = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    client = await front.connect()
    client.writer.write(raw + NEXT)
    first = await client.answer()
    assert first.fields["shedproxy-reason"] == "route_limit"
    if padding > 100_000:
        # Of a chunked body it is known too late to be said in the answer.
        assert is_chunked or first.fields["connection"] == "close"
        assert await client.rest() == b""
        assert not mirror.heads
    else:
        assert (await client.answer()).seen.target == "/next"
        assert len(mirror.heads) == 1


@pytest.mark.attack("A21")
async def test_a_body_that_never_comes_does_not_make_the_next_request_one(ring):
    """The client was refused on the head; what it sends after it is still that body."""
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, classification=CLOSED)
    client = await front.connect()
    answer = await client.ask(
        b"POST /closed HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    )
    assert answer.status == 503
    client.writer.write(SMUGGLED)
    if answer.fields.get("connection") != "close":
        assert (await client.ask(NEXT)).seen.target == "/next"
    else:
        assert await client.rest() == b""
    assert not any(b"smuggled" in head for head in mirror.heads)


@pytest.mark.attack("A22")
async def test_who_is_refused_is_not_asked_for_its_body(ring):
    """The final answer comes at once, no 100 before it, and the connection ends: nobody knows
    whether the body follows."""
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, classification=CLOSED)
    client = await front.connect()
    answer = await client.ask(
        b"POST /closed HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\n"
    )
    assert answer.status == 503
    assert answer.fields["connection"] == "close"
    assert await client.rest() == b""
    assert not mirror.heads


@pytest.mark.attack("A22")
async def test_who_is_let_in_is_asked_once(ring):
    front = await ring.front((await ring.mirror()).url, classification=CLOSED)
    client = await front.connect()
    interim = await client.ask(
        b"POST /open HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert interim.status == 100
    final = await client.ask(b"ok")
    assert final.status == 200
    assert "expect" not in final.seen.names()
