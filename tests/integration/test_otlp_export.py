"""A collector receives over OTLP what Prometheus would have scraped."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from shedproxy.core import Criticality, RejectReason
from shedproxy.observability.exposition import render_text
from shedproxy.observability.fault import Fault
from shedproxy.observability.meter import Gauge, Meter, ProcessGauge
from shedproxy.observability.metric_table import metric_named
from shedproxy.observability.otel import OtlpExport, make_exporter
from shedproxy.observability.reading import samples

pytestmark = pytest.mark.integration

MS = 1_000_000


class Collector(ThreadingHTTPServer):
    """Keeps decoded requests with their path and headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportMetricsServiceRequest.FromString(body)
        self.server.received.append((self.path, dict(self.headers.items()), request))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def collector():
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def meter():
    meter = Meter()
    for _ in range(3):
        meter.on_admitted(0, Criticality.CRITICAL, 2 * MS)
        meter.on_finished(0, Criticality.CRITICAL, 200, 30 * MS, True)
    meter.on_rejected(0, Criticality.SHEDDABLE, RejectReason.SHED_LEVEL)
    meter.on_bypass(0)
    meter.on_fault(-1, Fault.BAD_REQUEST)
    meter.set_gauge(0, Gauge.LIMIT, 12)
    meter.set_gauge(0, Gauge.PRESSURE_PPM, 500_000)
    meter.set_process(ProcessGauge.LOOP_LAG_NS, 3 * MS)
    return meter


def exported(request) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Points in the names that Prometheus would give them."""
    points = {}
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    for metric in scope.metrics:
        kind = metric.WhichOneof("data")
        family = metric_named(metric.name).prometheus_family
        if kind == "sum" and metric.sum.is_monotonic:
            family += "_total"
        for point in getattr(metric, kind).data_points:
            labels = {
                (entry.key.replace(".", "_"), entry.value.string_value)
                for entry in point.attributes
            }
            if kind == "histogram":
                below = 0
                bounds = [*map(str, point.explicit_bounds), "+Inf"]
                for bound, count in zip(bounds, point.bucket_counts, strict=True):
                    below += count
                    points[f"{family}_bucket", frozenset({*labels, ("le", bound)})] = below
                points[f"{family}_sum", frozenset(labels)] = point.sum
                points[f"{family}_count", frozenset(labels)] = point.count
            else:
                number = getattr(point, point.WhichOneof("value"))
                points[family, frozenset(labels)] = number
    return points


def scraped(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (
            sample.name,
            frozenset((name, value) for name, value in sample.labels.items() if value),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def export_once(meter: Meter, endpoint: str = "") -> None:
    export = OtlpExport(
        lambda: samples([meter.slots], ["shop"]),
        make_exporter({}, endpoint),
        version="1.2.3",
        environ={},
        service_name="shop-front",
    )
    assert export.export()
    export.shutdown()


def test_otlp_and_prometheus_agree(collector, meter):
    export_once(meter, collector.url)
    ((path, _, request),) = collector.received
    assert path == "/v1/metrics"
    assert exported(request) == scraped(render_text(samples([meter.slots], ["shop"])))


def test_the_collector_learns_who_reports(collector, meter, monkeypatch):
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    export_once(meter, collector.url + "/v1/metrics")
    ((path, _, request),) = collector.received
    assert path == "/v1/metrics"
    attributes = {
        entry.key: entry.value.string_value
        for entry in request.resource_metrics[0].resource.attributes
    }
    assert attributes["service.name"] == "shop-front"
    assert attributes["service.version"] == "1.2.3"
    assert attributes["service.instance.id"]


def test_the_standard_variables_say_where_and_with_which_headers(collector, meter, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
    export_once(meter)
    ((path, headers, _),) = collector.received
    assert path == "/v1/metrics"
    assert {name.lower(): value for name, value in headers.items()}["x-tenant"] == "blue"
