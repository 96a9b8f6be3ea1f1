"""Points of load: what they say, how long they are kept, and that their memory is bounded."""

from __future__ import annotations

import json
import math

import pytest

from shedproxy.core import Instant, seconds
from shedproxy.observability.load_points import LoadCounts, LoadPoints, load_counts
from shedproxy.observability.metric_table import metric_named
from shedproxy.observability.reading import HistogramValue, Sample

DURATION = metric_named("http.server.request.duration")
WAIT = metric_named("shedproxy.queue.wait.duration")


def histogram(count: int, seconds_in_all: float) -> HistogramValue:
    return HistogramValue((count,), seconds_in_all)


def test_the_wait_in_the_proxy_is_not_the_upstreams() -> None:
    found = load_counts(
        [
            Sample(DURATION, ("a", "critical", "success"), histogram(90, 9.0)),
            Sample(DURATION, ("a", "critical", "server_error"), histogram(10, 1.0)),
            Sample(DURATION, ("a", "critical", "rejected"), histogram(7, 0.1)),
            Sample(WAIT, ("a", "critical", "admitted"), histogram(50, 4.0)),
            Sample(metric_named("shedproxy.limit"), ("a",), 8.0),
        ]
    )
    assert found == {"a": LoadCounts(100, 10, seconds(6), 50, 7)}


def fed(points: LoadPoints, rates: list[tuple[float, float]], *, at: int = 0) -> int:
    """Ten seconds each of (requests/s, latency in s), from `at` on; returns when it ended."""
    ended = took = 0
    points.feed(Instant(at), 1e9 + at / 1e9, {"a": LoadCounts()}, {"default": 2})
    for rate, latency_s in rates:
        at += seconds(10)
        ended += round(rate * 10)
        took += round(rate * 10 * latency_s * 1e9)
        counts = {"a": LoadCounts(ended=ended, upstream_ns=took)}
        points.feed(Instant(at), 1e9 + at / 1e9, counts, {"default": 2})
    return at


def test_a_point_has_throughput_latency_and_in_flight() -> None:
    points = LoadPoints()
    fed(points, [(100, 0.05)])
    (point,) = points.of("a")
    assert (point.ended, point.length_s, point.upstreams) == (1000, 10.0, 2)
    assert point.throughput_rps == 100
    assert point.in_flight == pytest.approx(5.0)
    assert point.latency_ms == pytest.approx(50.0)


def test_too_few_requests_wait_for_more_and_a_calm_quarter_is_no_point() -> None:
    points = LoadPoints()
    fed(points, [(6, 0.05), (6, 0.05)])
    assert [point.length_s for point in points.of("a")] == [20.0]
    calm = LoadPoints()
    fed(calm, [(0.1, 0.05)] * 60)
    assert calm.of("a") == []


def test_counts_that_fall_begin_anew() -> None:
    points = LoadPoints()
    fed(points, [(100, 0.05)])
    points.feed(Instant(seconds(20)), 2e9, {"a": LoadCounts(ended=5)}, {})
    assert len(points.of("a")) == 1


def test_memory_is_bounded_and_an_old_peak_is_kept_beside_much_calm() -> None:
    points = LoadPoints()
    at = fed(points, [(400, 0.1)] * 3)
    fed(points, [(100, 0.05)] * 5_000, at=at)
    kept = points.of("a")
    assert len(kept) == 3 + 32
    assert kept[0].in_flight == pytest.approx(40.0)
    # Whatever comes: 81 levels of 32.
    wild = LoadPoints()
    fed(wild, [(100, 1e-5 * math.exp(n % 500 / 20)) for n in range(6_000)])
    assert len(wild.of("a")) <= 81 * 32


def test_what_is_a_week_old_is_forgotten() -> None:
    points = LoadPoints()
    fed(points, [(400, 0.1)])
    fed(points, [(100, 0.05)], at=seconds(8 * 86_400))
    assert [point.in_flight for point in points.of("a")] == [pytest.approx(5.0)]


def test_it_is_fed_every_ten_seconds() -> None:
    points = LoadPoints()
    assert points.is_due(Instant(0))
    points.feed(Instant(0), 1e9, {}, {})
    assert not points.is_due(Instant(seconds(9)))
    assert points.is_due(Instant(seconds(10)))


def test_the_view_is_rows_under_named_columns() -> None:
    points = LoadPoints()
    fed(points, [(100, 0.05)])
    view = json.loads(json.dumps(points.view()))
    assert (view["format"], view["schema"]) == ("shedproxy-points", 1)
    row = dict(zip(view["columns"], view["cells"]["a"][0], strict=True))
    assert row["ended"] == 1000
    assert row["at_s"] == 1e9 + 10
    assert row["latency_ms"] == 50
