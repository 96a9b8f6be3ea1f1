"""What a head means: one row per way two readers could take it differently."""

import pytest

from shedproxy.dataplane.wire.framing import (
    BodyKind,
    HeadError,
    request_framing,
    response_framing,
)
from shedproxy.observability.fault import Fault

HOST = (b"host", b"a")


def request(*headers, method=b"POST", target=b"/", minor=1, host=True):
    return request_framing(method, minor, target, [*([HOST] if host else []), *headers])


def fault_of(*headers, **kwargs):
    with pytest.raises(HeadError) as caught:
        request(*headers, **kwargs)
    return caught.value.fault


def response(*headers, method=b"GET", status=200, minor=1):
    return response_framing(method, status, minor, list(headers))


LENGTH = b"content-length"
CODING = b"transfer-encoding"


# --- Bodies of requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "length"),
    [
        ([], BodyKind.NONE, -1),
        ([(LENGTH, b"0")], BodyKind.NONE, 0),
        ([(LENGTH, b"000")], BodyKind.NONE, 0),
        ([(LENGTH, b"5")], BodyKind.SIZED, 5),
        ([(LENGTH, b" 5\t")], BodyKind.SIZED, 5),
        ([(LENGTH, b"9223372036854775807")], BodyKind.SIZED, 2**63 - 1),
        ([(CODING, b"chunked")], BodyKind.CHUNKED, -1),
        ([(CODING, b"Chunked ")], BodyKind.CHUNKED, -1),
    ],
)
def test_a_body_has_one_framing(headers, body, length):
    framing = request(*headers)
    assert (framing.body, framing.length) == (body, length)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(LENGTH, b"")], id="empty, HAProxy CVE-2023-40225"),
        pytest.param([(LENGTH, b" ")], id="blank"),
        pytest.param([(LENGTH, b"+5")], id="plus"),
        pytest.param([(LENGTH, b"-5")], id="minus"),
        pytest.param([(LENGTH, b"1_0")], id="underscore, aiohttp CVE-2023-47627"),
        pytest.param([(LENGTH, b"0x5")], id="hex"),
        pytest.param([(LENGTH, b"5.0")], id="fraction"),
        pytest.param([(LENGTH, b"5 5")], id="two numbers"),
        pytest.param([(LENGTH, b"5, 5")], id="list of the same"),
        pytest.param([(LENGTH, b"5, 6")], id="list"),
        pytest.param([(LENGTH, b"\xb2")], id="superscript digit"),
        pytest.param([(LENGTH, b"5\x0b")], id="vertical tab"),
        pytest.param([(LENGTH, b"9223372036854775808")], id="over 63 bits"),
        pytest.param([(LENGTH, b"1" + b"0" * 5000)], id="5000 digits"),
        pytest.param([(LENGTH, b"5"), (LENGTH, b"6")], id="two that differ"),
        pytest.param([(LENGTH, b"5"), (LENGTH, b"5")], id="two that agree"),
        pytest.param([(LENGTH, b"5"), (CODING, b"chunked")], id="CL.TE, gunicorn CVE-2024-1135"),
        pytest.param([(CODING, b"chunked"), (LENGTH, b"5")], id="TE.CL"),
        pytest.param([(CODING, b"chunked"), (LENGTH, b"0")], id="TE and length 0"),
        pytest.param([(CODING, b"x"), (LENGTH, b"5")], id="unknown coding and length"),
        pytest.param([(CODING, b"chunked"), (CODING, b"chunked")], id="two fields"),
        pytest.param([(CODING, b"chunked, chunked")], id="chunked twice, Tornado"),
        pytest.param([(CODING, b"chunked, identity")], id="chunked not last"),
        pytest.param([(CODING, b"chunked, gzip")], id="chunked under gzip"),
        pytest.param([(CODING, b"")], id="no coding"),
        pytest.param([(CODING, b",chunked")], id="empty element"),
        pytest.param([(CODING, b"chunked,")], id="empty element after"),
        pytest.param([(CODING, b'"chunked"')], id="quoted"),
        pytest.param([(CODING, b"chunked;a=b")], id="parameter"),
        pytest.param([(CODING, b"\x0bchunked")], id="vertical tab, waitress CVE-2022-24761"),
        pytest.param([(CODING, b"chunked\x00")], id="NUL"),
    ],
)
def test_two_framings_or_a_doubtful_one_are_refused(headers):
    assert fault_of(*headers) == Fault.BAD_REQUEST


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"GZIP , deflate,Chunked"])
def test_a_coding_we_lack_is_not_implemented(coding):
    assert fault_of((CODING, coding)) == Fault.METHOD


