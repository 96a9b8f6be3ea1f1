"""The benchmarks run, and print what their readers rely on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.acceptance import Line
from benchmarks.load import Sample, Traffic, Turns, faults, parsed, repeated
from benchmarks.method import Budget, NotMeasuredError, Row, Spread, interval, ratio
from benchmarks.overload import Cell, judge
from benchmarks.overload_shapes import SHAPES, TUNED, QueueControl, Shape, play
from benchmarks.refusal import possible_goodput
from benchmarks.saved import budget_of, put_together
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
    done = run(root, "decisions", "--quick", "--json", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["benchmark"] == "decisions"
    assert report["quick"] is True
    assert report["unit"] == "us per operation, or as the line says"
    assert report["absent"] == []
    assert report["machine"]["cores"] >= 1
    assert report["command"].endswith("-m benchmarks decisions --quick --json --rounds 2")
    names = {row["name"] for row in report["rows"]}
    for algorithm in ("adaptive", "fixed", "aimd", "vegas", "gradient2"):
        assert f"admit and release, {algorithm}" in names
        assert f"admit and release, {algorithm}, tenants, deadlines" in names
    for waiters in (10, 100, 1000, 10_000):
        assert f"wait and release beside {waiters}, one flow" in names
    assert "s for a million simulated requests, from 5000" in names
    for row in report["rows"]:
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert row["rounds"] == len(row["values"]) == 2
        low, high = row["interval"]
        assert row["min"] <= low <= high <= row["max"]


def test_middleware_is_measured_beside_others_and_its_budget(root: Path, tmp_path: Path):
    """Text names the command, the machine and the spread; what is kept has the rows."""
    file = tmp_path / "middleware.json"
    done = run(root, "middleware", "--quick", "--rounds", "1", "--save", str(file))
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    assert first.startswith("$ python")
    assert "load average" in second
    assert "median [least - greatest] of the rounds" in rest
    report = json.loads(file.read_text())
    rows = {row["name"]: row for row in report["rows"]}
    for name in ("a middleware of nothing", "slowapi", "OpenTelemetry, metrics"):
        assert "floor" not in rows[f"added in process by {name}"]
    added = rows["added in process by ShedMiddleware"]
    assert (added["target"], added["floor"]) == (4, 4)
    claimed = "added in process by ShedMiddleware, trusted claims, tenants, rules"
    assert "floor" not in rows[claimed], "what is promised is of the plain one"
    assert report["absent"] == []


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


NINE = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 9.0)


def test_the_interval_of_a_median_holds_it_and_is_narrower_than_the_spread():
    low, high = interval(NINE)
    assert 1.0 < low <= 1.4 <= high < 9.0
    assert interval(NINE) == (low, high), "the same values give the same"
    assert interval([2.0] * 9) == (2.0, 2.0)


def test_more_rounds_make_it_narrower():
    low, high = interval(NINE[:8] * 8)
    few_low, few_high = interval(NINE[:8])
    assert high - low < few_high - few_low


def test_a_void_round_takes_no_part_in_a_ratio():
    row = ratio("a / b", [2.0, math.nan, 4.0], [1.0, 1.0, 1.0])
    assert (row.spread.median, row.spread.rounds) == (3.0, 2)
    assert row.as_json()["values"] == [2.0, None, 4.0]
    void = ratio("a / b", [math.nan], [1.0])
    assert void.spread.rounds == 0
    assert "void" in void.as_text(5)


SAID = """
  10 requests in 1.00s, 1KB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 4
