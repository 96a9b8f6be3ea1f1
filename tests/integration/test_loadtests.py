"""The live commands of the load tests run, and say what their readers rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

TRIES = 3
TINY = """
name = "tiny"
duration_s = 2
unscored_arrivals = 50
live = true

[backend]
slots = 4
service_ms = 10

[[client]]
load = 0.5
schedule = [[1, 6]]
criticality = { critical = 1, sheddable = 3 }
"""


def run(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtests", *map(str, arguments)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_scenario_file_is_played(root: Path, tmp_path: Path):
    """From half of capacity to three times: the better class is served, the rest refused.

    What else the machine does can only spoil it, and a run that it made void says so: three tries.
    """
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    for _ in range(TRIES):
        done = run(root, "play", file, "--json")
        assert done.returncode in {0, 2}, done.stderr
        report = json.loads(done.stdout)
        assert (done.returncode == 2) == bool(report["faults"])
        assert report["scenario"] == "tiny"
        assert report["capacity_rps"] == 400
        assert report["offered"] == report["served"] + report["refused"] + report["failed"]
        assert report["generator"]["send_lag_p99_ms"] >= 0
        if is_served_by_class(report):
            return
    assert report["faults"], report


def is_served_by_class(report: dict[str, Any]) -> bool:
    critical, sheddable = report["by_class"]["critical"], report["by_class"]["sheddable"]
    return (
        critical["served"] > 0.95 * critical["offered"]
        and sheddable["refused"] > 0.3 * sheddable["offered"]
        and report["goodput_rps"] > 200
        and report["p99_ms"] < 1000
        and report["station"]["busy_ratio"] > 0.5
    )


def test_live_is_compared_with_simulated(root: Path, tmp_path: Path):
    """A calm load of two seconds: everything is served, here and there."""
    file = tmp_path / "reality.json"
    arguments = ("--loads", "0.4", "--for", "2", "--seeds", "2", "--seed", "7", "--json")
    for _ in range(TRIES):
        file.unlink(missing_ok=True)
        done = run(root, "reality", *arguments, "--save", file)
        assert done.returncode in {0, 1, 2}, done.stderr
        report = json.loads(done.stdout)
        if report["goodput_ratio"]["live"] > 0.95:
            break
    kept = json.loads(file.read_text())
    assert kept["runs"] == [report]
    assert "reality" in kept["command"]
    assert kept["machine"]["cores"] >= 1
    assert report["seed"] == 7
    assert report["load"] == 0.4
    assert report["goodput_ratio"]["simulated"] == [1, 1]
    assert report["goodput_ratio"]["live"] > 0.95 or report["faults"]
    assert len(report["p99_ms"]["simulated"]) == 2
    is_void, differs = bool(report["faults"]), bool(report["disagreements"])
    assert done.returncode == (2 if is_void else 1 if differs else 0)


def test_what_cannot_be_played_is_named_before_anything_starts(root: Path):
    done = run(root, "play", "meta-spike-3-retries")
    assert done.returncode == 2
    assert 'attempts = 4 of client "users"' in done.stderr
    assert "does not say live = true" in done.stderr


def test_a_broken_scenario_is_shown_with_its_line(root: Path, tmp_path: Path):
    file = tmp_path / "broken.toml"
    file.write_text(TINY.replace("slots = 4", "slots = 0"))
    done = run(root, "play", file)
    assert done.returncode == 2
    assert "broken.toml:8" in done.stderr
    assert "slots = 0" in done.stderr


def test_a_bad_policy_is_stopped_on_what_is_installed(root: Path):
    """In virtual time, by the very modules: compiled ones can be had, and not inherited from."""
    kind = ("--only", "bad", "--kind", "a route always refused")
    done = run(root, "bad-policies", "--seeds", "1", *kind, "--watched", "20")
    assert done.returncode == 0, done.stdout + done.stderr