@pytest.mark.parametrize(
    "coding", [b"gzip", b"identity", b"xchunked", b"chunke", b"chunked, gzip", b"chunked, chunked"]
)
def test_a_coding_that_does_not_end_in_chunked_has_no_end(coding):
    """RFC 9112 6.3, rule 4: 400, whether or not the coding is known."""
    assert fault_of((CODING, coding)) == Fault.BAD_REQUEST


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
def test_a_body_of_http_1_0_needs_a_length(method):
    assert fault_of(method=method, minor=0) == Fault.LENGTH_REQUIRED
    assert request((LENGTH, b"0"), method=method, minor=0).length == 0
    assert request(method=method).body == BodyKind.NONE


@pytest.mark.parametrize(
    ("te", "minor", "takes"),
    [
        ([], 1, False),
        ([b"trailers"], 1, True),
        ([b"deflate;q=0.5, Trailers"], 1, True),
        ([b"deflate", b"trailers"], 1, True),
        ([b"trailer"], 1, False),
        ([b"trailers;q=1"], 1, False),
        ([b"trailers"], 0, False),
    ],
)
def test_trailers_are_for_those_who_ask(te, minor, takes):
    headers = [(b"te", value) for value in te]
    assert request(*headers, method=b"GET", minor=minor).takes_trailers is takes


def test_options_that_is_meant_for_us_goes_no_further():
    last = (b"max-forwards", b"0")
    assert fault_of(last, method=b"OPTIONS") == Fault.METHOD_NOT_ALLOWED
    assert request(last, method=b"GET").path == b"/"
    assert request((b"max-forwards", b"10"), method=b"OPTIONS").path == b"/"
    assert request((b"max-forwards", b""), method=b"OPTIONS").path == b"/"


def test_transfer_encoding_does_not_exist_in_http_1_0():
    # Pingora CVE-2026-2836 and its group.
    assert fault_of((CODING, b"chunked"), minor=0) == Fault.BAD_REQUEST


def test_a_body_is_possible_on_every_method():
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
        assert request((LENGTH, b"5"), method=method).body == BodyKind.SIZED


# --- Host and target ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"example.com",
        b"example.com:8080",
        b"EXAMPLE.com.",
        b"my_service-1",
        b"127.0.0.1:1",
        b"[::1]",
        b"[2001:db8::1]:443",
    ],
)
def test_a_host_is_a_host_and_maybe_a_port(host):
    assert request((b"host", host), host=False).host == host


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a,b",
        b"a/b",
        b"a/../admin",
        b"a?b",
        b"a#b",
        b"user@a",
        b"a b",
        b"a\tb",
        b"a:b",
        b"a:80:80",
        b"a:123456",
        b":80",
        b"a:",
        b"[::1",
        b"::1",
        b"[::1]a",
        b"[g::1]",
        b"a\\b",
        b"a%00",
        b"a%2fb",
        b"\xc3\xa9.example",
        b'"a"',
        b"<script>",
        b"a" * 256,
    ],
)
def test_a_host_that_means_two_things_is_refused(host):
    # Starlette CVE-2026-48710: a slash in Host moved the path under another rule.
    assert fault_of((b"host", host), host=False) == Fault.BAD_REQUEST


@pytest.mark.parametrize(
    "host", [b"a:65536", b"[::1]:99999", b"[:::]", b"[1.2.3.4]", b"[1:2:3]", b"[]"]
)
def test_a_host_is_one_that_can_be(host):
    assert fault_of((b"host", host), host=False) == Fault.BAD_REQUEST
    assert fault_of(target=b"http://" + host + b"/") == Fault.BAD_REQUEST


def test_host_is_there_once():
    assert fault_of(host=False) == Fault.BAD_REQUEST
    assert fault_of(HOST) == Fault.BAD_REQUEST
    assert fault_of(HOST, minor=0, method=b"GET") == Fault.BAD_REQUEST
    assert request(host=False, minor=0, method=b"GET").host == b""


@pytest.mark.parametrize(
    ("method", "target", "host", "path"),
    [
        (b"GET", b"/", b"a", b"/"),
        (b"GET", b"/b?c=d", b"a", b"/b?c=d"),
        (b"GET", b"//b/../c", b"a", b"//b/../c"),
        (b"GET", b"http://b/c?d", b"b", b"/c?d"),
        (b"GET", b"HTTP://b:80/c", b"b:80", b"/c"),
        (b"GET", b"https://b", b"b", b"/"),
        (b"GET", b"http://b?c", b"b", b"/?c"),
        (b"GET", b"http://[::1]:8/c", b"[::1]:8", b"/c"),
        (b"OPTIONS", b"*", b"a", b"*"),
        (b"OPTIONS", b"http://b", b"b", b"*"),
        (b"OPTIONS", b"/c", b"a", b"/c"),
    ],
)
def test_every_form_of_target_becomes_one_host_and_one_path(method, target, host, path):
    framing = request(method=method, target=target)
    assert (framing.host, framing.path) == (host, path)


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"a:80",
        b"a",
        b"?b",
        b"http:///b",
        b"http://",
        b"http://user@b/",
        b"http://b,c/",
        b"http://b:x/",
        b"http:/b",
        b"ftp://b/",
        b"file:///etc/passwd",
        b"javascript:x",
    ],
)
def test_a_target_that_is_neither_path_nor_url_is_refused(target):
    assert fault_of(method=b"GET", target=target) == Fault.BAD_REQUEST


