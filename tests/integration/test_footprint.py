"""What shedproxy costs before it does anything: memory and the time of its import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness.process import Service, memory_bytes
from harness.proxy import Shedproxy

pytestmark = pytest.mark.integration

MIB = 1024**2
IMPORT_MS_MAX = 30
RUNS = 5


def test_an_idle_instance_is_small(tmp_path: Path) -> None:
    """A worker that has served takes at most 45 MB, the supervisor at most 120 MB."""
    with Service(home=tmp_path) as service, Shedproxy(service.url, home=tmp_path) as proxy:
        assert proxy.control("GET", "/metrics")[0] == 200
        worker, supervisor = memory_bytes(proxy.worker_pid), memory_bytes(proxy.pid)
    assert worker <= 45 * MIB, f"{worker / MIB:.1f} MiB"
    assert supervisor <= 120 * MIB, f"{supervisor / MIB:.1f} MiB"


def test_the_import_takes_a_moment_only() -> None:
    """`import shedproxy` in a fresh process: 30 ms of a processor in the best of five runs."""
    code = (
        "import time; began = time.process_time(); import shedproxy;"
        " print((time.process_time() - began) * 1000)"
    )
    took = [
        float(
            subprocess.run(
                [sys.executable, "-P", "-c", code],
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            ).stdout
        )
        for _ in range(RUNS)
    ]
    assert min(took) < IMPORT_MS_MAX, took