"""


def test_what_the_generator_says_is_read_by_the_status_that_is_wanted():
    assert (parsed(SAID, 200).wrong, parsed(SAID, 503).wrong) == (4, 6)
    assert parsed(SAID, 200).errors == 3
    with pytest.raises(ValueError, match="unable to connect"):
        parsed("unable to connect", 200)


def test_steal_errors_wrong_answers_and_a_generator_that_lags_make_a_run_void():
    sound = parsed("1000 requests in 1.00s", 200)
    assert faults(sound, stolen=0.01, waited=0.5) == ()
    assert faults(sound, stolen=0.2, waited=0.5) == ("time was stolen: 20.0%",)
    assert faults(sound, stolen=0.0, waited=0.9) == ("the generator lagged: 90.0%",)
    assert [fault.partition(":")[0] for fault in faults(parsed(SAID, 200), stolen=0, waited=0)] == [
        "wrong answers",
        "errors of sockets",
    ]


def sample(*found: str) -> Sample:
    return Sample(
        traffic=str(Traffic()),
        server="a",
        us=1.0,
        answered=1,
        wrong=0,
        server_busy=1.0,
        generator_busy=0.5,
        stolen=0.0,
        faults=found,
    )


def test_notes_name_what_was_void_and_who_waited_for_the_generator():
    late, sound = sample("late: 9%"), replace(sample(), server_busy=0.5)
    lines = Turns(samples=[late, late, sound]).notes()
    assert lines == [
        f"void: a, {Traffic()}: late (2 runs)",
        f"not saturated, busy for 50% of its core: a, {Traffic()}",
    ]


def test_a_void_run_is_repeated_until_it_is_sound_or_the_bound_is_reached():
    runs = iter([sample("late"), sample(), sample()])
    assert [bool(run.faults) for run in repeated(lambda: next(runs))] == [True, False]
    assert len(repeated(lambda: sample("late"))) == 3


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.5,) * 9, "target met"),
        ((1.8,) * 9, "floor met"),
        ((2.5,) * 9, "FLOOR MISSED"),
        ((1.8, 1.9, 2.1, 2.2), "floor met, near"),
        ((math.nan,), "void"),
    ],
)
def test_a_line_is_met_by_its_median_and_says_when_the_floor_is_near(values, verdict: str):
    line = Line(Row("a / b", Spread.of(values), Budget(target=1.6, floor=2.0)))
    assert line.verdict == verdict
    assert line.is_met is ("met" in verdict)


def test_what_a_refusal_costs_bounds_the_goodput():
    assert possible_goodput(0.0, 10) == 1.0
    assert possible_goodput(0.1, 5) == pytest.approx(0.5 / 0.9)
    assert possible_goodput(0.5, 10) == 0.0


SMALL = "GET of 128 B, 16 connections, heads differ"


@pytest.mark.parametrize(
    ("name", "peer", "how", "what"),
    [
        ("proxy", "nginx", ("--heads", "differ"), (SMALL,)),
        ("refusal", "nginx return 503", ("--heads", "differ", "--sizes", "128"), (SMALL,)),
        ("tls", "nginx", (), (SMALL, "handshake and GET of 128 B, 8 clients")),
        ("tunnel", "nginx", (), ("128 B there and back, 16 tunnels",)),
    ],
)
def test_peers_are_measured_in_turns_and_raw_rows_kept(
    root: Path, tmp_path: Path, name: str, peer: str, how: tuple[str, ...], what: tuple[str, ...]
):
    """With one peer: the others take the same way."""
    file = tmp_path / f"{name}.json"
    done = run(root, name, "--quick", *how, "--peers", peer, "--save", str(file))
    assert done.returncode == 0, done.stderr
    for traffic in what:
        assert f"shedproxy / {peer}, {traffic}" in done.stdout
    kept = json.loads(file.read_text())
    assert {row["server"] for row in kept["samples"]} == {"shedproxy", peer}
    assert {row["traffic"] for row in kept["samples"]} == set(what)
    assert kept["machine"]["processor"]
    assert "nginx" in kept["machine"]["versions"]
    # Put together with itself it has every round twice.
    shown = run(root, "show", str(file), str(file))
    assert shown.returncode == 0, shown.stderr
    twice = put_together([kept, kept])
    assert [row.as_json()["values"] for row in twice.ratios] == [
        2 * row["values"] for row in kept["ratios"]
    ]
    assert all(line in shown.stdout for line in twice.tables())


def test_runs_of_different_benchmarks_are_not_put_together(root: Path, tmp_path: Path):
    with pytest.raises(NotMeasuredError, match="different"):
        put_together([{"benchmark": "tls"}, {"benchmark": "tunnel"}])
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    done = run(root, "show", str(broken))
    assert (done.returncode, "not saved by --save" in done.stderr) == (1, True)
    assert run(root, "show").returncode == 2


def test_workers_are_held_to_one_limit_wherever_their_connections_are(root: Path):
    report = json.loads(run(root, "workers", "--quick", "--json", "--parts", "fixed").stdout)
    cases = {sample["case"]: sample for sample in report["samples"]}
    alone, one_of_two = cases.values()
    assert "2 workers, all on one" in one_of_two["case"]
    assert one_of_two["most_above"] <= 2
    # Half as much is what no sharing would give; the rest is for a busy machine.
    assert one_of_two["goodput"] > 0.6 * alone["goodput"] > 0
    names = [row["name"] for row in report["rows"]]
    assert sum(name.startswith("above the limit, % of the time") for name in names) == 2


def test_memory_is_of_worker_and_supervisor(root: Path):
    report = json.loads(run(root, "memory", "--quick", "--json").stdout)
    rows = {row["name"]: row for row in report["rows"]}
    assert 5 < rows["a worker, idle"]["median"] < rows["the supervisor, idle"]["median"] < 200
    assert rows["a worker beside idle connections, 500"]["floor"] == 120


def test_a_bound_that_is_the_least_is_met_from_above_and_kept():
    budget = Budget(target=0.97, floor=0.97, is_least=True)
    assert budget.reaches(0.98, budget.floor)
    assert not budget.reaches(0.96, budget.floor)
    assert not budget.reaches(math.nan, budget.floor)
    row = Row("goodput", Spread.of([0.98]), budget)
    assert budget_of(row.as_json()) == budget
    assert budget_of(Row("us", Spread.of([1.0])).as_json()) is None
