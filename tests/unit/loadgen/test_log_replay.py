"""An access log as load: real gaps, safe methods, and everything else counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from shedproxy.core import Criticality, milliseconds, seconds
from shedproxy.loadgen.log_replay import LoggedRequest, read_log, timed
from shedproxy.loadgen.requests import RequestSetError
from shedproxy.observability.access_log import AccessRecord, format_lines

COMMON = '10.0.0.1 - - [10/Oct/2000:13:55:{second} -0700] "{request} HTTP/1.1" 200 12'
COMBINED = COMMON + ' "https://x.example/" "curl/8 (\\"odd\\" agent)"'


def written(folder: Path, *lines: str) -> Path:
    file = folder / "access.log"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_common_and_combined_lines_are_read_and_a_second_is_spread(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        COMMON.format(second="36", request="GET /a?x=1"),
        COMBINED.format(second="36", request="HEAD /b"),
        COMMON.format(second="38", request="GET http://h.example/c"),
        COMMON.format(second="37", request="GET /late"),
    )
    reading = read_log(file)
    assert reading.is_coarse
    begin = reading.requests[0].at_s
    assert [(r.method, r.target, r.at_s - begin) for r in reading.requests] == [
        ("GET", "/a?x=1", 0.0), ("HEAD", "/b", 0.5), ("GET", "/late", 1.0), ("GET", "/c", 2.0),
    ]  # fmt: skip
    assert begin == 971211336
    assert reading.span_s == 2.0


def test_our_own_log_counts_from_when_requests_came(tmp_path: Path) -> None:
    record = AccessRecord(
        wall_s=1000.25, peer="10.0.0.1", method="GET", target=b"/a?secret", status=200, route="r",
        cell="default", criticality="sheddable", duration_ns=seconds(0.2), waited_ns=0, body_size=1,
    )  # fmt: skip
    (line,) = format_lines([record])
    file = written(tmp_path, line, '{"kind": "access", "suppressed": 4}')
    reading = read_log(file)
    (request,) = reading.requests
    assert request.at_s == pytest.approx(1000.05)
    assert (request.target, request.criticality) == ("/a", Criticality.SHEDDABLE)
    assert (reading.line_count, reading.unreadable_count) == (2, 1)


@pytest.mark.parametrize(
    "line",
    [
        '{"time": "2026-01-01T00:00:00.5Z", "method": "GET", "path": "/a"}',
        '{"time": "2026-01-01T00:00:00.5", "verb": "get", "uri": "/a"}',
        '{"ts": 1767225600.5, "request_method": "GET", "request_uri": "/a"}',
        '{"timestamp": 1767225600500, "request": "GET /a HTTP/1.1"}',
        '{"msec": "1767225600.5", "method": "GET", "url": "https://x.example/a"}',
    ],
)
def test_other_json_lines_are_read_by_their_usual_names(tmp_path: Path, line: str) -> None:
    (request,) = read_log(written(tmp_path, line)).requests
    assert request == LoggedRequest(1767225600.5, "GET", "/a", None)


def test_what_may_change_something_is_counted_and_only_sent_when_allowed(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        *(COMMON.format(second="36", request=f"{method} /a") for method in ("GET", "POST", "POST")),
        COMMON.format(second="36", request="DELETE /a"),
    )
    reading = read_log(file)
    assert len(reading.requests) == 1
    assert dict(reading.skipped) == {"POST": 2, "DELETE": 1}
    assert len(read_log(file, allowed=["post"]).requests) == 3


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "{", '{"method": "GET", "path": "/a"}', '{"time": [], "method": 1}',
        COMMON.format(second="99", request="GET /a"), COMMON.format(second="10", request="GET *"),
        '{"time": 1.5, "method": "GET", "path": "/a\\r\\nhost: evil"}',
        '{"time": Infinity, "method": "GET", "path": "/a"}',
        '{"time": 1.5, "kind": "access", "duration_ms": "x", "method": "GET", "path": "/a"}',
    ],
)  # fmt: skip
def test_what_is_no_request_is_counted_and_never_sent(tmp_path: Path, line: str) -> None:
    good = COMMON.format(second="36", request="GET /a")
    reading = read_log(written(tmp_path, line, good, ""))
    assert (reading.line_count, reading.unreadable_count, len(reading.requests)) == (2, 1, 1)


def test_a_log_with_nothing_to_send_says_why(tmp_path: Path) -> None:
    file = written(tmp_path, COMMON.format(second="36", request="POST /a"))
    with pytest.raises(RequestSetError, match=r"none of 1 lines .*not allowed: 1 POST"):
        read_log(file)
    with pytest.raises(RequestSetError, match="No such file"):
        read_log(tmp_path / "none.log")


def test_gaps_shrink_with_the_speed_and_equal_requests_are_one_kind() -> None:
    requests = [
        LoggedRequest(100.0, "GET", "/a", None),
        LoggedRequest(100.5, "GET", "/b", Criticality.SHEDDABLE),
        LoggedRequest(103.0, "GET", "/a", None),
    ]
    specs, schedule = timed(requests, speed=2.0, classes=[Criticality.CRITICAL] * 3)
    assert schedule == [(seconds(0), 0), (milliseconds(250), 1), (seconds(1.5), 0)]
    assert [(spec.path, spec.criticality) for spec in specs] == [
        ("/a", Criticality.CRITICAL), ("/b", Criticality.SHEDDABLE),
    ]  # fmt: skip
