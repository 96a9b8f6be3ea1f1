"""Metrics that are pushed: OpenTelemetry over OTLP, when somebody configured it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import shedproxy
from shedproxy.observability.otel import OtlpExport, is_configured, make_exporter
from shedproxy.observability.reading import Sample
from shedproxy.settings import Settings

__all__ = ["Exporters"]


class Exporters:
    """What pushes metrics somewhere. Nothing is imported or started when nothing is configured.

    Raises:
        StartupError: it is configured, and cannot work.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Iterable[Sample]],
        *,
        environ: Mapping[str, str],
    ) -> None:
        self._otlp: OtlpExport | None = None
        telemetry = settings.telemetry
        if telemetry.otlp or is_configured(environ):
            self._otlp = OtlpExport(
                read,
                make_exporter(environ, telemetry.endpoint),
                version=shedproxy.__version__,
                environ=environ,
                service_name=telemetry.service_name,
                interval_ns=telemetry.interval,
            )

    def start(self) -> None:
        """Begin to export."""
        if self._otlp is not None:
            self._otlp.start()

    def close(self) -> None:
        """Export a last time; blocks, bounded."""
        if self._otlp is not None:
            self._otlp.shutdown()
            self._otlp = None
