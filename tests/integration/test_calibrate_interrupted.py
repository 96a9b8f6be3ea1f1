"""^C in the middle of a live calibration keeps what was measured, and `--resume` goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shedproxy.loadgen.station import Station
from shedproxy.testing import eventually

pytestmark = pytest.mark.integration

END_S = 10


def begun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "shedproxy", "calibrate", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        # Who is started in the background inherits that ^C is not for it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it said last; it ends in time and with the code of an inconclusive one."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=END_S)
    assert process.returncode == 4, said
    return said


def steps(folder: Path) -> list[dict[str, object]]:
    file = folder / "steps.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line)["step"] for line in text.splitlines()]


def test_what_was_measured_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with Station(slots=4, service_ms=10) as station:
        first = begun(
            tmp_path, station.url, "--budget", "20s", "--no-verify", "--request", "GET /a 2",
            "--request", "GET /b", "--mix", "critical=1,sheddable=1", "--out", str(folder),
        )  # fmt: skip
        eventually(lambda: len(steps(folder)) >= 2, what="two steps")
        said = interrupted(first)
        assert "interrupted" in said, said
        kept = steps(folder)
        report = json.loads((folder / "report.json").read_text())
        assert report["provenance"]["is_complete"] is False
        assert report["provenance"]["stopped_by"] == "interrupted"
        assert [step["index"] for step in report["steps"]] == [step["index"] for step in kept]
        assert (folder / "report.html").exists()

        second = begun(tmp_path, "--resume", str(folder), "--no-verify")
        eventually(lambda: len(steps(folder)) > len(kept), what="one step more")
        interrupted(second)
    after = steps(folder)
    assert after[: len(kept)] == kept
    assert [step["index"] for step in after] == list(range(len(after)))
    assert after[len(kept)]["started_at_ns"] >= kept[-1]["ended_at_ns"]
    # The same requests as before, without being told.
    assert {route["name"] for route in after[-1]["routes"]} == {"GET /a", "GET /b"}
    assert {one["name"] for one in after[-1]["classes"]} == {"critical", "sheddable"}
