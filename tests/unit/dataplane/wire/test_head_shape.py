"""Heads that differ where those before them did are read as if nothing had come before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from harness.head_twins import FIELD_COUNT_MAX, TARGET_SIZE_MAX, check_request
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.dataplane.wire.field_memory import RequestFields
from shedproxy.dataplane.wire.framing import HeadError, RequestFraming
from shedproxy.dataplane.wire.head_memory import REMEMBERED_SIZE_MAX, RequestHeads
from shedproxy.dataplane.wire.head_shape import (
    NOT_ALIKE,
    RequestShape,
    differing_fields,
    shape_of,
)
from shedproxy.dataplane.wire.headers import header_context
from shedproxy.dataplane.wire.plain_heads import read_plain_request
from shedproxy.dataplane.wire.tokens import PlainLines, RequestTokens

CONTEXT = header_context()
FIELDS = RequestFields(CONTEXT.actions, {b"traceparent": 16, b"x-user": 16, b"host": 1})
FIRST = b"GET /a HTTP/1.1"
LINES = (b"Host: e", b"Traceparent: 00-1", b"Cookie: a=b", b"X-Id: 7", b"Accept: */*")


def live() -> Any:
    return SimpleNamespace(
        head_size_max=2048,
        target_size_max=TARGET_SIZE_MAX,
        field_count_max=FIELD_COUNT_MAX,
        request_fields=FIELDS,
    )


def head_of(*lines: bytes, first: bytes = FIRST) -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


def changed(*values: bytes, first: bytes = FIRST) -> bytes:
    """The usual head, with these values of Traceparent and X-Id."""
    trace, number = values
    lines = list(LINES)
    lines[1], lines[3] = b"Traceparent: " + trace, b"X-Id: " + number
    return head_of(*lines, first=first)


def plain(head: bytes) -> tuple[RequestTokens, RequestFraming]:
    found = read_plain_request(
        head, FIELDS, target_size_max=TARGET_SIZE_MAX, field_count_max=FIELD_COUNT_MAX
    )
    assert found is not None
    return found


def lines_of(*lines: bytes) -> PlainLines:
    found = plain(head_of(*lines))[0].lines
    assert found is not None
    return found


def shape_in(places: set[int], *lines: bytes) -> RequestShape | None:
    return shape_of(lines_of(*lines), sum(1 << place for place in places))


@pytest.mark.parametrize("places", [set(), {1}, {3}, {4}, {1, 2}, {2, 3, 4}, {1, 4}])
def test_only_what_differs_is_read_and_all_of_it_is_said(places: set[int]) -> None:
    shape = shape_in(places, *LINES)
    assert shape is not None
    lines = [line + b"x" if place in places else line for place, line in enumerate(LINES)]
    for first in (FIRST, b"GET /b/c?d HTTP/1.1"):
        head = head_of(*lines, first=first)
        found = shape.read(head, plain(head_of(*LINES)), TARGET_SIZE_MAX)
        assert found is not None
        check_request(head, found, FIELDS, CONTEXT)
        assert found[0].lines is not None
        assert [field.raw for field in found[0].lines.fields] == lines


USUAL = changed(b"2", b"8")


@pytest.mark.parametrize(
    "head",
    [
        changed(b"2", b"8", first=b"POST /a HTTP/1.1"),
        changed(b"2", b"8", first=b"GET /a HTTP/1.0"),
        changed(b"2", b"8", first=b"GET /a#b HTTP/1.1"),
        changed(b"2", b"8", first=b"GET /a\r\nA: b HTTP/1.1"),
        changed(b"2", b"8", first=b"GET /" + b"x" * TARGET_SIZE_MAX + b" HTTP/1.1"),
        changed(b"2\r\nA: b", b"8"),
        changed(b"2", b"8\r\nA: b"),
        changed(b"2\r\nCookie: a=b\r\nX-Id: 8", b"8"),
        changed(b"2\n", b"8"),
        changed(b"2", b"8\r"),
        changed(b"2", b"8\x00"),
        USUAL.replace(b"X-Id", b"x-id"),
        USUAL.replace(b"X-Id:", b"X-Id :"),
        USUAL.replace(b"X-Id: 8", b"8"),
        USUAL.replace(b"X-Id: 8\r\n", b""),
        USUAL.replace(b"Host: e", b"Host: f"),
        USUAL.replace(b"Host: e\r\n", b""),
        USUAL.replace(b"a=b", b"a=c"),
        USUAL.replace(b"*/*", b"*/x"),
        b"\r\n" + USUAL,
        USUAL[:-2],
        USUAL[:-2] + b"A: b\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_head_of_another_shape_is_left_to_others(head: bytes) -> None:
    shape = shape_in({1, 3}, *LINES)
    assert shape is not None
    before = plain(head_of(*LINES))
    assert shape.read(head, before, TARGET_SIZE_MAX) is None
    assert shape.read(USUAL, before, TARGET_SIZE_MAX) is not None


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ((b"Host: e",), 0),
        ((b"Host: e", b"Content-Length: 5"), 1),
        ((b"Host: e", b"Connection: keep-alive"), 1),
        ((b"Host: e", b"X-User: a", b"X-User: b"), 1),
        ((b"Host: e", b"X-User: a", b"x-user: b"), 2),
    ],
)
def test_what_is_seen_beside_others_may_not_differ(lines: tuple[bytes, ...], place: int) -> None:
    assert shape_in({place}, *lines) is None


def test_heads_are_alike_when_few_of_as_many_fields_differ() -> None:
    usual = plain(head_of(*LINES))
    known = usual[0].lines
    assert known is not None

    def after(*lines: bytes) -> int:
        found = read_plain_request(
            head_of(*lines), FIELDS, target_size_max=9, field_count_max=99, before=usual[0]
        )
        assert found is not None
        assert found[0].lines is not None
        return differing_fields(known, found[0].lines)

    assert after(*LINES) == 0
    assert after(b"Host: e", b"Traceparent: 2", *LINES[2:4], b"Accept: x") == 0b10010
    assert after(*LINES[:4]) == NOT_ALIKE
    assert after(*(line + b"x" for line in LINES)) == NOT_ALIKE


def test_what_differed_twice_is_a_shape_until_something_else_does() -> None:
    heads, at = RequestHeads(), live()
    shapes = []
    for trace, number in ((b"1", b"7"), (b"2", b"7"), (b"3", b"7"), (b"4", b"7"), (b"5", b"8")):
        head = changed(trace, number, first=b"GET /" + trace + b" HTTP/1.1")
        tokens, framing = heads.read(head, at)
        check_request(head, (tokens, framing), FIELDS, CONTEXT)
        assert tokens.found == {b"traceparent": trace, b"host": b"e"}
        shapes.append(heads._shape)
    assert shapes[:2] == [None, None]
    assert shapes[2] is shapes[3] is not None
    assert shapes[4] is None
    for trace, number in ((b"6", b"8"), (b"7", b"9")):
        heads.read(changed(trace, number), at)
    assert heads._shape is not None, "both may differ now"


def test_what_is_read_otherwise_ends_a_shape() -> None:
    at = live()

    def heads_with_a_shape() -> RequestHeads:
        heads = RequestHeads()
        for trace in (b"1", b"2", b"3"):
            heads.read(changed(trace, b"7"), at)
        assert heads._shape is not None
        return heads

    heads = heads_with_a_shape()
    heads.read(changed(b"4", b"7", first=b"GET /a HTTP/1.0"), at)
    assert heads._shape is None
    heads = heads_with_a_shape()
    heads.read(changed(b"4", b"7"), live())
    assert heads._shape is None
    heads = heads_with_a_shape()
    heads.read(changed(b"4" * REMEMBERED_SIZE_MAX, b"7"), at)
    assert heads._shape is None
    assert heads._found is None, "neither that one, nor the credentials of the one before it"
    assert heads.read(changed(b"5", b"7"), at)[0].found == {b"traceparent": b"5", b"host": b"e"}


def test_a_connection_of_many_clients_is_given_up_on_until_it_is_configured_anew() -> None:
    heads, at = RequestHeads(), live()

    def meet(agent: bytes, count: int) -> bool:
        for serial in range(count):
            heads.read(head_of(*LINES, b"User-Agent: " + agent, b"A: %d" % serial), at)
        return heads._shape is not None

    assert meet(b"a", 100)
    assert meet(b"b", 100), "one that was of use may change"
    for agent in (b"c", b"d", b"e", b"f", b"g", b"h", b"i", b"j"):
        meet(agent, 4)
        heads.read(head_of(*LINES[:-1], b"User-Agent: " + agent, b"A: 0"), at)
    assert not meet(b"k", 100)
    at = live()
    assert meet(b"k", 100)


values = st.sampled_from(
    (b"", b" ", b"a", b"b", b"a b", b"a\t", b"\x80", b"a\r", b"\n", b"\r\nA: b", b"\x00")
) | st.binary(max_size=3)
names = st.sampled_from(
    (b"Host", b"traceparent", b"X-User", b"x-user", b"Cookie", b"A", b"Content-Length")
    + (b"Connection", b"Keep-Alive", b"X-Forwarded-For", b"a_b", b"TE")
)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.tuples(names, values), max_size=4),
    st.lists(st.integers(0, 7), max_size=2),
    st.lists(st.tuples(values, values, values), min_size=3, max_size=6),
)
def test_a_conversation_of_like_heads_is_read_as_each_alone(
    others: list[tuple[bytes, bytes]], places: list[int], turns: list[tuple[bytes, bytes, bytes]]
) -> None:
    heads, at = RequestHeads(), live()
    fields = [(b"Host", b"e"), (b"traceparent", b"0"), (b"Accept", b"*/*"), *others]
    for path, *new in turns:
        for place, value in zip(places, new, strict=False):
            name, _ = fields[place % len(fields)]
            fields[place % len(fields)] = (name, value)
        lines = [name + b": " + value for name, value in fields]
        head = head_of(*lines, first=b"GET /" + path + b" HTTP/1.1")
        if head.index(b"\r\n\r\n") + 4 != len(head):
            return
        try:
            alone = RequestHeads().read(head, at)
        except HeadError:
            with pytest.raises(HeadError):
                heads.read(head, at)
            return
        found = heads.read(head, at)
        if found[0].lines is not None:
            check_request(head, found, FIELDS, CONTEXT)
        assert found[0].said == alone[0].said
        assert found[0].found == alone[0].found
        assert found[0].headers == alone[0].headers
        assert found[0].plain == alone[0].plain
