"""The benchmarks run, and print what their readers rely on."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from harness.raw_server import raw_server

from benchmarks.acceptance import at_one_rate
from benchmarks.load import (
    REQUESTS,
    Cell,
    Sample,
    Seen,
    Traffic,
    Turns,
    added_up,
    faults,
    parsed,
    repeated,
)
from benchmarks.method import Budget, NotMeasuredError, Row, Spread, interval, ratio
from benchmarks.overload import OverloadReport, fits_beside, plan
from benchmarks.overload_cells import Cell as Overloaded
from benchmarks.overload_cells import Job
from benchmarks.overload_healthy import Healthy
from benchmarks.overload_shapes import SHAPES, TUNED, QueueControl, Shape, play
from benchmarks.refusal import possible_goodput
from benchmarks.saved import budget_of, put_together
from benchmarks.servers import Server
from benchmarks.side_by_side import side_by_side, takes_s
from benchmarks.verdicts import Line, exit_code
from shedproxy.simulator.controllers.fixed_limit import FixedControl

pytestmark = pytest.mark.integration

TRIES = 3


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
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


def test_overload_is_simulated_beside_peers_that_know_the_service(root: Path):
    done = run(root, "overload", "--simulate", "--quick", "--json", "--shapes", "4x20ms")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [place["load"] for place in report["places"]] == [1.5, 2, 3, 5, 10]
    for place in report["places"]:
        assert place["peer_p99_ms"] >= 20
        assert len(place["goodput_ratios"]) == len(place["p99_ratios"]) == 1


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
    assert report["command"].endswith(" middleware --quick --rounds 1 --save middleware.json")
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["memory", "--peers", "nginx"], "--peers is not for memory, which takes --rounds"),
        (["show", "x.json", "--seed", "2"], "--seed is not for show, which takes none of these"),
        (["proxy", "--sizes", "128,9k"], "no size 9k; there are: 128, 16k, post16k"),
        (["refusal", "--connections", "16,many"], "'many' is no whole number from 1"),
        (["decisions", "--rounds", "0"], "'0' is no whole number from 1"),
        (["decisions", "--save", "no/x.json"], "--save: there is no folder no"),
        (["workers", "--parts", "proxy"], "--parts proxy is not of workers; there are: cpu,"),
        (["acceptance", "--parts", "cpu"], "--parts cpu is not of acceptance; there are: proxy,"),
        (["tls", "--simulate"], "--simulate and --search are for overload"),
    ],
)
def test_what_would_be_ignored_or_fail_at_the_end_is_told_before(
    root: Path, arguments: list[str], words: str
):
    done = run(root, *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["proxy", "refusal", "tls", "tunnel", "overload"])
def test_a_peer_that_there_is_not_is_told_with_those_that_there_are(root: Path, name: str):
    done = run(root, name, "--quick", "--peers", "ngnix")
    assert done.returncode in {1, 2}
    assert "not measured: no ngnix; there are: shedproxy " in done.stderr


@pytest.mark.peers("nginx")
def test_overload_is_played_from_a_cold_start_and_says_what_it_saw(root: Path, tmp_path: Path):
    """What else the machine does takes from the goodput and adds to the rest: three tries."""
    file = tmp_path / "overload.json"
    for _ in range(TRIES):
        file.unlink(missing_ok=True)
        done = run(root, "overload", "--quick", "--peers", "nothing", "--save", str(file))
        assert "1 rounds of 3 cells" in done.stderr, "how long it takes is said before"
        report = json.loads(file.read_text())
        cells = {cell["peer"]: cell for cell in report["samples"]}
        assert list(cells) == ["shedproxy", "nothing", "refuse all"]
        ours, refuser = cells["shedproxy"], cells["refuse all"]
        assert ours["goodput"] < 1.1
        if ours["goodput"] > 0.5 and ours["p99_ms"] <= 1000 and ours["refused_share"] < 0.8:
            break
    assert (ours["shape"], ours["load"], ours["seed"]) == ("4x20ms", 3.0, 1)
    assert ours["goodput"] > 0.5
    assert 0 < ours["p50_ms"] <= ours["p99_ms"] <= 1000
    assert 0.4 < ours["refused_share"] < 0.8
    assert (refuser["goodput"], refuser["told"]) == (0, refuser["asked"])
    verdicts = {line["name"]: line["verdict"] for line in report["ratios"]}
    assert "ms until a refusal on arrival is told, p99, 4x20ms at 3x" in verdicts
    assert done.returncode in {0, 1, 2}
    # Put together with itself it has every round twice.
    shown = run(root, "show", str(file), str(file))
    assert shown.returncode == 0, shown.stderr
    twice = put_together([report, report])
    assert all(line in shown.stdout for line in twice.tables())
    assert [cell.round for cell in twice.cells] == [1, 1, 1, 2, 2, 2]


def seen(
    peer: str, goodput: float, p99_ms: float | None, *faults: str, number: int = 1
) -> Overloaded:
    return Overloaded(
        shape="4x20ms",
        load=3.0,
        peer=peer,
        round=number,
        seed=number,
        seconds=10.0,
        asked=6000,
        served=2000,
        goodput=goodput,
        p50_ms=20.0,
        p99_ms=p99_ms,
        refused_share=0.6,
        told=100,
        told_p99_ms=0.5,
        generator_busy=0.1,
        send_lag_p99_ms=0.1,
        service_lag_p99_ms=0.1,
        stolen=0.0,
        faults=faults,
    )


def verdicts(*cells: Overloaded) -> list[tuple[str, float, str]]:
    lines = OverloadReport(cells=list(cells)).lines
    return [
        (line.row.name.partition(", 4x20ms")[0], line.row.spread.median, line.verdict)
        for line in lines
    ]


def test_overload_is_judged_by_the_peers_that_reach_the_best_goodput():
    """The quickest of all serves too few, and what is void says nothing."""
    peers = [seen("a", 1.0, 40), seen("b", 0.98, 30), seen("c", 0.5, 20), seen("d", 1.2, 1, "late")]
    assert verdicts(seen("shedproxy", 0.98, 45), *peers) == [
        ("goodput, shedproxy / a", 0.98, "target met"),
        ("p99, shedproxy / b", 1.5, "target met, near"),
    ]
    goodput, _ = verdicts(seen("shedproxy", 0.96, 45), *peers)
    assert goodput == ("goodput, shedproxy / a", 0.96, "FLOOR MISSED")
    goodput, p99 = verdicts(seen("shedproxy", 1.0, 45, "late"), *peers)
    assert goodput[2] == p99[2] == "void"
    # Nobody was served: that is no void round.
    assert verdicts(seen("shedproxy", 0.0, None), *peers)[1][1:] == (math.inf, "FLOOR MISSED")


def test_overload_is_judged_inside_rounds_by_the_last_run_of_each():
    """Round 2 was twice as slow for all, and its first run was void."""
    rows = [
        *(seen("shedproxy", 0.98, 40), seen("a", 1.0, 40)),
        *(seen("shedproxy", 0.1, 900, "late", number=2), seen("shedproxy", 0.49, 80, number=2)),
        seen("a", 0.5, 80, number=2),
    ]
    report = OverloadReport(cells=rows)
    goodput, p99 = report.lines
    assert goodput.row.spread.values == (0.98, 0.98)
    assert p99.row.spread.values == (1.0, 1.0)
    assert report.exit_code == 0
    missed = OverloadReport(cells=[seen("shedproxy", 0.9, 40), seen("a", 1.0, 40)])
    assert missed.exit_code == 1
    void = OverloadReport(cells=[seen("shedproxy", 0.9, 40, "late"), seen("a", 1.0, 40)])
    assert void.exit_code == 2


def test_refusals_are_timed_only_where_refusing_everything_is_quick():
    ours = [seen("shedproxy", 0.98, 40), replace(seen("shedproxy", 1, 9, number=2), told_p99_ms=9)]
    refuser = [seen("refuse all", 0, None), replace(seen("refuse all", 0, None), round=2)]
    assert verdicts(*ours, refuser[0], replace(refuser[1], told_p99_ms=1.5)) == [
        ("ms until a refusal on arrival is told, p99", 0.5, "target met")
    ]
    [(_, median, verdict)] = verdicts(*ours, *refuser)
    assert (median, verdict[:12]) == (4.75, "FLOOR MISSED")


def healthy(refused: int, *faults: str) -> Healthy:
    return Healthy(
        connections=8,
        peer="shedproxy",
        round=1,
        answered=10_000,
        refused=refused,
        service_us=50.0,
        server_busy=1.0,
        generator_busy=0.4,
        stolen=0.0,
        faults=faults,
    )


def test_nobody_but_one_in_a_thousand_is_refused_before_a_healthy_service():
    assert OverloadReport(healthy=[healthy(1)]).exit_code == 0
    assert OverloadReport(healthy=[healthy(20)]).exit_code == 1
    assert OverloadReport(healthy=[healthy(20, "few answers: 3")]).exit_code == 2


def test_cells_last_until_a_figure_rests_on_enough_and_the_longest_come_first():
    jobs = plan(["4x5ms", "2x200ms"], [0.5, 3.0], ["shedproxy", "refuse all"])
    lasting = {(job.shape, job.load): job.seconds for job in jobs if job.peer == "shedproxy"}
    assert lasting == {
        ("2x200ms", 0.5): 400,
        ("2x200ms", 3.0): 200,
        ("4x5ms", 0.5): 60,
        ("4x5ms", 3.0): 60,
    }
    assert {job.seconds for job in jobs if job.peer == "refuse all"} == {10}
    assert [job.seconds for job in jobs] == sorted((job.seconds for job in jobs), reverse=True)
    assert all(job.load > 1 for job in jobs if job.peer == "refuse all")
    assert {job.seconds for job in plan(["2x200ms"], [3.0], ["a"], seconds=5.0)} == {5.0}


def test_cells_that_wake_often_have_little_company_and_repeated_ones_less():
    brisk = plan(["4x5ms"], [1.5], list("abcdef"))
    leisurely = plan(["2x200ms"], [1.5], list("abcdef"))

    def most(jobs: list[Job], beside: int, attempt: int = 1) -> int:
        again = [replace(job, attempt=attempt) for job in jobs]
        fits = fits_beside(beside)
        return next(
            (taken for taken in range(1, 6) if not fits(again[:taken], again[taken])), len(again)
        )

    assert [most(leisurely, beside) for beside in (0, 2, 16)] == [1, 2, 6]
    assert [most(brisk, beside) for beside in (0, 2, 16)] == [1, 2, 4]
    assert [most(brisk, 16, attempt) for attempt in (2, 3)] == [2, 1]
    assert not fits_beside(16)([replace(brisk[0], attempt=3)], brisk[1])
    assert not fits_beside(16)(brisk[:1], leisurely[0])


def opposite(job: int, begin: Callable[[], None]) -> int:
    begin()
    return -job


def ends(_job: int, _begin: Callable[[], None]) -> None:
    os._exit(1)


def cannot(_job: int, _begin: Callable[[], None]) -> None:
    raise NotMeasuredError("no port")


def fits(busy: Sequence[int], job: int) -> bool:
    return sum(busy) + job <= 3


def test_jobs_that_fit_run_side_by_side_and_the_void_again_at_once():
    done: list[tuple[int, int]] = []

    def on_done(job: int, result: int) -> int | None:
        done.append((job, result))
        return 1 if job == 2 else None

    side_by_side([2, 5, 1], opposite, fits=fits, on_done=on_done)
    assert done == [(2, -2), (1, -1), (1, -1), (5, -5)]
    assert takes_s([1, 1, 1, 1], lambda _: 10.0, ready_s=1.0, fits=fits) == 26.0


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def plays(job: tuple[float, Path], begin: Callable[[], None]) -> None:
    """For so many seconds, in a loop that is always in the middle of receiving something."""
    seconds, ended = job

    async def play() -> None:
        loop = asyncio.get_running_loop()
        pair = [await loop.create_connection(Echo, sock=end) for end in socket.socketpair()]
        pair[0][0].write(b"ping")
        await asyncio.sleep(seconds)

    begin()
    try:
        uvloop.run(play())
    finally:
        ended.touch()


def test_what_is_interrupted_ends_all_that_runs_in_order(tmp_path: Path):
    """A child that went on would have the servers that it has started go on as well."""
    jobs = [(0.01, tmp_path / "short"), (600.0, tmp_path / "long")]

    def on_done(_job: object, _result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(jobs, plays, fits=lambda *_: True, on_done=on_done)
    assert (tmp_path / "long").exists()


@pytest.mark.parametrize(("run_it", "why"), [(ends, "a process died: 1"), (cannot, "no port")])
def test_a_job_that_fails_costs_only_itself(run_it: Callable[..., None], why: str):
    failed: list[str] = []
    side_by_side([1, 1], run_it, fits=fits, on_done=lambda _, error: failed.append(str(error)))
    assert failed == [why, why]


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


def test_a_line_that_is_flattered_may_miss_and_does_not_meet():
    budget = Budget(target=1.6, floor=2.0)
    good = Line(Row("a / b", Spread.of([1.5]), budget), "b was kept waiting")
    assert (good.verdict, good.is_met) == ("not judged: b was kept waiting", False)
    bad = Line(Row("a / b", Spread.of([2.5]), budget), "b was kept waiting")
    sound = Line(Row("a / b, 1 ms apart", Spread.of([1.7]), budget))
    void = Line(Row("c / d", Spread.of([math.nan]), budget))
    assert bad.is_missed
    assert exit_code([good, sound]) == 0
    assert exit_code([bad, sound, void]) == 1
    assert exit_code([good]) == exit_code([sound, void]) == exit_code([]) == 2


def server(name: str) -> Server:
    return Server(name, [], port=1, home=Path())


def test_who_was_kept_waiting_is_asked_again_at_a_rate_that_all_can_keep():
    """Who runs or waits for its core all the time was not."""
    traffic = Traffic(connections=64)
    rows = [
        replace(sample(), traffic=str(traffic), server="shedproxy"),
        replace(sample(), traffic=str(traffic), server="nginx", server_busy=0.8),
        replace(
            sample(), traffic=str(traffic), server="Envoy", server_busy=0.5, server_waited=0.45
        ),
    ]
    turns = Turns(samples=rows)
    assert turns.kept_waiting(traffic, "nginx") == "nginx was kept waiting"
    assert turns.kept_waiting(traffic, "Envoy") == turns.kept_waiting(traffic, "shedproxy") == ""
    [again] = at_one_rate([Cell(traffic, [server(row.server) for row in rows])], turns)
    assert again.traffic == replace(traffic, pause_ms=4)
    assert "function delay() return 4 end" in again.traffic.script()
    assert [one.name for one in again.servers] == ["shedproxy", "nginx"]
    full = replace(rows[1], generator_waited=0.45)
    assert Turns(samples=[full]).kept_waiting(traffic, "nginx") == (
        "nginx was kept waiting by a generator that was saturated"
    )


@pytest.mark.anyio
@pytest.mark.peers("wrk")
@pytest.mark.parametrize(("size", "body"), [("128", b""), ("post16k", b"x" * 16384)])
async def test_heads_that_differ_differ_in_path_and_trace_alone(
    size: str, body: bytes, tmp_path: Path
):
    script = tmp_path / "load.lua"
    script.write_text(Traffic(size, 1).script())
    heads: list[bytes] = []
    has_enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            assert await reader.readexactly(len(body)) == body
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            if len(heads) == 300:
                has_enough.set()

    method, path = REQUESTS[size]
    async with raw_server(serve) as address:
        command = ["wrk", "-t1", "-c1", "-d60s", f"http://{address}{path}", "-s", str(script)]
        load = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        await has_enough.wait()
        load.kill()
        await load.wait()
    first_line = re.compile(rb"%s %s/\d{1,5} HTTP/1\.1" % (method.encode(), path.encode()))
    trace = re.compile(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01")
    lines = [head.removesuffix(b"\r\n\r\n").split(b"\r\n") for head in heads]
    assert all(first_line.fullmatch(line[0]) for line in lines)
    assert len({line[0] for line in lines}) == len(lines)
    traces = [field for line in lines for field in line[1:] if trace.fullmatch(field)]
    assert len(set(traces)) == len(lines)
    others = {tuple(field for field in line[1:] if not trace.fullmatch(field)) for line in lines}
    assert len(others) == 1
    names = {field.partition(b":")[0].lower() for field in others.pop()}
    usual = {b"host", b"user-agent", b"accept", b"accept-encoding", b"cookie"}
    assert names == usual | ({b"content-length"} if body else set())


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("restarts", "restarts: requests lost, 1 rolling restarts and reloads, 2 kills"),
        pytest.param(
            "overload",
            "overload: ms until a refusal on arrival is told, p99, 4x20ms at 3x",
            marks=pytest.mark.peers("nginx"),
        ),
    ],
)
def test_acceptance_has_the_bounds_of_what_it_is_made_of(
    root: Path, tmp_path: Path, part: str, line: str
):
    file = tmp_path / "acceptance.json"
    arguments = ("acceptance", "--quick", "--parts", part, "--peers", "nothing")
    done = run(root, *arguments, "--save", str(file))
    assert done.returncode in {0, 1, 2}, done.stderr
    names = [line["name"] for line in json.loads(file.read_text())["lines"]]
    assert line in names
    shown = run(root, "show", str(file), str(file))
    assert shown.returncode == 0, shown.stderr
    assert all(name in shown.stdout for name in names)


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
@pytest.mark.peers("nginx", "wrk")
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


@pytest.mark.peers("nginx", "wrk")
def test_workers_are_compared_with_one_and_with_two_that_share_nothing(root: Path, tmp_path: Path):
    """The second tells what the machine takes for two processes instead of one."""
    file = tmp_path / "workers.json"
    done = run(root, "workers", "--quick", "--parts", "cpu", "--save", str(file))
    assert done.returncode == 0, done.stderr
    ratios = {row["name"]: row for row in json.loads(file.read_text())["ratios"]}
    for where in ("", " on a core each"):
        shared = f"us per request, shedproxy, 2 workers{where} /"
        alone = f"two of 1 worker{where}"
        assert ratios[f"{shared} 1 worker, {SMALL}"]["floor"] == 1.1
        assert ratios[f"{shared} {alone}, {SMALL}"]["floor"] == 1.1
        assert "floor" not in ratios[f"us per request, shedproxy, {alone} / 1 worker, {SMALL}"]
        assert "floor" not in ratios[f"us per request, nginx, 2 workers{where} / {alone}, {SMALL}"]


def test_of_several_generators_what_they_saw_is_added_up():
    parts = [Seen(answered=3, wrong=1, errors=0), Seen(answered=4, wrong=0, errors=2)]
    assert added_up(parts) == Seen(answered=7, wrong=1, errors=2)


def test_runs_of_different_benchmarks_are_not_put_together(root: Path, tmp_path: Path):
    with pytest.raises(NotMeasuredError, match="different"):
        put_together([{"benchmark": "tls"}, {"benchmark": "tunnel"}])
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    done = run(root, "show", str(broken))
    assert (done.returncode, "was not saved by --save" in done.stderr) == (1, True)
    assert "cannot read none.json: No such file" in run(root, "show", "none.json").stderr
    broken.write_text("{")
    assert "it is no JSON" in run(root, "show", str(broken)).stderr
    assert run(root, "show").returncode == 2


def test_workers_are_held_to_one_limit_wherever_their_connections_are(root: Path):
    """Half as much is what no sharing would give; a busy machine may give less: three tries."""
    for _ in range(TRIES):
        report = json.loads(run(root, "workers", "--quick", "--json", "--parts", "fixed").stdout)
        cases = {sample["case"]: sample for sample in report["samples"]}
        alone, one_of_two = cases.values()
        assert "2 workers, all on one" in one_of_two["case"]
        assert one_of_two["most_above"] <= 2
        assert alone["goodput"] > 0
        if one_of_two["goodput"] > 0.6 * alone["goodput"]:
            break
    assert one_of_two["goodput"] > 0.6 * alone["goodput"]
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
