"""Export is asked for by the environment, explains what is missing, and ends in time."""

from __future__ import annotations

import sys
import threading

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

from shedproxy.core import Criticality, seconds
from shedproxy.errors import StartupError
from shedproxy.observability.meter import Meter
from shedproxy.observability.otel import (
    OtlpExport,
    export_interval_ns,
    is_configured,
    make_exporter,
)
from shedproxy.observability.reading import samples
from shedproxy.testing import eventually

SOON = {"OTEL_METRIC_EXPORT_INTERVAL": "1"}


class Exporter(MetricExporter):
    """Keeps what it is given; fails or hangs when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = []
        self.result = MetricExportResult.SUCCESS
        self.error: Exception | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_shut_down = False

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.may_go_on.wait(10)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.taken.append(metrics_data)
        return self.result

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.is_shut_down = True


@pytest.fixture
def exporter():
    return Exporter()


def export_of(exporter: Exporter, environ=None) -> OtlpExport:
    meter = Meter()
    meter.on_admitted(0, Criticality.CRITICAL, 0)
    return OtlpExport(
        lambda: samples([meter.slots], ["shop"]), exporter, version="1", environ=environ or {}
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, True),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_METRICS_EXPORTER": "prometheus, otlp"}, True),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
    ],
)
def test_the_environment_decides_whether_to_export(environ, expected):
    assert is_configured(environ) is expected


def test_the_interval_comes_from_the_environment_first():
    assert export_interval_ns({}) == seconds(60)
    assert export_interval_ns({}, seconds(10)) == seconds(10)
    environ = {"OTEL_METRIC_EXPORT_INTERVAL": "1500"}
    assert export_interval_ns(environ, seconds(10)) == seconds(1.5)


@pytest.mark.parametrize("text", ["0", "-1", "often", "inf", "nan"])
def test_an_interval_that_makes_no_sense_is_refused(text):
    with pytest.raises(StartupError, match="OTEL_METRIC_EXPORT_INTERVAL"):
        export_interval_ns({"OTEL_METRIC_EXPORT_INTERVAL": text})


def test_a_missing_extra_is_named(monkeypatch):
    name = "opentelemetry.exporter.otlp.proto.http.metric_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StartupError, match=r"shedproxy\[otlp\]"):
        make_exporter({})


def test_a_protocol_that_is_not_there_is_named():
    with pytest.raises(StartupError, match="http/protobuf"):
        make_exporter({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_an_unknown_temporality_is_refused(exporter):
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    with pytest.raises(StartupError, match="lowmemory"):
        export_of(exporter, {name: "sometimes"})


def test_it_exports_every_interval_and_shuts_its_exporter_down(exporter):
    export = export_of(exporter, SOON)
    export.start()
    eventually(lambda: len(exporter.taken) >= 3, what="three exports")
    export.shutdown()
    assert exporter.is_shut_down


def test_the_last_numbers_are_exported_at_the_end(exporter):
    export = export_of(exporter)
    export.start()
    export.shutdown()
    assert len(exporter.taken) == 1


def test_an_export_that_fails_does_not_end_the_next(exporter, caplog):
    exporter.error = RuntimeError("collector on fire")
    export = export_of(exporter, SOON)
    export.start()
    eventually(lambda: exporter.taken, what="an export after the failed one")
    export.shutdown()
    assert "collector on fire" in caplog.text


def test_a_collector_that_hangs_does_not_hold_up_the_end(exporter):
    exporter.may_go_on.clear()
    export = export_of(exporter, SOON)
    export.start()
    export.shutdown(timeout_s=0.05)
    assert exporter.is_shut_down
    exporter.may_go_on.set()


def test_export_says_whether_the_collector_took_it(exporter):
    export = export_of(exporter)
    assert export.export()
    exporter.result = MetricExportResult.FAILURE
    assert not export.export()
