"""The benchmarks run, and print what their readers rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.overload import Cell, judge
from benchmarks.overload_shapes import SHAPES, TUNED, QueueControl, Shape, play
from shedproxy.simulator.controllers.fixed_limit import FixedControl

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


def test_overload_is_played_from_a_cold_start_and_says_what_it_saw(root: Path):
    arguments = ("overload", "--quick", "--json", "--peers", "shedproxy")
    report = json.loads(run(root, *arguments).stdout)
    [cell] = report["cells"]
    assert (cell["shape"], cell["load"], cell["peer"]) == ("4x20ms", 3.0, "shedproxy")
    assert 0.5 < cell["goodput"] < 1.1
    assert 0 < cell["p50_ms"] <= cell["p99_ms"] <= 1000
    assert 0.4 < cell["refused_share"] < 0.8
    assert report["verdicts"] == [], "there is no peer to judge by"


def seen(peer: str, goodput: float, p99_ms: float, *faults: str) -> Cell:
    return Cell(
        shape="4x20ms",
        load=3.0,
        peer=peer,
        goodput=goodput,
        p50_ms=20.0,
        p99_ms=p99_ms,
        refused_share=0.6,
        refusal_p99_ms=None,
        faults=faults,
    )


def test_overload_is_judged_by_the_peers_that_reach_the_best_goodput():
    """The quickest of all serves too few, and what is void says nothing."""
    peers = [seen("a", 1.0, 40), seen("b", 0.98, 30), seen("c", 0.5, 20), seen("d", 1.2, 1, "late")]
    [verdict] = judge([seen("shedproxy", 0.98, 45), *peers])
    assert (verdict.goodput_ratio, verdict.p99_ratio, verdict.is_met) == (0.98, 1.5, True)
    [verdict] = judge([seen("shedproxy", 0.96, 45), *peers])
    assert not verdict.is_met
    assert judge([seen("shedproxy", 1.0, 45, "late"), *peers]) == []


@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_a_tuned_limit_serves_what_the_service_can_in_virtual_time(shape: Shape):
    tuned = TUNED[shape.name]
    for make in (
        lambda: FixedControl(tuned.nginx_limit),
        lambda: QueueControl(tuned.haproxy_limit, tuned.haproxy_queue_ms),
    ):
        assert play(shape, 3.0, make, seconds=5.0, seed=1).goodput >= 0.93
