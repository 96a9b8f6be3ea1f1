"""Durations, sizes, networks, addresses and upstreams are read as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shedproxy.settings import parse_duration, parse_size, show_duration
from shedproxy.settings.quantities import (
    Duration,
    HeaderName,
    ListenAddress,
    Network,
    PathPattern,
    Size,
    TenantKey,
    WorkerCount,
    is_duration,
    split_address,
)
from shedproxy.settings.upstreams import UpstreamUrl


@pytest.mark.parametrize(
    ("text", "length_ns"),
    [
        ("0", 0),
        ("0s", 0),
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("1m30s", 90_000_000_000),
        ("12h", 43_200_000_000_000),
        ("1d", 86_400_000_000_000),
        ("7us", 7_000),
        ("3ns", 3),
        (" 10s ", 10_000_000_000),
        ("0.1s", 100_000_000),
    ],
)
def test_durations(text, length_ns):
    assert parse_duration(text) == length_ns


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1 s", "1sec", "1e3s", "٣s", "366d", "1S"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(0, 365 * 86_400 * 10**9))
def test_a_shown_duration_is_read_back(length_ns):
    assert parse_duration(show_duration(length_ns)) == length_ns


@pytest.mark.parametrize(("processors", "count"), [(3, 3), (200, 64)])
def test_workers_may_be_as_many_as_processors(monkeypatch, processors, count):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    assert TypeAdapter(WorkerCount).validate_python("auto") == count


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("16KiB", 16384),
        ("64kB", 64000),
        ("1.5MiB", 1572864),
        ("1 GB", 10**9),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1B", "1KiBs", "1Tib", "1  KiB", "0x10"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError):
        parse_size(text)


def accepts(kind, value):
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return None


def refusal(kind, value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value, strict=True)
    (detail,) = caught.value.errors()
    return detail["ctx"]["message"], detail["ctx"]["help"]


def test_numbers_are_no_durations_except_zero_and_sizes_may_be_bytes():
    assert accepts(Duration, 0) == 0
    assert accepts(Size, 4096) == 4096
    for kind, value in [(Duration, 5), (Duration, True), (Duration, 1.5), (Duration, ["1s"]),
                        (Size, -1), (Size, True), (Size, 1.5), (Size, {})]:  # fmt: skip
        assert accepts(kind, value) is None


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.1.2.3", "::1/128", "fd00::/8", "unix"])
def test_networks(text):
    assert accepts(Network, text) == text


def test_what_is_no_network_is_explained():
    assert "did you mean" in refusal(Network, "10.0.0.1/8")[1]
    assert "CIDR" in refusal(Network, "localhost")[1]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:80", ("tcp", "127.0.0.1")),
        (":80", ("tcp", "")),
        ("[::1]:0", ("tcp", "[::1]")),
        ("edge-1.local:65535", ("tcp", "edge-1.local")),
        ("unix:/run/x", ("unix", "/run/x")),
        ("fd:3", ("fd", "3")),
        ("systemd", ("systemd", "")),
        ("systemd:web", ("systemd", "web")),
    ],
)
def test_addresses(text, parts):
    assert split_address(text) == parts
    assert accepts(ListenAddress, text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        "a:b",
        "a:65536",
        "::1:80",
        "[x]:80",
        "unix:",
        "fd:",
        "fd:x",
        "systemd:",
        "a b:80",
        "http://a:80",
    ],
)
def test_what_is_no_address(text):
    with pytest.raises(ValueError):
        split_address(text)
    assert accepts(ListenAddress, text) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a:80", "http://a:80"),
        ("http://a/", "http://a"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_upstreams(text, url):
    assert accepts(UpstreamUrl, text) == url


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("localhost:80", '"http://localhost:80"'),
        (":8000", '"http://127.0.0.1:8000"'),
        ("ftp://a", "http or https"),
        ("http://", "http://host:port"),
        ("http://a:0", "http://host:port"),
        ("http://a:99999", "from 1 to 65535"),
        ("http://u:p@a", "user and password"),
        ("http://a/b", 'write "http://a"'),
        ("http://a?x", "no path"),
        ("unix:rel", "unix:/absolute/path"),
        ("a b c", '"http://a"'),
    ],
)
def test_what_is_no_upstream_is_explained(text, part):
    assert part in refusal(UpstreamUrl, text)[1]


def test_names_of_headers_are_lower_case():
    assert accepts(HeaderName, "X-Tenant") == "x-tenant"
    assert accepts(HeaderName, "") is None
    assert accepts(HeaderName, "x:y") is None
    assert accepts(TenantKey, "@client") == "@client"
    assert accepts(TenantKey, "") == ""
    assert accepts(TenantKey, "X-T") == "x-t"


def test_patterns_of_paths_begin_with_a_slash_and_hold_no_query():
    for good in ("/", "/a/**", "*", "**", "/{id}"):
        assert accepts(PathPattern, good) == good
    assert refusal(PathPattern, "a")[1] == '"/a"'
    assert "query" in refusal(PathPattern, "/a?b")[0]
    assert "query" in refusal(PathPattern, "/a#b")[0]


def test_durations_are_recognised_by_annotation():
    assert is_duration(Duration)
    assert is_duration(Duration | None)
    assert not is_duration(Size)
    assert not is_duration(int)
