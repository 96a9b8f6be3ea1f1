"""What headers say, parsed: nonsense says nothing, and every value has a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import NS_PER_S, milliseconds, seconds
from shedproxy.dataplane.hints import (
    DEADLINE_MAX_NS,
    canonical_tenant,
    is_repeated,
    parse_deadline_ns,
    parse_queued_ns,
    parse_urgency,
    trace_id,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b" 250 ", milliseconds(250)),
        (b"1000000000", DEADLINE_MAX_NS),
        (b"9" * 5000, DEADLINE_MAX_NS),
        (b"1H", DEADLINE_MAX_NS),
        (b"2H", DEADLINE_MAX_NS),
        (b"2M", seconds(120)),
        (b"3S", seconds(3)),
        (b"4m", milliseconds(4)),
        (b"5u", 5000),
        (b"6n", 6),
        (b"123456789m", None),
        (b"-1", None),
        (b"+5", None),
        (b"1e9", None),
        (b"NaN", None),
        (b"inf", None),
        (b"1.5", None),
        (b"", None),
        (b"m", None),
        (b"5s", None),
        ("٣".encode(), None),
    ],
)
def test_deadlines(value, expected):
    assert parse_deadline_ns(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"u=0", 0),
        (b"i, u=6", 6),
        (b"u=5;x=1, i", 5),
        (b"u=1, u=7", 7),
        (b"", 3),
        (b"u=8", 3),
        (b"u=", 3),
        (b"u=-1", 3),
        (b"u=55", 3),
        (b"U=7", 3),
    ],
)
def test_urgency(value, expected):
    assert parse_urgency(value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"x-retry-attempt", b"1", False),
        (b"x-retry-attempt", b" 2 ", True),
        (b"x-retry-attempt", b"", False),
        (b"grpc-previous-rpc-attempts", b"1", True),
        (b"grpc-previous-rpc-attempts", b"0", False),
    ],
)
def test_attempts(name, value, expected):
    assert is_repeated(name, value) is expected


@given(st.binary(max_size=600))
def test_no_bytes_break_a_parser(value):
    left = parse_deadline_ns(value)
    assert left is None or 0 <= left <= DEADLINE_MAX_NS
    assert 0 <= parse_urgency(value) <= 7
    is_repeated(b"x", value)
    assert len(trace_id(value)) in {0, 32}
    canonical_tenant(value)


@given(st.text(max_size=60))
def test_a_canonical_tenant_stays_as_it_is(text):
    once = canonical_tenant(text.encode("utf-8", "surrogateescape")[:240])
    if once.isascii():
        assert canonical_tenant(once) == once


def test_upper_case_and_wide_letters_are_one_tenant():
    assert canonical_tenant("Straße".encode()) == canonical_tenant("STRASSE".encode())
    assert canonical_tenant("\u00a0acme".encode()) == b"acme"


NOW = 1_700_000_000 * NS_PER_S


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"t=1699999999.250", milliseconds(750)),
        (b"1699999999.250", milliseconds(750)),
        (b"t=1699999998", seconds(2)),
        (b"1699999999250", milliseconds(750)),
        (b"t=1699999999250000", milliseconds(750)),
        (b"t=1699999999250.5", milliseconds(749.5)),
        (b"1700000000", 0),
        (b"1699999940", seconds(60)),
        (b"1699999939", 0),
        (b"1700000001", 0),
        (b"t=", 0),
        (b"t=-5", 0),
        (b"t=1e9", 0),
        (b"NaN", 0),
        (b"t=0", 0),
        (b"9" * 99, 0),
        ("١٦٩٩٩٩٩٩٩٩".encode(), 0),
    ],
)
def test_how_long_a_request_waited_before_us(value, expected):
    assert parse_queued_ns(value, NOW) == expected
