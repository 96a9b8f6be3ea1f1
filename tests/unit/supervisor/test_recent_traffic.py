"""An hour of counts, and some heads of each minute, in constant memory."""

from __future__ import annotations

import json

from shedproxy.core import Instant, seconds
from shedproxy.observability.meter import Meter
from shedproxy.observability.reading import samples
from shedproxy.supervisor.recent_traffic import (
    HEADS_MAX,
    MINUTES,
    Head,
    RecentTraffic,
    Served,
    served_by_class,
)


def line(path: str, **fields: str) -> str:
    plain = {"kind": "access", "method": "GET", "path": path, "outcome": "served"}
    return json.dumps({**plain, "cell": "default", "class": "critical", **fields})


def at(minute: float) -> Instant:
    return Instant(seconds(1000 + 60 * minute))


def test_what_was_served_and_how_long_it_held_slots_is_read_from_the_metrics():
    meter = Meter()
    for waited_ns in (0, 200_000_000):
        meter.on_admitted(0, 2, waited_ns)
        meter.on_finished(0, 2, 200, 300_000_000 + waited_ns, True)
    meter.on_would_reject(0, 2, 1)
    meter.on_finished(0, 2, 500, 400_000_000, False)
    meter.on_rejected(0, 2, 1)
    served = served_by_class(samples([meter.slots], ["default"]))
    assert set(served) == {("default", "critical")}
    requests, work_s = served["default", "critical"]
    assert requests == 3
    assert abs(work_s - 1.0) < 1e-6


def test_a_minute_is_what_came_between_two_totals():
    traffic = RecentTraffic()
    key, other = ("default", "critical"), ("default", "sheddable")
    assert traffic.is_due(at(0))
    traffic.feed(at(0), {key: Served(100, 10.0)})
    assert traffic.minutes == ()
    assert not traffic.is_due(at(0.9))
    traffic.take_lines([line("/a"), line("/b", outcome="rejected"), "outcome", line("/c")])
    traffic.feed(at(1), {key: Served(160, 13.0), other: Served(0, 0.0)})
    (minute,) = traffic.minutes
    assert minute.served == {key: Served(60, 3.0)}
    assert minute.heads == tuple(Head("GET", path, "default", "critical") for path in ("/a", "/c"))


def test_memory_is_constant_and_heads_are_spread_over_the_minute():
    traffic = RecentTraffic()
    key = ("default", "critical")
    for minute in range(MINUTES + 20):
        traffic.feed(at(minute), {key: Served(1000 * minute, 0.0)})
        traffic.take_lines(line(f"/{number}") for number in range(1000))
    assert len(traffic.minutes) == MINUTES
    heads = traffic.minutes[-1].heads
    assert HEADS_MAX // 2 <= len(heads) <= HEADS_MAX
    assert int(heads[-1].path[1:]) > 900
    assert int(heads[0].path[1:]) == 0


def test_lines_that_are_no_heads_are_left_out():
    traffic = RecentTraffic()
    traffic.feed(at(0), {})
    traffic.take_lines(['{"outcome": "served"', '{"outcome": "served"}', '["outcome": "served"]'])
    traffic.feed(at(1), {})
    assert traffic.minutes[0].heads == ()
