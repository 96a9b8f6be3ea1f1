from __future__ import annotations

import subprocess
import sys

import pytest

from shedproxy.errors import StartupError
from shedproxy.settings import load_settings
from shedproxy.supervisor.exporters import Exporters


def make(environ=None, **telemetry) -> Exporters:
    overrides = {f"telemetry.{name}": value for name, value in telemetry.items()}
    settings = load_settings(overrides=overrides).settings
    return Exporters(settings, list, environ=environ or {})


def test_nothing_configured_exports_nothing():
    exporters = make()
    exporters.start()
    exporters.close()


def test_nothing_configured_imports_no_sdk():
    code = (
        "import sys; from shedproxy.settings import load_settings;"
        "from shedproxy.supervisor.exporters import Exporters;"
        "Exporters(load_settings().settings, list, environ={});"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("environ", "telemetry"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"otlp": True}),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "soon"}, {}),
    ],
)
def test_what_cannot_work_is_said_at_the_start(environ, telemetry):
    with pytest.raises(StartupError):
        make(environ, **telemetry)


def test_configured_exporters_start_and_end():
    exporters = make(otlp=True, endpoint="http://127.0.0.1:9", interval="1h")
    exporters.close()