def test_an_absolute_target_does_not_excuse_a_bad_host():
    assert fault_of(target=b"http://b/", host=False) == Fault.BAD_REQUEST
    assert fault_of((b"host", b"x/y"), target=b"http://b/", host=False) == Fault.BAD_REQUEST


@pytest.mark.parametrize(
    ("method", "target"), [(b"CONNECT", b"a:443"), (b"CONNECT", b"/"), (b"TRACE", b"/")]
)
def test_connect_and_trace_are_not_served(method, target):
    assert fault_of(method=method, target=target) == Fault.METHOD_NOT_ALLOWED


# --- Connection, Expect, Upgrade ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("minor", "connection", "keep_alive"),
    [
        (1, [], True),
        (1, [b"keep-alive"], True),
        (1, [b"close"], False),
        (1, [b"Keep-Alive, CLOSE"], False),
        (1, [b"keep-alive", b"close"], False),
        (1, [b"x-close"], True),
        (0, [], False),
        (0, [b"Keep-Alive"], True),
        (0, [b"keep-alive, close"], False),
    ],
)
def test_persistence_follows_version_and_connection(minor, connection, keep_alive):
    fields = [(b"connection", value) for value in connection]
    assert request(*fields, minor=minor, method=b"GET").keep_alive is keep_alive
    assert response(*fields, (LENGTH, b"1"), minor=minor).keep_alive is keep_alive


def test_names_listed_in_connection_are_gathered_from_all_its_fields():
    framing = request(
        (b"connection", b"close, X-A"),
        (b"connection", b" ,x-b\t,"),
        (b"connection", b"x" * 100),
    )
    assert framing.connection_names == {b"close", b"x-a", b"x-b", b"x" * 100}


@pytest.mark.parametrize(
    ("minor", "length", "expects"), [(1, b"5", True), (1, b"0", False), (0, b"5", False)]
)
def test_100_continue_is_for_a_body_in_http_1_1(minor, length, expects):
    framing = request((b"expect", b"100-Continue"), (LENGTH, length), minor=minor)
    assert framing.expect_continue is expects


@pytest.mark.parametrize("value", [b"", b"200-ok", b"100-continue, x", b"100"])
def test_any_other_expectation_fails(value):
    assert fault_of((b"expect", value)) == Fault.EXPECTATION


WEBSOCKET = [(b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"WebSocket")]


def test_an_upgrade_is_offered_when_connection_says_so():
    assert request(*WEBSOCKET, method=b"GET").upgrade == b"websocket"
    assert request(*WEBSOCKET, (LENGTH, b"0")).upgrade == b"websocket"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"upgrade", b"websocket")], id="not in Connection"),
        pytest.param([(b"connection", b"upgrade")], id="no Upgrade"),
        pytest.param([(b"connection", b"upgrade"), (b"upgrade", b"")], id="empty"),
        pytest.param([(b"connection", b"upgrade"), (b"upgrade", b"websocket, x")], id="two"),
        pytest.param([*WEBSOCKET, (b"upgrade", b"x")], id="two fields"),
        pytest.param([(b"connection", b"upgrade"), (b"upgrade", b"h2c")], id="h2c smuggling"),
        pytest.param([(b"connection", b"upgrade"), (b"upgrade", b"H2C")], id="h2c, upper case"),
        pytest.param([(b"connection", b"upgrade"), (b"upgrade", b"HTTP/2.0")], id="HTTP/2.0"),
        pytest.param([(b"connection", b"upgrade"), (b"upgrade", b"TLS/1.0")], id="TLS"),
        pytest.param([*WEBSOCKET, (LENGTH, b"5")], id="with a sized body"),
        pytest.param([*WEBSOCKET, (CODING, b"chunked")], id="with a chunked body"),
    ],
)
def test_an_upgrade_that_would_smuggle_is_ignored(headers):
    # Pingora CVE-2026-2833, nghttpx CVE-2026-58055: the request stays an ordinary one.
    assert request(*headers).upgrade == b""


