"""Samples become what the SDK would have aggregated, with either temporality."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Sum

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Gauge as CellGauge
from shedproxy.observability.meter import Meter
from shedproxy.observability.otlp_points import PointMaker, make_resource
from shedproxy.observability.reading import samples

MS = 1_000_000


@pytest.fixture
def resource(monkeypatch):
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    return make_resource(service_name="shop", version="1.2.3", instance_id="host-1")


def made(points: PointMaker, meter: Meter, now_ns: int = 2000):
    data = points.make(samples([meter.slots], ["shop"]), now_ns=now_ns)
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "shedproxy"
    return {metric.name: metric for metric in scope.metrics}


def test_the_resource_says_who_and_which_version(resource):
    assert resource.attributes["service.name"] == "shop"
    assert resource.attributes["service.version"] == "1.2.3"
    assert resource.attributes["service.instance.id"] == "host-1"


def test_the_environment_wins_over_arguments(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "checkout")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7,team=a")
    resource = make_resource(service_name="shop", version="1.2.3", instance_id="host-1")
    assert resource.attributes["service.name"] == "checkout"
    assert resource.attributes["service.instance.id"] == "pod-7"
    assert resource.attributes["team"] == "a"


def test_instruments_keep_their_kind_unit_and_time(resource):
    meter = Meter()
    meter.on_admitted(0, Criticality.CRITICAL, 0)
    meter.on_finished(0, Criticality.CRITICAL, 200, 30 * MS, True)
    metrics = made(PointMaker(resource, version="1", started_ns=1000), meter)
    decisions = metrics["shedproxy.decisions"]
    assert (decisions.unit, decisions.data.is_monotonic) == ("{request}", True)
    assert decisions.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    (point,) = decisions.data.data_points
    assert (point.value, point.start_time_unix_nano, point.time_unix_nano) == (1, 1000, 2000)
    assert isinstance(metrics["shedproxy.in_flight"].data, Sum)
    assert not metrics["shedproxy.in_flight"].data.is_monotonic
    assert isinstance(metrics["shedproxy.limit"].data, Gauge)
    duration = metrics["http.server.request.duration"]
    assert isinstance(duration.data, Histogram)
    assert duration.unit == "s"
    (bucketed,) = duration.data.data_points
    assert bucketed.count == sum(bucketed.bucket_counts) == 1
    assert len(bucketed.bucket_counts) == len(bucketed.explicit_bounds) + 1
    assert bucketed.sum == 0.03


def test_labels_that_do_not_apply_are_not_attributes(resource):
    meter = Meter()
    meter.on_bypass(0)
    meter.on_fault(-1, Fault.BAD_REQUEST)
    metrics = made(PointMaker(resource, version="1", started_ns=1), meter)
    (decision,) = metrics["shedproxy.decisions"].data.data_points
    assert decision.attributes == {"shedproxy.cell": "shop", "shedproxy.outcome": "bypass"}
    (fault,) = metrics["shedproxy.faults"].data.data_points
    assert fault.attributes == {"shedproxy.fault": "bad_request"}


def test_delta_points_hold_what_came_since_the_last_delivery(resource):
    meter = Meter()
    points = PointMaker(resource, version="1", started_ns=1000, temporality="delta")

    def refuse_and_finish(times: int) -> None:
        for _ in range(times):
            meter.on_rejected(0, Criticality.CRITICAL, RejectReason.EVICTED)
            meter.on_finished(0, Criticality.CRITICAL, 200, 30 * MS, False)

    def seen(now_ns: int) -> tuple[int, int, int]:
        metrics = made(points, meter, now_ns)
        (decision,) = metrics["shedproxy.decisions"].data.data_points
        served, _ = metrics["http.server.request.duration"].data.data_points
        assert decision.start_time_unix_nano == served.start_time_unix_nano
        return decision.value, served.count, decision.start_time_unix_nano

    refuse_and_finish(3)
    assert seen(2000) == (3, 3, 1000)
    points.delivered()
    refuse_and_finish(2)
    assert seen(3000) == (2, 2, 2000)
    refuse_and_finish(1)
    assert seen(4000) == (3, 3, 2000)  # the export before was lost: nothing of it is


def test_gauges_are_never_deltas(resource):
    meter = Meter()
    points = PointMaker(resource, version="1", started_ns=1, temporality="delta")
    meter.set_gauge(0, CellGauge.IN_FLIGHT, 5)
    for _ in range(2):
        in_flight = made(points, meter)["shedproxy.in_flight"]
        assert in_flight.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
        assert in_flight.data.data_points[0].value == 5
        points.delivered()


def test_low_memory_leaves_counters_cumulative(resource):
    meter = Meter()
    meter.on_finished(0, Criticality.CRITICAL, 200, MS, True)
    points = PointMaker(resource, version="1", started_ns=1, temporality="lowmemory")
    metrics = made(points, meter)
    cumulative, delta = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
    assert metrics["shedproxy.goodput"].data.aggregation_temporality is cumulative
    assert metrics["http.server.request.duration"].data.aggregation_temporality is delta
