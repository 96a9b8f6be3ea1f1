"""The chunked coding: one row per advisory, and any split of the bytes gives one result."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.dataplane.wire.chunked import LAST_CHUNK, ChunkedReader, encode_chunk
from shedproxy.dataplane.wire.grammar import HeadError
from shedproxy.observability.fault import Fault


def read(*feeds):
    """Payload, whether it is done, and what is left over; None when refused."""
    reader = ChunkedReader()
    payload = []
    for index, data in enumerate(feeds):
        try:
            payload += reader.feed(data)
        except HeadError:
            return None
        if reader.is_done:
            rest = data[reader.consumed :] + b"".join(feeds[index + 1 :])
            return b"".join(payload), True, rest
    return b"".join(payload), False, b""


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        pytest.param(b"0\r\n\r\n", b"", id="empty"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", id="one chunk"),
        pytest.param(b"1\r\nA\r\n1\r\nB\r\n0\r\n\r\n", b"AB", id="two chunks"),
        pytest.param(b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", id="hex in lower case"),
        pytest.param(b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", id="hex in upper case"),
        pytest.param(b"0000000000000005\r\nhello\r\n000\r\n\r\n", b"hello", id="leading zeros"),
        pytest.param(b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello", id="extensions dropped"),
        pytest.param(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"hello", id="quoted extension"),
        pytest.param(b"5;" + b"a" * 255 + b"\r\nhello\r\n0\r\n\r\n", b"hello", id="256 of them"),
        pytest.param(b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", id="payload that looks like an end"),
        pytest.param(b"1\r\nA\r\n0\r\nX-A: b\r\nC: d\r\n\r\n", b"A", id="trailers dropped"),
        pytest.param(b"1 \t;a\r\nA\r\n0\r\n\r\n", b"A", id="blanks before an extension"),
    ],
)
def test_a_clean_body_gives_its_payload_and_leaves_the_rest(body, payload):
    assert read(body + b"GET / HTTP/1.1") == (payload, True, b"GET / HTTP/1.1")
    assert read(*(bytes([byte]) for byte in body + b"G")) == (payload, True, b"G")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"+5\r\nhello\r\n0\r\n\r\n", id="sign"),
        pytest.param(b"-5\r\n", id="negative"),
        pytest.param(b"0x5\r\nhello\r\n", id="0x, fasthttp"),
        pytest.param(b"1_0\r\n", id="underscore, aiohttp CVE-2023-47627"),
        pytest.param(b" 5\r\nhello\r\n", id="blank before size"),
        pytest.param(b"5 \r\nhello\r\n", id="blank after size"),
        pytest.param(b"5\t\r\nhello\r\n", id="tab after size"),
        pytest.param(b"5 a\r\nhello\r\n", id="extension without a semicolon"),
        pytest.param(b"\r\n", id="no size"),
        pytest.param(b";a\r\n", id="extension without size"),
        pytest.param(b"g\r\n", id="not hex"),
        pytest.param(b"\xb2\r\n", id="superscript digit"),
        pytest.param(b"00000000000000005\r\nhello\r\n", id="17 digits"),
        pytest.param(b"ffffffffffffffff\r\n", id="over 63 bits"),
        pytest.param(b"5\nhello\r\n0\r\n\r\n", id="bare LF after size, Go CVE-2025-22871"),
        pytest.param(b"5\rhello\r\n", id="bare CR after size"),
        pytest.param(b"5;a\nhello\r\n0\r\n\r\n", id="bare LF ends extension, CVE-2025-55315"),
        pytest.param(b"5;a\rb\r\nhello\r\n", id="bare CR in extension, CVE-2025-55315"),
        pytest.param(b"5;a\x00\r\nhello\r\n", id="NUL in extension"),
        pytest.param(b"5;" + b"a" * 256 + b"\r\nhello\r\n", id="extension over bound"),
        pytest.param(b"1;" + b"a" * 100_000, id="extension without end, CVE-2023-39326"),
        pytest.param((b"1;" + b"a" * 255 + b"\r\nA\r\n") * 65, id="extensions over total bound"),
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="no CRLF after chunk, h11 CVE-2025-43859"),
        pytest.param(b"5\r\nhello\n0\r\n\r\n", id="bare LF after chunk"),
        pytest.param(b"5\r\nhello\r0\r\n\r\n", id="bare CR after chunk"),
        pytest.param(b"5\r\nhello\n\r0\r\n\r\n", id="LF CR after chunk"),
        pytest.param(b"0\r\n\n", id="bare LF ends the trailers"),
        pytest.param(b"0\r\nA: b\n\r\n", id="bare LF in trailer"),
        pytest.param(b"0\r\nA: b\r\n c\r\n\r\n", id="folded trailer"),
        pytest.param(b"0\r\nA : b\r\n\r\n", id="blank before colon in trailer"),
        pytest.param(b"0\r\n: b\r\n\r\n", id="empty name in trailer"),
        pytest.param(b"0\r\nno colon\r\n\r\n", id="trailer without colon, CVE-2025-58068"),
        pytest.param(b"0\r\nA: \x00\r\n\r\n", id="NUL in trailer"),
        pytest.param(b"0\r\nGET / HTTP/1.1\r\n\r\n", id="a request in the trailers"),
        pytest.param(b"0\r\nA: " + b"b" * 4096 + b"\r\n\r\n", id="trailer over bound"),
        pytest.param(b"0\r\nA: " + b"b" * 10_000, id="trailer without end"),
        pytest.param(b"0\r\n" + b"A: b\r\n" * 33 + b"\r\n", id="33 trailers"),
    ],
)
def test_a_broken_body_is_refused_however_it_is_cut(body):
    assert read(body) is None
    assert read(*(bytes([byte]) for byte in body[:5000] + body[5000:])) is None


def test_trailers_at_their_bounds_pass():
    field = b"A: " + b"b" * 123 + b"\r\n"
    assert len(field) == 128
    assert read(b"0\r\n" + field * 32 + b"\r\n") == (b"", True, b"")
    assert read(*(bytes([byte]) for byte in b"0\r\n" + field * 32 + b"\r\n")) == (b"", True, b"")


def test_a_body_cut_short_is_not_done():
    whole = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"
    for end in range(len(whole)):
        reader = ChunkedReader()
        reader.feed(whole[:end])
        assert not reader.is_done


def test_the_fault_is_the_side_that_sent_it():
    with pytest.raises(HeadError) as caught:
        ChunkedReader().feed(b"x")
    assert caught.value.fault == Fault.BAD_REQUEST
    with pytest.raises(HeadError) as caught:
        ChunkedReader(Fault.UPSTREAM_BAD_RESPONSE).feed(b"x")
    assert caught.value.fault == Fault.UPSTREAM_BAD_RESPONSE


def test_nothing_may_be_fed_after_the_end():
    reader = ChunkedReader()
    reader.feed(LAST_CHUNK)
    with pytest.raises(ValueError, match="complete"):
        reader.feed(b"x")


def test_many_small_chunks_come_out_as_one_piece():
    assert ChunkedReader().feed(b"1\r\nA\r\n" * 1000) == [b"A" * 1000]


def test_views_and_arrays_are_taken_like_bytes():
    for kind in (bytes, bytearray, memoryview):
        reader = ChunkedReader()
        assert reader.feed(kind(b"5\r\nhel")) == [b"hel"]
        assert reader.feed(kind(b"lo\r")) == [b"lo"]
        assert reader.feed(kind(b"\n0\r\n\r\nX")) == []
        assert reader.is_done
        assert reader.consumed == 6


def test_an_empty_piece_is_no_chunk_because_it_would_end_the_body():
    assert encode_chunk(b"") == b""
    assert encode_chunk(b"hello") == b"5\r\nhello\r\n"
    assert encode_chunk(b"a" * 255) == b"ff\r\n" + b"a" * 255 + b"\r\n"


def cuts(data, points):
    edges = sorted({0, len(data), *(point % (len(data) + 1) for point in points)})
    return [data[a:b] for a, b in pairwise(edges)]


chunk = st.builds(
    lambda payload, extension: (
        b"%x" % len(payload)
        + (b";" + extension if extension else b"")
        + b"\r\n"
        + payload
        + b"\r\n"
    ),
    st.binary(min_size=1, max_size=20),
    st.sampled_from([b"", b"a", b"a=b", b'a="c d"']),
)
body = st.builds(
    lambda chunks, trailers, rest: b"".join(chunks) + b"0\r\n" + trailers + b"\r\n" + rest,
    st.lists(chunk, max_size=6),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.binary(max_size=10),
)


@settings(deadline=None)
@given(body, st.lists(st.integers(0, 500), max_size=12))
def test_any_split_of_a_clean_body_gives_the_same_result(data, points):
    whole = read(data)
    assert whole is not None and whole[1]
    assert read(*cuts(data, points)) == whole


@settings(deadline=None)
@given(
    body,
    st.lists(st.tuples(st.integers(0, 500), st.sampled_from(b"\r\n\x00;0 5gA:")), max_size=3),
    st.lists(st.integers(0, 500), max_size=12),
)
def test_any_split_of_a_damaged_body_gives_the_same_result(data, damages, points):
    damaged = bytearray(data)
    for place, byte in damages:
        damaged[place % len(damaged)] = byte
    assert read(*cuts(bytes(damaged), points)) == read(bytes(damaged))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=8))
def test_what_we_encode_we_read(pieces):
    stream = b"".join(map(encode_chunk, pieces)) + LAST_CHUNK
    assert read(stream) == (b"".join(pieces), True, b"")


def test_trailers_are_kept_apart():
    reader = ChunkedReader()
    for byte in b"1\r\nA\r\n0\r\nX-One:  a b \r\nx-two:\r\nX-One: c\r\n\r\n":
        reader.feed(bytes((byte,)))
    assert reader.is_done
    assert reader.trailers == [(b"x-one", b"a b"), (b"x-two", b""), (b"x-one", b"c")]


@pytest.mark.parametrize("line", [b"1", b"001", b"a", b"10"])
@pytest.mark.parametrize("count", [255, 256, 257, 1000])
@pytest.mark.parametrize("step", [1 << 20, 997])
def test_runs_of_small_chunks_are_what_they_are_one_by_one(line, count, step) -> None:
    size = int(line, 16)
    payload = bytes(index % 251 for index in range(size * count))
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    raw = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + b"0\r\n\r\nnext"
    reader, got = ChunkedReader(), b""
    for at in range(0, len(raw), step):
        got += b"".join(reader.feed(raw[at : at + step]))
        if reader.is_done:
            assert raw[at + reader.consumed :] == b"next"[-len(raw[at + reader.consumed :]) :]
            break
    assert reader.is_done
    assert got == payload


@pytest.mark.parametrize("at", [0, 1, 255, 256, 300])
@pytest.mark.parametrize("broken", [b"1\r\nx\rX", b"1\n\rx\r\n", b"g\r\nx\r\n", b"1\r\nxx\r\n"])
def test_a_run_hides_nothing_that_is_broken(at, broken) -> None:
    raw = b"1\r\nx\r\n" * at + broken + b"1\r\nx\r\n" * 600 + b"0\r\n\r\n"
    with pytest.raises(HeadError):
        ChunkedReader().feed(raw)


def test_a_run_stops_at_a_chunk_of_another_kind() -> None:
    raw = b"1\r\nx\r\n" * 600 + b"2\r\nyz\r\n" + b"1;e\r\nx\r\n" * 400 + b"0\r\n\r\n"
    assert ChunkedReader().feed(raw) == [b"x" * 600 + b"yz" + b"x" * 400]


def test_extensions_of_a_run_are_counted() -> None:
    raw = b"1;" + b"e" * 200 + b"\r\nx\r\n"
    with pytest.raises(HeadError):
        ChunkedReader().feed(raw * 300)


SMALL = st.tuples(
    st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"1\r\nx\r\n", b"z" * 255]),
    st.sampled_from(["%x", "%X", "%03x", "%015x", "%016x"]),
)


@settings(deadline=None)
@given(st.lists(SMALL, min_size=1, max_size=60), st.lists(st.integers(0, 4000), max_size=4))
def test_small_chunks_of_any_sizes_are_what_they_are_one_by_one(chunks, points) -> None:
    data = b"".join(
        (form % len(payload)).encode() + b"\r\n" + payload + b"\r\n" for payload, form in chunks
    )
    whole = (b"".join(payload for payload, _ in chunks), True, b"next")
    assert read(data + b"0\r\n\r\nnext") == whole
    assert read(*cuts(data + b"0\r\n\r\nnext", points)) == whole


@pytest.mark.parametrize(
    "broken",
    [b"3\r\nab\r\n", b"2\r\nabc\r\n", b"2\nab\r\n", b"+2\r\nab\r\n", b"2 \r\nab\r\n", b"g\r\nx\r\n"]
    + [b"00000000000000002\r\nab\r\n", b"2\r\nab\n\n"],
)
@pytest.mark.parametrize("before", [0, 3, 4, 1030])
def test_small_chunks_hide_nothing_that_is_broken(broken, before) -> None:
    good = b"".join(b"%x\r\n%b\r\n" % (size, b"y" * size) for size in (1, 2, 3))
    reader = ChunkedReader()
    with pytest.raises(HeadError):
        reader.feed(good * before + broken + good * 8)
