"""The benchmarks run, and print what their readers rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_decisions_are_measured_for_every_algorithm_and_queue_length(root: Path):
    done = run(root, "decisions", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["benchmark"] == "decisions"
    assert report["quick"] is True
    assert report["unit"] == "us per operation"
    assert report["absent"] == []
    assert report["machine"]["cores"] >= 1
    assert report["command"].endswith("-m benchmarks decisions --quick --json")
    names = {row["name"] for row in report["rows"]}
    for algorithm in ("adaptive", "fixed", "aimd", "vegas", "gradient2"):
        assert f"admit and release, {algorithm}" in names
        assert f"admit and release, {algorithm}, tenants, deadlines" in names
    for waiters in (10, 100, 1000, 10_000):
        assert f"wait and release beside {waiters}, one flow" in names
    for row in report["rows"]:
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert row["rounds"] == 3


def test_middleware_is_measured_beside_others_and_its_budget(root: Path):
    report = json.loads(run(root, "middleware", "--quick", "--json").stdout)
    rows = {row["name"]: row for row in report["rows"]}
    for name in ("a middleware of nothing", "slowapi", "OpenTelemetry, metrics"):
        assert "floor" not in rows[f"added in process by {name}"]
    added = rows["added in process by ShedMiddleware"]
    assert added["target"] < added["floor"]
    assert report["absent"] == []


def test_text_names_the_command_the_machine_and_the_spread(root: Path):
    done = run(root, "middleware", "--quick")
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    assert first.startswith("$ python")
    assert "load average" in second
    assert "median [least - greatest] of the rounds" in rest


def test_unknown_benchmark_is_a_usage_error(root: Path):
    done = run(root, "nothing")
    assert done.returncode == 2
    assert "decisions" in done.stderr