def test_http_1_0_cannot_upgrade():
    assert request(*WEBSOCKET, minor=0, method=b"GET").upgrade == b""


# --- Answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "headers", "body", "length", "keep_alive"),
    [
        pytest.param(b"GET", 200, [(LENGTH, b"5")], BodyKind.SIZED, 5, True, id="sized"),
        pytest.param(b"GET", 200, [(LENGTH, b"0")], BodyKind.NONE, 0, True, id="empty"),
        pytest.param(b"GET", 200, [(CODING, b"chunked")], BodyKind.CHUNKED, -1, True, id="chunked"),
        pytest.param(b"GET", 200, [], BodyKind.UNTIL_CLOSE, -1, False, id="until close"),
        pytest.param(b"HEAD", 200, [(LENGTH, b"5")], BodyKind.NONE, 5, True, id="HEAD with length"),
        pytest.param(b"HEAD", 200, [(CODING, b"chunked")], BodyKind.NONE, -1, True, id="HEAD"),
        pytest.param(b"HEAD", 200, [], BodyKind.NONE, -1, True, id="HEAD without framing"),
        pytest.param(b"GET", 304, [(LENGTH, b"5")], BodyKind.NONE, 5, True, id="304 with length"),
        pytest.param(b"GET", 304, [], BodyKind.NONE, -1, True, id="304"),
        pytest.param(b"GET", 204, [], BodyKind.NONE, -1, True, id="204"),
        pytest.param(b"GET", 204, [(LENGTH, b"0")], BodyKind.NONE, -1, True, id="204, length 0"),
        pytest.param(b"GET", 204, [(LENGTH, b"5")], BodyKind.NONE, -1, False, id="204, length 5"),
        pytest.param(b"GET", 204, [(CODING, b"chunked")], BodyKind.NONE, -1, False, id="204, TE"),
        pytest.param(b"GET", 103, [(LENGTH, b"5")], BodyKind.NONE, -1, False, id="103, length"),
        pytest.param(b"GET", 100, [], BodyKind.NONE, -1, True, id="100"),
        pytest.param(b"GET", 205, [(LENGTH, b"0")], BodyKind.NONE, 0, True, id="205"),
        pytest.param(b"POST", 500, [], BodyKind.UNTIL_CLOSE, -1, False, id="500 until close"),
    ],
)
def test_the_end_of_an_answer_is_known(method, status, headers, body, length, keep_alive):
    framing = response(*headers, method=method, status=status)
    assert (framing.body, framing.length, framing.keep_alive) == (body, length, keep_alive)


@pytest.mark.parametrize(
    ("minor", "headers"),
    [
        (1, [(LENGTH, b"5"), (CODING, b"chunked")]),
        (1, [(LENGTH, b"5"), (LENGTH, b"6")]),
        (1, [(LENGTH, b"5"), (LENGTH, b"5")]),
        (1, [(LENGTH, b"5, 5")]),
        (1, [(LENGTH, b"-1")]),
        (1, [(LENGTH, b"")]),
        (1, [(CODING, b"gzip, chunked")]),
        (1, [(CODING, b"chunked, chunked")]),
        (1, [(CODING, b"identity")]),
        (0, [(CODING, b"chunked")]),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_an_answer_with_a_doubtful_framing_is_the_upstreams_fault(method, minor, headers):
    with pytest.raises(HeadError) as caught:
        response(*headers, method=method, minor=minor)
    assert caught.value.fault == Fault.UPSTREAM_BAD_RESPONSE


@pytest.mark.parametrize(
    ("value", "is_event_stream"),
    [
        (b"text/event-stream", True),
        (b"Text/Event-Stream; charset=utf-8", True),
        (b"text/plain", False),
        (b"application/x-text/event-stream", False),
    ],
)
def test_an_event_stream_is_seen_by_its_type(value, is_event_stream):
    assert response((b"content-type", value)).is_event_stream is is_event_stream


def test_a_101_names_the_protocol_it_switches_to():
    upgrade = [(b"connection", b"upgrade"), (b"upgrade", b"WebSocket")]
    assert response(*upgrade, status=101).upgrade == b"websocket"
    assert response(*upgrade, status=200).upgrade == b""
    for fields in ([], [*upgrade, (b"upgrade", b"x")], [(b"upgrade", b"h2c")]):
        with pytest.raises(HeadError) as caught:
            response(*fields, status=101)
        assert caught.value.fault == Fault.UPSTREAM_BAD_RESPONSE


def test_names_listed_in_the_answers_connection_are_known():
    assert response((b"connection", b"X-A, close")).connection_names == {b"x-a", b"close"}
