from __future__ import annotations

import json

from shedproxy.core import NS_PER_S, Instant
from shedproxy.dataplane.access_log import LINES_MAX, REFUSALS_PER_S, AccessLog, AccessRecord


def record(**changes: object) -> AccessRecord:
    values: dict[str, object] = {
        "wall_s": 1.5,
        "peer": "192.0.2.1",
        "method": "GET",
        "target": b"/a?b",
        "status": 200,
        "route": "default",
        "cell": "default",
        "criticality": "critical",
        "duration_ns": 2_500_000,
        "waited_ns": 0,
        "body_size": 12,
    }
    return AccessRecord(**(values | changes))  # type: ignore[arg-type]


def test_a_share_of_the_admitted_is_logged_evenly() -> None:
    log = AccessLog("sampled", 0.25)
    assert [log.wants_admitted() for _ in range(8)] == [False, False, False, True] * 2


def test_all_and_off_mean_what_they_say() -> None:
    assert all(AccessLog("all", 0.0).wants_admitted() for _ in range(3))
    silent = AccessLog("off", 1.0)
    assert not silent.wants_admitted()
    assert not silent.wants_refused(Instant(1))


def test_refusals_have_a_rate_and_the_rest_is_counted() -> None:
    log = AccessLog("sampled", 0.0)
    now = Instant(10 * NS_PER_S)
    assert sum(log.wants_refused(now) for _ in range(1000)) == REFUSALS_PER_S
    later = Instant(now + NS_PER_S // 2)
    assert sum(log.wants_refused(later) for _ in range(1000)) == REFUSALS_PER_S // 2
    (line,) = log.flush()
    assert json.loads(line)["suppressed"] == 2000 - REFUSALS_PER_S * 3 // 2
    assert log.flush() == []


def test_a_line_is_one_json_object_whatever_the_request_held() -> None:
    log = AccessLog()
    log.append(record(target=b'/\r\n{"status": 200}\x1b[31m\xff', method='G"ET'))
    (line,) = log.flush()
    assert "\n" not in line
    assert "\x1b" not in line
    fields = json.loads(line)
    assert fields["target"].encode("latin-1") == b'/\r\n{"status": 200}\x1b[31m\xff'
    assert fields["duration_ms"] == 2.5
    assert "reason" not in fields


def test_what_nobody_fetches_is_dropped_and_counted() -> None:
    log = AccessLog()
    for _ in range(LINES_MAX + 5):
        log.append(record())
    assert log.dropped == 5
    assert len(log.flush()) == LINES_MAX


def test_a_refusal_names_its_reason_and_id() -> None:
    log = AccessLog()
    log.append(record(status=503, reason="queue_full", refusal_id="0000000000001"))
    fields = json.loads(log.flush()[0])
    assert (fields["reason"], fields["id"]) == ("queue_full", "0000000000001")
