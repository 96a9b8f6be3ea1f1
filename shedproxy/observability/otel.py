"""Export over OTLP when the operator configured it, from a thread of the supervisor.

The standard environment variables hold (OTEL_EXPORTER_OTLP_*, OTEL_RESOURCE_ATTRIBUTES,
OTEL_SERVICE_NAME, OTEL_METRIC_EXPORT_INTERVAL, OTEL_METRICS_EXPORTER, OTEL_SDK_DISABLED). The SDK
is imported when an export starts and not before: most installations have none.
"""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from shedproxy.clock import wall_seconds
from shedproxy.core import NS_PER_S, Nanos, milliseconds, seconds, to_seconds
from shedproxy.errors import StartupError
from shedproxy.observability.reading import Sample

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter

__all__ = ["OtlpExport", "export_interval_ns", "is_configured", "make_exporter"]

_log = logging.getLogger(__name__)

_METRICS_PATH = "/v1/metrics"
_INTERVAL_NS = seconds(60)
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")


def is_configured(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for metrics over OTLP."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environ.get("OTEL_METRICS_EXPORTER", "").lower().replace(" ", "").split(",")
    if exporters != [""]:
        return "otlp" in exporters
    return bool(
        environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def export_interval_ns(environ: Mapping[str, str], default_ns: Nanos | None = None) -> Nanos:
    """Time between two exports: what the environment says, else the default (60 s).

    Raises:
        StartupError: OTEL_METRIC_EXPORT_INTERVAL is no positive number of milliseconds.
    """
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    if not text:
        return _INTERVAL_NS if default_ns is None else default_ns
    try:
        interval_ms = float(text)
    except ValueError:
        interval_ms = 0.0
    if not 0 < interval_ms < float("inf"):
        raise StartupError(
            f"OTEL_METRIC_EXPORT_INTERVAL is {text!r}: give milliseconds, more than 0"
        )
    return milliseconds(interval_ms)


def make_exporter(environ: Mapping[str, str], endpoint: str = "") -> MetricExporter:
    """The stock OTLP exporter over HTTP.

    Args:
        environ: Where a protocol may be asked for; the exporter itself reads the process's
            environment for everything else (headers, certificates, compression, timeout).
        endpoint: Base URL of the collector, such as `http://collector:4318`; "" leaves it to the
            environment.

    Raises:
        StartupError: The extra is not installed, or another protocol is asked for.
    """
    protocol = (
        environ.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol != "http/protobuf":
        raise StartupError(
            f"OTLP over {protocol!r} is not supported: set OTEL_EXPORTER_OTLP_PROTOCOL="
            "http/protobuf (collectors listen for it on port 4318)"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )
    except ImportError as error:
        raise StartupError(
            "OTLP export is configured but its exporter is not installed:"
            " pip install 'shedproxy[otlp]'"
        ) from error
    if not endpoint:
        return OTLPMetricExporter()
    url = endpoint.rstrip("/")
    return OTLPMetricExporter(url if url.endswith(_METRICS_PATH) else url + _METRICS_PATH)


class OtlpExport:
    """Exports samples every interval, and once more when it is shut down.

    A collector that is slow or gone costs the exporting thread its time and nothing else.

    Args:
        read: Returns the samples of the moment; called in the exporting thread.
        exporter: Any metric exporter of the OpenTelemetry SDK; it is shut down with this.
        version: Version of shedproxy.
        environ: The environment, for the interval and the temporality.
        service_name: Used when the environment names none.
        interval_ns: Between two exports; the environment wins.

    Raises:
        StartupError: The environment holds a value that makes no sense.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Sample]],
        exporter: MetricExporter,
        *,
        version: str,
        environ: Mapping[str, str],
        service_name: str = "shedproxy",
        interval_ns: Nanos | None = None,
    ) -> None:
        from shedproxy.observability import otlp_points  # noqa: PLC0415 - brings the SDK

        self._read = read
        self._exporter = exporter
        self._interval_s = to_seconds(export_interval_ns(environ, interval_ns))
        self._points = otlp_points.PointMaker(
            otlp_points.make_resource(
                service_name=service_name,
                version=version,
                instance_id=f"{socket.gethostname()}-{uuid.uuid4()}",
            ),
            version=version,
            started_ns=_wall_ns(),
            temporality=_temporality(environ),
        )
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp-export", daemon=True)

    def start(self) -> None:
        """Begin; the first export is one interval away."""
        self._thread.start()

    def export(self) -> bool:
        """Export now, in the calling thread; True when the collector took it."""
        from opentelemetry.sdk.metrics.export import MetricExportResult  # noqa: PLC0415

        data = self._points.make(self._read(), now_ns=_wall_ns())
        is_taken = self._exporter.export(data) is MetricExportResult.SUCCESS
        if is_taken:
            self._points.delivered()
        return is_taken

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Export a last time and stop; returns after the timeout whatever the collector does."""
        self._is_ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._is_ending.wait(self._interval_s):
            self._export_or_log()
        self._export_or_log()

    def _export_or_log(self) -> None:
        try:
            self.export()
        except Exception:  # noqa: BLE001 - whatever is wrong with one export, the next may work
            _log.exception("metrics were not exported")


def _temporality(environ: Mapping[str, str]) -> str:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    temporality = environ.get(name, "").strip().lower() or "cumulative"
    if temporality not in _TEMPORALITIES:
        raise StartupError(f"{name} is {temporality!r}: use {', '.join(_TEMPORALITIES)}")
    return temporality


def _wall_ns() -> int:
    return round(wall_seconds() * NS_PER_S)
