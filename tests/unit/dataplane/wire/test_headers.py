"""What goes through a hop, what ends there, and what is ours to say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.dataplane.wire.framing import BodyKind, request_framing, response_framing
from shedproxy.dataplane.wire.grammar import check_request_head, check_response_head
from shedproxy.dataplane.wire.headers import (
    CONTINUE,
    answer_body,
    build_request_head,
    build_response_head,
    header_context,
    last_chunk,
)

CONTEXT = header_context()


def send(
    *headers,
    context=CONTEXT,
    method=b"GET",
    target=b"/p?q",
    minor=1,
    host=b"site",
    trusted=False,
    peer=b"192.0.2.7",
    **kwargs,
):
    """The request line and the fields (name, value) of the forwarded head."""
    received = [(b"host", host), *headers] if host else list(headers)
    framing = request_framing(method, minor, target, received)
    head = build_request_head(
        context,
        method,
        framing,
        received,
        version_minor=minor,
        peer=peer,
        is_trusted=trusted,
        authority=b"upstream:81",
        criticality=b"critical",
        **kwargs,
    )
    check_request_head(head, target_size_max=8192, field_count_max=100)
    return parse(head)


def answer(
    *headers, status=200, reason=b"", method=b"GET", upstream_minor=1, minor=1, keep=True, date=b""
):
    framing = response_framing(method, status, upstream_minor, list(headers))
    head = build_response_head(
        status, reason, framing, list(headers), version_minor=minor, keep_alive=keep, date=date
    )
    check_response_head(head)
    return parse(head)


def parse(head):
    first, *lines = head[:-4].split(b"\r\n")
    return first, [tuple(line.split(b": ", 1)) for line in lines]


def values(fields, name):
    return [value for field, value in fields[1] if field == name]


# --- Towards the upstream -----------------------------------------------------------------------


def test_a_plain_request_goes_through_with_what_the_hop_adds():
    assert send((b"user-agent", b"x/1"), (b"accept", b"*/*"), (b"x-own", b" a  b")) == (
        b"GET /p?q HTTP/1.1",
        [
            (b"host", b"site"),
            (b"user-agent", b"x/1"),
            (b"accept", b"*/*"),
            (b"x-own", b" a  b"),
            (b"x-forwarded-for", b"192.0.2.7"),
            (b"x-forwarded-proto", b"http"),
            (b"x-forwarded-host", b"site"),
            (b"x-criticality", b"critical"),
            (b"via", b"1.1 shedproxy"),
        ],
    )


def test_order_and_repetition_of_fields_are_kept():
    cookies = [(b"cookie", b"a=1"), (b"x-own", b"1"), (b"cookie", b"b=2"), (b"x-own", b"2")]
    assert send(*cookies)[1][1:5] == cookies


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
        b"proxy",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-anything",
        b"x_priority",
        b"content_length",
        b"transfer_encoding",
        b"shedproxy-pressure",
        b"shedproxy-anything",
    ],
)
@pytest.mark.parametrize("trusted", [False, True])
def test_what_ends_at_this_hop_or_is_ours_is_not_forwarded(name, trusted):
    assert values(send((name, b"x"), trusted=trusted), name) == []


def test_expect_is_answered_here_and_not_forwarded():
    fields = send((b"expect", b"100-continue"), (b"content-length", b"1"), method=b"POST")
    assert values(fields, b"expect") == []


def test_names_listed_in_connection_end_here():
    fields = send((b"connection", b"x-hop, close"), (b"x-hop", b"1"), (b"x-own", b"2"))
    assert values(fields, b"x-hop") == []
    assert values(fields, b"x-own") == [b"2"]
    assert values(fields, b"connection") == []


@pytest.mark.parametrize(
    "name", [b"cookie", b"authorization", b"x-tenant", b"x-shedproxy-task", b"traceparent"]
)
def test_connection_cannot_take_away_what_policy_needs(name):
    context = header_context(policy_headers=("X-Tenant", "x-shedproxy-task"))
    fields = send((b"connection", name), (name, b"v"), context=context)
    assert values(fields, name) == [b"v"]


def test_connection_cannot_take_away_host_length_or_the_forwarded_chain():
    fields = send(
        (b"connection", b"host, content-length, x-forwarded-for, x-criticality, via"),
        (b"content-length", b"3"),
        method=b"POST",
    )
    assert values(fields, b"host") == [b"site"]
    assert values(fields, b"content-length") == [b"3"]
    assert values(fields, b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(fields, b"x-criticality") == [b"critical"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([(b"content-length", b"0")], [(b"content-length", b"0")]),
        ([(b"content-length", b"007")], [(b"content-length", b"7")]),
        ([(b"transfer-encoding", b"CHUNKED")], [(b"transfer-encoding", b"chunked")]),
    ],
)
def test_framing_is_written_anew(headers, expected):
    fields = send(*headers, method=b"POST")[1]
    assert [pair for pair in fields if pair[0] in {b"content-length", b"transfer-encoding"}] == (
        expected
    )


def test_an_upgrade_is_asked_for_anew():
    fields = send(
        (b"connection", b"keep-alive, Upgrade"),
        (b"upgrade", b"WebSocket"),
        (b"sec-websocket-key", b"k"),
    )
    assert values(fields, b"connection") == [b"upgrade"]
    assert values(fields, b"upgrade") == [b"websocket"]
    assert values(fields, b"sec-websocket-key") == [b"k"]


def test_h2c_is_not_passed_on():
    fields = send(
        (b"connection", b"Upgrade, HTTP2-Settings"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAMAAABkAAQAAP__"),
    )
    for name in (b"connection", b"upgrade", b"http2-settings"):
        assert values(fields, name) == []


def test_an_absolute_target_is_forwarded_as_the_path_that_was_classified():
    fields = send(target=b"http://other:8/x?y")
    assert fields[0] == b"GET /x?y HTTP/1.1"
    assert values(fields, b"host") == [b"other:8"]


def test_the_upstreams_own_name_is_sent_when_host_is_not_preserved_or_absent():
    assert values(send(context=header_context(preserve_host=False)), b"host") == [b"upstream:81"]
    fields = send(host=b"", minor=0)
    assert values(fields, b"host") == [b"upstream:81"]
    assert values(fields, b"x-forwarded-host") == []


def test_via_says_the_version_received():
    assert values(send(minor=0), b"via") == [b"1.0 shedproxy"]
    assert values(send((b"via", b"1.1 a")), b"via") == [b"1.1 a", b"1.1 shedproxy"]
    assert values(send(context=header_context(via="")), b"via") == []


SPOOFED = [
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-for", b"10.0.0.2"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"front"),
    (b"x-forwarded-port", b"443"),
    (b"x-forwarded-prefix", b"/admin"),
    (b"x-real-ip", b"10.0.0.1"),
    (b"forwarded", b"for=10.0.0.1"),
]


def test_a_strangers_forwarded_fields_are_replaced():
    fields = send(*SPOOFED)
    assert values(fields, b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(fields, b"x-forwarded-proto") == [b"http"]
    assert values(fields, b"x-forwarded-host") == [b"site"]
    assert values(fields, b"forwarded") == [b'for=192.0.2.7;proto=http;host="site"']
    for name in (b"x-forwarded-port", b"x-forwarded-prefix", b"x-real-ip"):
        assert values(fields, name) == []


def test_a_trusted_peers_forwarded_fields_are_extended():
    fields = send(*SPOOFED, trusted=True, peer=b"2001:db8::1")
    assert values(fields, b"x-forwarded-for") == [b"10.0.0.1, 10.0.0.2, 2001:db8::1"]
    assert values(fields, b"x-forwarded-proto") == [b"https"]
    assert values(fields, b"x-forwarded-host") == [b"front"]
    assert values(fields, b"x-forwarded-port") == [b"443"]
    assert values(fields, b"x-real-ip") == [b"10.0.0.1"]
    assert values(fields, b"forwarded") == [
        b'for=10.0.0.1, for="[2001:db8::1]";proto=http;host="site"'
    ]


def test_a_peer_without_an_address_adds_none():
    assert values(send(peer=b""), b"x-forwarded-for") == []
    assert values(send(peer=b""), b"x-forwarded-proto") == [b"http"]
    assert values(send(*SPOOFED, peer=b""), b"x-forwarded-for") == []
    assert values(send(*SPOOFED, peer=b"", trusted=True), b"x-forwarded-for") == [
        b"10.0.0.1, 10.0.0.2"
    ]


def test_criticality_is_what_was_decided_whoever_claims_another():
    for trusted in (False, True):
        fields = send((b"x-criticality", b"critical_plus"), trusted=trusted)
        assert values(fields, b"x-criticality") == [b"critical"]


def test_a_strangers_criticality_stops_here_even_when_ours_is_not_sent():
    context = header_context(forward_criticality=False)
    claim = (b"x-criticality", b"critical_plus")
    assert values(send(claim, context=context), b"x-criticality") == []
    assert values(send(claim, context=context, trusted=True), b"x-criticality") == [
        b"critical_plus"
    ]


def test_the_criticality_header_is_the_configured_one():
    context = header_context(criticality_header="X-Importance")
    fields = send((b"x-importance", b"sheddable"), context=context)
    assert values(fields, b"x-importance") == [b"critical"]


def test_the_remaining_time_replaces_what_came():
    fields = send(
        (b"x-request-timeout-ms", b"1000000000"),
        (b"x-envoy-expected-rq-timeout-ms", b"900"),
        time_left_ms=250,
    )
    assert values(fields, b"x-request-timeout-ms") == [b"250"]
    assert values(fields, b"x-envoy-expected-rq-timeout-ms") == [b"250"]
    fields = send(time_left_ms=250)
    assert values(fields, b"x-request-timeout-ms") == [b"250"]
    assert values(fields, b"x-envoy-expected-rq-timeout-ms") == []


def test_an_unknown_remaining_time_leaves_what_came():
    assert values(send((b"x-request-timeout-ms", b"7")), b"x-request-timeout-ms") == [b"7"]
    assert values(send(), b"x-request-timeout-ms") == []


@pytest.mark.parametrize(
    ("came", "retries", "sent"),
    [
        ([], 0, []),
        ([], 1, [b"2"]),
        ([b"3"], 0, [b"3"]),
        ([b"3"], 1, [b"4"]),
        ([b"nonsense"], 1, [b"2"]),
        ([b"9" * 5000], 1, [b"2"]),
    ],
)
def test_our_own_retries_are_added_to_the_attempts_that_came(came, retries, sent):
    headers = [(b"x-envoy-attempt-count", value) for value in came]
    assert values(send(*headers, retries=retries), b"x-envoy-attempt-count") == sent


PRESSURE = b"shedproxy-pressure: 0.42"


def test_pressure_is_sent_when_asked():
    assert values(send(added=PRESSURE), b"shedproxy-pressure") == [b"0.42"]
    fields = send((b"shedproxy-pressure", b"0.00"), added=PRESSURE, trusted=True)
    assert values(fields, b"shedproxy-pressure") == [b"0.42"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"via": "a\r\nx: y"},
        {"criticality_header": "x y"},
        {"attempt_headers": ("x\n",)},
        {"policy_headers": ("\u20ac",)},
    ],
)
def test_a_name_that_would_break_the_head_is_refused(wrong):
    with pytest.raises(ValueError, match="name"):
        header_context(**wrong)


token = st.text("abcdefghijklmnopqrstuvwxyz-_", min_size=1, max_size=12).map(str.encode)
value = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(
    lambda text: text.strip().encode()
)


@settings(deadline=None)
@given(st.lists(st.tuples(token, value), max_size=12), st.booleans())
def test_whatever_comes_one_clean_head_goes(pairs, trusted):
    framing = {b"host", b"content-length", b"transfer-encoding", b"expect"}
    fields = send(*(pair for pair in pairs if pair[0] not in framing), trusted=trusted)
    assert len(values(fields, b"host")) == 1
    assert len(values(fields, b"x-criticality")) == 1
    assert not any(b"_" in name for name, _ in fields[1])


# --- Towards the client -------------------------------------------------------------------------


def test_a_plain_answer_goes_through():
    assert answer(
        (b"server", b"x"), (b"content-length", b"5"), (b"set-cookie", b"a"), (b"set-cookie", b"b")
    ) == (
        b"HTTP/1.1 200 OK",
        [
            (b"server", b"x"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"content-length", b"5"),
        ],
    )


def test_the_upstreams_own_reason_is_kept():
    assert answer(reason=b"Fine")[0] == b"HTTP/1.1 200 Fine"
    assert answer(status=299)[0] == b"HTTP/1.1 299 "


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"trailer",
        b"upgrade",
        b"shedproxy-reason",
        b"shedproxy-id",
        b"shedproxy-anything",
    ],
)
def test_what_ends_at_this_hop_or_is_ours_is_not_answered(name):
    assert values(answer((name, b"x"), (b"content-length", b"1")), name) == []


def test_names_listed_in_the_answers_connection_end_here_but_not_cookies():
    fields = answer((b"connection", b"x-hop, set-cookie"), (b"x-hop", b"1"), (b"set-cookie", b"a"))
    assert values(fields, b"x-hop") == []
    assert values(fields, b"set-cookie") == [b"a"]


LENGTH = (b"content-length", b"5")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "kwargs", "framing", "connection"),
    [
        pytest.param([LENGTH], {}, [LENGTH], [], id="1.1"),
        pytest.param([LENGTH], {"keep": False}, [LENGTH], [b"close"], id="1.1, close"),
        pytest.param([LENGTH], {"minor": 0}, [LENGTH], [b"keep-alive"], id="1.0, keep"),
        pytest.param([LENGTH], {"minor": 0, "keep": False}, [LENGTH], [b"close"], id="1.0, close"),
        pytest.param([CHUNKED], {}, [CHUNKED], [], id="chunked"),
        pytest.param([CHUNKED], {"minor": 0}, [], [b"close"], id="chunked to 1.0"),
        pytest.param([], {}, [CHUNKED], [], id="until close becomes chunked"),
        pytest.param([], {"minor": 0}, [], [b"close"], id="until close to 1.0"),
        pytest.param([], {"upstream_minor": 0}, [CHUNKED], [], id="1.0 upstream"),
        pytest.param([LENGTH], {"method": b"HEAD"}, [LENGTH], [], id="HEAD says the length"),
        pytest.param([CHUNKED], {"method": b"HEAD"}, [], [], id="HEAD, chunked"),
        pytest.param([], {"method": b"HEAD"}, [], [], id="HEAD, nothing said"),
        pytest.param([LENGTH], {"status": 304}, [LENGTH], [], id="304 says the length"),
        pytest.param([LENGTH], {"status": 204}, [], [], id="204 has no length"),
        pytest.param([CHUNKED], {"status": 204}, [], [], id="204 has no coding"),
    ],
)
def test_each_client_gets_a_framing_it_understands(headers, kwargs, framing, connection):
    fields = answer(*headers, **kwargs)
    sent = [pair for pair in fields[1] if pair[0] in {b"content-length", b"transfer-encoding"}]
    assert sent == framing
    assert values(fields, b"connection") == connection


@pytest.mark.parametrize(
    ("body", "minor", "expected"),
    [
        (BodyKind.NONE, 1, BodyKind.NONE),
        (BodyKind.SIZED, 0, BodyKind.SIZED),
        (BodyKind.CHUNKED, 1, BodyKind.CHUNKED),
        (BodyKind.CHUNKED, 0, BodyKind.UNTIL_CLOSE),
        (BodyKind.UNTIL_CLOSE, 1, BodyKind.CHUNKED),
        (BodyKind.UNTIL_CLOSE, 0, BodyKind.UNTIL_CLOSE),
    ],
)
def test_a_body_without_length_goes_in_chunks_where_there_are_chunks(body, minor, expected):
    assert answer_body(body, minor) == expected


def test_a_101_keeps_its_upgrade_and_nothing_of_framing():
    fields = answer(
        (b"connection", b"Upgrade"),
        (b"upgrade", b"WebSocket"),
        (b"sec-websocket-accept", b"k"),
        status=101,
    )
    assert fields == (
        b"HTTP/1.1 101 Switching Protocols",
        [
            (b"sec-websocket-accept", b"k"),
            (b"connection", b"upgrade"),
            (b"upgrade", b"websocket"),
        ],
    )


def test_an_interim_answer_says_nothing_of_framing_or_connection():
    assert answer((b"link", b"x"), LENGTH, status=103, keep=False) == (
        b"HTTP/1.1 103 Early Hints",
        [(b"link", b"x")],
    )
    check_response_head(CONTINUE)


def test_a_426_says_which_protocol_it_wants():
    fields = answer((b"connection", b"upgrade"), (b"upgrade", b"websocket"), LENGTH, status=426)
    assert values(fields, b"upgrade") == [b"websocket"]
    assert values(fields, b"connection") == [b"upgrade"]


@pytest.mark.parametrize(
    ("came", "sent"),
    [
        (b"3", b"3"),
        (b"86400", b"86400"),
        (b"999999", b"86400"),
        (b"9" * 5000, b"86400"),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
)
def test_an_absurd_retry_after_of_the_upstream_is_clamped(came, sent):
    assert values(answer((b"retry-after", came), status=503), b"retry-after") == [sent]


def test_a_retry_after_that_says_nothing_is_left_out():
    for nonsense in (b"-1", b"soon", b"", b"1.5", b"1, 2"):
        assert values(answer((b"retry-after", nonsense), status=503), b"retry-after") == []


def test_hops_of_options_are_counted_down():
    hops = b"max-forwards"
    assert values(send((hops, b"3"), method=b"OPTIONS"), hops) == [b"2"]
    assert values(send((hops, b"many"), method=b"OPTIONS"), hops) == [b"many"]
    assert values(send((hops, b"3")), hops) == [b"3"]


def test_te_trailers_is_said_anew_at_this_hop():
    line, fields = send((b"te", b"gzip, trailers"), (b"connection", b"te"))
    assert [pair for pair in fields if pair[0] in {b"te", b"connection"}] == [
        (b"connection", b"te"),
        (b"te", b"trailers"),
    ]
    assert values(send((b"te", b"gzip")), b"te") == []


def test_the_trailers_that_end_an_answer_are_those_without_effect_on_it():
    kept = [(b"grpc-status", b"0"), (b"etag", b'"1"'), (b"content-digest", b"x")]
    dropped = [
        (name, b"x")
        for name in (
            *(b"content-length", b"transfer-encoding", b"host", b"connection", b"set-cookie"),
            *(b"content-type", b"content-encoding", b"location", b"cache-control", b"vary"),
            *(b"www-authenticate", b"authorization", b"retry-after", b"te", b"trailer"),
            *(b"shedproxy-id", b"proxy-status", b"a_b", b"x-forwarded-for", b"age", b"date"),
        )
    ]
    assert last_chunk(kept + dropped) == (
        b'0\r\ngrpc-status: 0\r\netag: "1"\r\ncontent-digest: x\r\n\r\n'
    )
    assert last_chunk(dropped) == last_chunk([]) == b"0\r\n\r\n"


def test_when_a_request_reached_us_is_for_our_peers_to_say():
    said = (b"x-request-start", b"t=1700000000.000")
    assert values(send(said), said[0]) == []
    assert values(send(said, trusted=True), said[0]) == [said[1]]


def test_a_date_is_added_only_where_there_is_none():
    assert values(answer(date=b"now"), b"date") == [b"now"]
    assert values(answer((b"date", b"then"), date=b"now"), b"date") == [b"then"]


def test_a_guest_carries_the_name_of_its_own_cell_and_nobody_else_may_say_so():
    assert values(send(added=b"shedproxy-spilled-from: a"), b"shedproxy-spilled-from") == [b"a"]
    fields = send((b"shedproxy-spilled-from", b"x"), trusted=True)
    assert values(fields, b"shedproxy-spilled-from") == []
