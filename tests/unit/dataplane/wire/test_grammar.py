"""Which heads are accepted, byte by byte: one row per known way to make two parsers disagree."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.dataplane.wire.grammar import (
    METHODS,
    HeadError,
    begun_head_fault,
    check_request_head,
    check_response_head,
    find_head_end,
    overflow_fault,
)
from shedproxy.observability.fault import Fault

HOST = b"Host: a\r\n"
NOT_ALLOWED = Fault.METHOD_NOT_ALLOWED


def check(head, *, target_size_max=100, field_count_max=10):
    check_request_head(head, target_size_max=target_size_max, field_count_max=field_count_max)


def fault_of(head, **bounds):
    with pytest.raises(HeadError) as caught:
        check(head, **bounds)
    return caught.value.fault


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", id="plain"),
        pytest.param(b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", id="two empty lines before"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", id="1.0 without a field"),
        pytest.param(b"GET http://a/b?c HTTP/1.1\r\n" + HOST + b"\r\n", id="absolute form"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", id="asterisk form"),
        pytest.param(b'GET /a|b"<>^`{}\\ HTTP/1.1\r\n' + HOST + b"\r\n", id="odd but visible"),
        pytest.param(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", id="no blank after the colon"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"n" * 256 + b": v\r\n\r\n", id="name of 256"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", id="empty value"),
        pytest.param(b"GET / HTTP/1.1\r\nX: \xc3\xa9\tb: c\r\n\r\n", id="high bytes and tab"),
        pytest.param(b"M-SEARCH / HTTP/1.1\r\n" + HOST + b"\r\n", id="method with a dash"),
    ],
)
def test_a_clean_request_head_passes(head):
    check(head)


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", Fault.BAD_REQUEST, id="bare LF everywhere"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Fault.BAD_REQUEST, id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Fault.BAD_REQUEST, id="bare CR"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n", Fault.BAD_REQUEST, id="folded, blank"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", Fault.BAD_REQUEST, id="folded, tab"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault.BAD_REQUEST, id="blank before first field"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
            Fault.BAD_REQUEST,
            id="blank before colon",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nContent-Length\t: 1\r\n\r\n",
            Fault.BAD_REQUEST,
            id="tab before colon",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n: empty\r\n\r\n", Fault.BAD_REQUEST, id="empty name, CVE-2023-25725"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", Fault.BAD_REQUEST, id="no colon"),
        pytest.param(b"GET / HTTP/1.1\r\nA\x00B: c\r\n\r\n", Fault.BAD_REQUEST, id="NUL in name"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", Fault.BAD_REQUEST, id="NUL in value"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\x0b\r\n\r\n", Fault.BAD_REQUEST, id="VT in value"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n", Fault.BAD_REQUEST, id="DEL in value"),
        pytest.param(b"GET / HTTP/1.1\r\nA\xe9: b\r\n\r\n", Fault.BAD_REQUEST, id="high in name"),
        pytest.param(b"GET / HTTP/1.1\r\nA(b): c\r\n\r\n", Fault.BAD_REQUEST, id="delimiter"),
        pytest.param(b"GET  / HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="two blanks"),
        pytest.param(b"GET\t/ HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="tab in request line"),
        pytest.param(b"GET / HTTP/1.1 \r\n\r\n", Fault.BAD_REQUEST, id="blank after version"),
        pytest.param(b" GET / HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="blank before method"),
        pytest.param(b"GET /\x00 HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="NUL in target"),
        pytest.param(b"GET /a\xc3\xa9 HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="high in target"),
        pytest.param(
            b"GET /a#b HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="fragment, CVE-2023-45539"
        ),
        pytest.param(b"GET /a b HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="blank in target"),
        pytest.param(b"G@T / HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="method not a token"),
        pytest.param(b"GET / HTTP/1.1\r\r\n\r\n", Fault.BAD_REQUEST, id="CR CR LF"),
        pytest.param(b"GET / http/1.1\r\n\r\n", Fault.BAD_REQUEST, id="version in lower case"),
        pytest.param(b"GET / HTTP/01.1\r\n\r\n", Fault.BAD_REQUEST, id="padded version"),
        pytest.param(b"GET /\r\n\r\n", Fault.BAD_REQUEST, id="HTTP/0.9"),
        pytest.param(
            b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="three empty lines before"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", Fault.BAD_REQUEST, id="two heads"
        ),
        pytest.param(b"GET / HTTP/1.2\r\n\r\n", Fault.VERSION, id="1.2"),
        pytest.param(b"GET / HTTP/2.0\r\n\r\n", Fault.VERSION, id="2.0"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\n", Fault.VERSION, id="HTTP/2 preface"),
        pytest.param(b"GET / HTTP/9\r\n\r\n", Fault.VERSION, id="9"),
        pytest.param(b"CONNECT a:443 HTTP/1.1\r\n\r\n", NOT_ALLOWED, id="CONNECT"),
        pytest.param(b"TRACE / HTTP/1.1\r\n\r\n", NOT_ALLOWED, id="TRACE"),
        pytest.param(b"FOO / HTTP/1.1\r\n\r\n", Fault.METHOD, id="unknown method"),
        pytest.param(b"get / HTTP/1.1\r\n\r\n", Fault.METHOD, id="method in lower case"),
        pytest.param(b"X" * 99 + b" / HTTP/1.1\r\n\r\n", Fault.METHOD, id="long method"),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"n" * 257 + b": v\r\n\r\n",
            Fault.HEAD_TOO_LARGE,
            id="name of 257 bytes, HAProxy CVE-2021-40346",
        ),
    ],
)
def test_an_ambiguous_request_head_is_refused(head, fault):
    assert fault_of(head) == fault


@pytest.mark.parametrize(
    ("head", "detail"),
    [
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", "bare LF"),
        (b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", "bare CR"),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "folded line"),
        (b"GET / HTTP/1.1\r\n: b\r\n\r\n", "empty field name"),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", "blank before a colon"),
        (b"GET / HTTP/1.1\r\nA\r\n\r\n", "field line without a colon"),
        (b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", "NUL byte"),
        (b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", "control byte"),
        (b"GET / HTTP/1.1 x\r\n\r\n", "malformed request line or field"),
    ],
)
def test_the_operator_reads_what_was_wrong(head, detail):
    with pytest.raises(HeadError, match=detail):
        check(head)


def test_a_target_at_its_bound_passes_and_one_byte_more_does_not():
    check(b"GET /" + b"a" * 99 + b" HTTP/1.1\r\n\r\n")
    assert fault_of(b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n\r\n") == Fault.TARGET_TOO_LONG


@pytest.mark.parametrize("before", [b"", b"\r\n\r\n"])
def test_fields_at_their_bound_pass_and_one_more_does_not(before):
    head = before + b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10
    check(head + b"\r\n")
    assert fault_of(head + b"A: b\r\n\r\n") == Fault.HEAD_TOO_LARGE


@pytest.mark.parametrize("status", [b"100", b"101", b"200", b"204", b"304", b"404", b"599"])
def test_a_clean_answer_head_passes(status):
    check_response_head(b"HTTP/1.1 " + status + b" OK\r\nA: b\r\n\r\n")
    check_response_head(b"HTTP/1.0 " + status + b" \r\n\r\n")
    check_response_head(b"HTTP/1.1 " + status + b"\r\n\r\n")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\nA: b\n\n", id="bare LF"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", id="folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", id="blank before colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: x\r\n\r\n", id="splitting by CR"),
        pytest.param(b"HTTP/1.1 200 O\x00K\r\n\r\n", id="NUL in reason"),
        pytest.param(b"HTTP/1.1 999 X\r\n\r\n", id="status 999"),
        pytest.param(b"HTTP/1.1 099 X\r\n\r\n", id="status 099"),
        pytest.param(b"HTTP/1.1 20 X\r\n\r\n", id="two digits"),
        pytest.param(b"HTTP/1.1 2000 X\r\n\r\n", id="four digits"),
        pytest.param(b"HTTP/1.1  200 X\r\n\r\n", id="two blanks"),
        pytest.param(b"HTTP/2 200\r\n\r\n", id="version"),
        pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", id="empty line before"),
        pytest.param(b"<html></html>\r\n\r\n", id="not HTTP"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x50\r\n\r\n", id="a TLS alert"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 257 + b"\r\n", id="too many fields"),
    ],
)
def test_a_broken_answer_head_is_the_upstreams_fault(head):
    with pytest.raises(HeadError) as caught:
        check_response_head(head)
    assert caught.value.fault == Fault.UPSTREAM_BAD_RESPONSE


def test_the_end_of_a_head_is_found_wherever_the_bytes_are_split():
    head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for first in range(len(head)):
        assert find_head_end(head[:first], 0) == -1
        assert find_head_end(head + b"body", first) == len(head)


@pytest.mark.parametrize("empty_lines", [0, 1, 2])
def test_a_head_that_comes_byte_by_byte_ends_where_it_ends(empty_lines):
    head = b"\r\n" * empty_lines + b"GET / HTTP/1.1\r\n\r\n"
    buffer = bytearray()
    ends = []
    for byte in head + b"\r\n":
        seen = len(buffer)
        buffer.append(byte)
        ends.append(find_head_end(buffer, seen))
    assert ends[len(head) - 1] == len(head)
    assert set(ends[: len(head) - 1]) == {-1}


def test_empty_lines_without_end_are_not_waited_for():
    end = find_head_end(b"\r\n" * 10, 0)
    assert end > 0
    assert fault_of(b"\r\n" * (end // 2)) == Fault.BAD_REQUEST


@pytest.mark.parametrize(
    ("begun", "fault"),
    [
        (b"GET /" + b"a" * 20_000, Fault.TARGET_TOO_LONG),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3_000, Fault.HEAD_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nCookie: " + b"a" * 20_000, Fault.HEAD_TOO_LARGE),
    ],
)
def test_a_head_over_its_size_is_refused_for_what_is_too_long(begun, fault):
    assert overflow_fault(begun, target_size_max=8192) == fault


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_the_check_fail_in_another_way(noise):
    for head in (noise, b"GET / HTTP/1.1\r\n" + noise + b"\r\n\r\n"):
        try:
            check(head)
        except HeadError:
            continue
        assert head.endswith(b"\r\n\r\n")
        assert b"\x00" not in head


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"a" * 64_000,
        b"GET / HTTP/1.1\r\n" + b"a:" * 32_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\x00",
        b"GET " + b"/" * 64_000,
        b"\r\n" * 32_000,
        b"a\r\n " * 16_000,
        b"a \t" * 20_000 + b"\r\n\r\n",
    ],
)
def test_the_check_is_linear_in_hostile_heads(head):
    def best(candidate):
        times = []
        for _ in range(3):
            begun = time.thread_time()  # what others take of the processor is no work of ours
            with pytest.raises(HeadError):
                check(candidate)
            times.append(time.thread_time() - begun)
        return min(times)

    # Eight times the bytes may cost eight times the work; a quadratic check would take 64.
    assert best(head * 8) < 30 * max(best(head), 0.001)


def test_methods_that_reach_elsewhere_are_not_served():
    assert METHODS.isdisjoint({b"CONNECT", b"TRACE", b"PRI"})


BEGUN = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: b\r", None, id="all well so far"),
    pytest.param(b"GET / HTTP/2.0\r\nA: b", None, id="the version is answered with the head"),
    pytest.param(b"\r\n\r\nGET / HTTP/1.1\r\n", None, id="empty lines before"),
    pytest.param(b"\r", None, id="half an empty line"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", Fault.BAD_REQUEST, id="bare LF"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\rX: y", Fault.BAD_REQUEST, id="bare CR"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", Fault.BAD_REQUEST, id="TLS"),
    pytest.param(b"GET /\r\n", Fault.BAD_REQUEST, id="HTTP/0.9"),
    pytest.param(b"\r\n\r\n\r\n", Fault.BAD_REQUEST, id="only empty lines"),
    pytest.param(b"EHLO example.com\r\n", Fault.BAD_REQUEST, id="SMTP"),
]


@pytest.mark.parametrize(("begun", "fault"), BEGUN)
def test_a_head_that_can_never_be_one_is_refused_before_its_end(begun, fault):
    assert begun_head_fault(begun, 0) == fault


@pytest.mark.parametrize(("begun", "fault"), BEGUN)
def test_the_same_is_found_byte_by_byte(begun, fault):
    found = [begun_head_fault(begun[: n + 1], n) for n in range(len(begun))]
    assert next((each for each in found if each is not None), None) == fault
