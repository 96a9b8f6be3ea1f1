"""Refusals are logged at a bounded rate, the rest by share, and no line can be forged."""

from __future__ import annotations

import json

import pytest

from shedproxy.core import NS_PER_S, Instant
from shedproxy.observability.access_log import (
    LINES_MAX,
    REFUSALS_PER_S,
    AccessLog,
    AccessRecord,
    format_event,
    format_lines,
)
from shedproxy.observability.meter import Meter
from shedproxy.observability.metric import ProcessCounter


def record(**changes) -> AccessRecord:
    values = {
        "wall_s": 1_767_225_600.25,
        "peer": "192.0.2.1",
        "method": "GET",
        "target": b"/cart",
        "status": 200,
        "route": "cart",
        "cell": "shop",
        "criticality": "critical",
        "duration_ns": 2_500_000,
        "waited_ns": 1_250_000,
        "body_size": 12,
    }
    return AccessRecord(**(values | changes))


def fields_of(**changes):
    (line,) = format_lines([record(**changes)])
    return json.loads(line)


def test_a_share_of_the_admitted_is_logged_evenly():
    log = AccessLog("sampled", 0.25)
    assert [log.wants_admitted() for _ in range(8)] == [False, False, False, True] * 2


def test_all_and_off_mean_what_they_say():
    complete = AccessLog("all", 0.0)
    now = Instant(1)
    assert all(complete.wants_admitted() for _ in range(3))
    assert all(complete.wants_refused(now) for _ in range(REFUSALS_PER_S + 1))
    silent = AccessLog("off", 1.0)
    assert not silent.wants_admitted()
    assert not silent.wants_refused(now)


def test_refusals_have_a_rate_and_the_rest_is_counted():
    meter = Meter()
    log = AccessLog("sampled", 0.0, meter=meter)
    now = Instant(10 * NS_PER_S)
    assert sum(log.wants_refused(now) for _ in range(1000)) == REFUSALS_PER_S
    later = Instant(now + NS_PER_S // 2)
    assert sum(log.wants_refused(later) for _ in range(1000)) == REFUSALS_PER_S // 2
    (line,) = log.flush()
    suppressed = 2000 - REFUSALS_PER_S * 3 // 2
    assert json.loads(line)["suppressed"] == log.suppressed_total == suppressed
    assert meter.counted(ProcessCounter.LOG_LINES_SUPPRESSED) == suppressed
    assert log.flush() == []


def test_what_nobody_fetches_is_dropped_and_counted():
    meter = Meter()
    log = AccessLog(meter=meter)
    for _ in range(LINES_MAX + 5):
        log.append(record())
    assert log.dropped == meter.counted(ProcessCounter.LOG_LINES_DROPPED) == 5
    assert len(log.flush()) == LINES_MAX
    assert log.flush() == []


def test_new_settings_hold_from_the_next_request_on():
    log = AccessLog("off")
    log.append(record())
    log.configure("all", 0.0)
    assert log.wants_admitted()
    assert len(log.flush()) == 1


def test_a_line_says_what_happened():
    assert fields_of(in_flight=7, limit=8, trace_id="ab" * 16) == {
        "kind": "access",
        "time": "2026-01-01T00:00:00.250Z",
        "peer": "192.0.2.1",
        "method": "GET",
        "path": "/cart",
        "status": 200,
        "outcome": "served",
        "route": "cart",
        "cell": "shop",
        "class": "critical",
        "queue_ms": 1.25,
        "duration_ms": 2.5,
        "body_size": 12,
        "in_flight": 7,
        "limit": 8,
        "trace_id": "ab" * 16,
    }


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "served"),
        ({"reason": "upstream_timeout", "status": 504}, "fault"),
        ({"reason": "queue_full", "refusal_id": "0000000000001", "status": 503}, "rejected"),
    ],
)
def test_a_line_tells_refusals_from_faults(changes, outcome):
    fields = fields_of(**changes)
    assert fields["outcome"] == outcome
    assert fields.get("reason", "") == changes.get("reason", "")
    assert fields.get("id", "") == changes.get("refusal_id", "")


def test_no_query_reaches_the_log():
    assert fields_of(target=b"/login?password=hunter2")["path"] == "/login"


def test_no_request_can_forge_a_line_or_drive_a_terminal():
    hostile = b'/\r\n{"status": 200}\x1b[31m\x00\x7f\xc2\x9b\xff"\\'
    (line,) = format_lines([record(target=hostile, method='G"ET\x1b', peer="\x07")])
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["path"].startswith('/\r\n{"status": 200}')


def test_a_path_without_end_is_cut():
    assert len(fields_of(target=b"/" + b"a" * 100_000)["path"]) == 1024


def test_an_event_has_the_form_of_the_other_lines():
    line = format_event(1700000000.5, "warning", "upstream out", {"upstream": "a\n\x7f"})
    assert "\n" not in line
    assert "\x7f" not in line
    assert json.loads(line) == {
        "kind": "event",
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "event": "upstream out",
        "upstream": "a\n\x7f",
    }


def test_a_line_says_where_a_guest_is_from():
    assert fields_of(cell="b", home="a")["spilled_from"] == "a"
    assert "spilled_from" not in fields_of()
