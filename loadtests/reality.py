"""The same load live and in the simulator, compared: is the simulator right about the real thing?

Each load is played at the real `shedproxy run` with defaults, before a station whose departures are
computed, and in the simulator, from the same streams of chance and the cold start included. Goodput
is answers in time over the smaller of capacity and offered load, p99 that of what was served.

Exit code 0: they agree. 1: some load differs. 2: none does, but a run is void, because generator
or station lagged.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks.environment import machine
from loadtests.health import health_json, health_text
from loadtests.intentions import chance_of, intentions, run_out
from shedproxy.core import Criticality, Instant, milliseconds, seconds
from shedproxy.loadgen.comparison import GOODPUT_WITHIN, P99_WITHIN, Comparison, Figure
from shedproxy.loadgen.scenario_player import LiveRun, play_scenario
from shedproxy.simulator.registry import OURS, controller_factory
from shedproxy.simulator.world import World
from shedproxy.workload import Row, Summary, summarise
from shedproxy.workload.laws import LAWS
from shedproxy.workload.scenario import BackendSpec, ClientSpec, ProxySpec, Scenario

__all__ = ["add_options", "compare", "simulate"]

EXIT_DIFFERS, EXIT_VOID = 1, 2
REQUESTS_MAX = 200_000
"""Of one load."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `compare` wants to know."""
    add = parser.add_argument
    default = "  [default: %(default)s]"
    add(
        "--loads",
        type=float,
        nargs="+",
        default=[0.7, 0.9, 1.5, 2.0],
        help=f"over capacity{default}",
    )
    add("--for", type=float, default=20.0, dest="length", help=f"seconds a load{default}")
    add("--slots", type=int, default=8, help=f"of the station{default}")
    add("--service-ms", type=float, default=20.0, help=f"mean work{default}")
    add("--law", choices=[law for law in LAWS if law != "recorded"], default="exponential")
    add("--seeds", type=int, default=5, help=f"simulated runs a load{default}")
    add(
        "--seed", type=int, default=1, help=f"of the first live run, and of simulated ones{default}"
    )
    add("--runs", type=int, default=1, help=f"live runs a load, a seed each{default}")
    add("--noise-us", type=float, default=0.0, help=f"mean delay of simulated proxies{default}")
    add("--json", action="store_true", help="one object a run instead of a table")
    add(
        "--save", type=Path, metavar="FILE", help="JSON with the command, the machine and every run"
    )


def compare(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Play every load both ways, print how they compare, and return the exit code."""
    _check(chosen, parser)
    if not chosen.json:
        print(_heading(chosen), flush=True)
    has_void = has_different = False
    kept: list[dict[str, Any]] = []
    for load in chosen.loads:
        scenario = _scenario(chosen, load)
        seeds = range(chosen.seed, chosen.seed + chosen.seeds)
        simulated = [simulate(scenario, seed) for seed in seeds]
        for seed in range(chosen.seed, chosen.seed + chosen.runs):
            run = play_scenario(scenario, intentions(scenario, seed), seed=seed)
            comparison = Comparison(
                live=run.summary, simulated=simulated, capacity_rps=run.capacity_rps
            )
            has_void |= bool(run.faults)
            has_different |= bool(comparison.disagreements) and not run.faults
            kept.append(_as_json(load, seed, run, comparison))
            shown = json.dumps(kept[-1]) if chosen.json else _row(load, run, comparison)
            print(shown, flush=True)
            if chosen.save:
                _save(chosen.save, kept)
    return EXIT_DIFFERS if has_different else EXIT_VOID if has_void else 0


def _save(file: Path, runs: list[dict[str, Any]]) -> None:
    command = shlex.join([Path(sys.executable).name, "-m", "loadtests", *sys.argv[1:]])
    whole = {"command": command, "machine": machine(), "runs": runs}
    file.write_text(json.dumps(whole, indent=1) + "\n")


def simulate(scenario: Scenario, seed: int) -> Summary:
    """What the simulator says of a scenario without cold start, as of a live run.

    Classes are not told apart.
    """
    world = World(
        scenario=run_out(scenario),
        make_controller=controller_factory(OURS),
        chance=chance_of(seed),
        salt=seed,
        sample_count=0,
    )
    world.run()
    tally = world.tally
    critical = Criticality.CRITICAL
    rows = [
        Row(critical, Instant(sent_at), Instant(sent_at), Instant(done_at), 200)
        for done_at, latency_ns in zip(tally.served_at, tally.latencies_ns, strict=True)
        for sent_at in (done_at - latency_ns,)
    ]
    nothing = Row(critical, Instant(0), Instant(0), Instant(0), 0)
    rows += [nothing] * (tally.offered - len(rows))
    return summarise(
        rows,
        duration_ns=seconds(scenario.duration_s),
        deadline_ns=milliseconds(scenario.deadline_or_default_ms),
    )


def _check(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if not 2 <= chosen.length <= 120:
        parser.error("--for takes 2 to 120 seconds")
    if not 0 < min(chosen.loads) <= max(chosen.loads) <= 20 or len(chosen.loads) > 10:
        parser.error("--loads takes up to 10 loads, each above 0 and at most 20")
    if not 1 <= chosen.seeds <= 20:
        parser.error("--seeds takes 1 to 20")
    if chosen.seed < 0 or not 1 <= chosen.runs <= 20:
        parser.error("--seed takes 0 or more, --runs 1 to 20")
    if not (chosen.slots >= 1 and 0 < chosen.service_ms < math.inf and chosen.noise_us >= 0):
        parser.error("--slots takes 1 or more, --service-ms a time above 0, --noise-us 0 or more")
    if max(chosen.loads) * chosen.slots / chosen.service_ms * 1000 * chosen.length > REQUESTS_MAX:
        parser.error(
            f"that is more than {REQUESTS_MAX} requests of one load: play it for less long"
        )


def _scenario(chosen: argparse.Namespace, load: float) -> Scenario:
    return Scenario(
        name=f"reality-{load:g}",
        duration_s=chosen.length,
        backend=BackendSpec(slots=chosen.slots, service_ms=chosen.service_ms, law=chosen.law),
        client=(ClientSpec(load=load),),
        proxy=ProxySpec(noise_us=chosen.noise_us),
    )


# --- what is shown --------------------------------------------------------------------------


def _heading(chosen: argparse.Namespace) -> str:
    return (
        f"{chosen.slots} slots x {chosen.service_ms:g} ms, {chosen.law}: "
        f"{chosen.slots / chosen.service_ms * 1000:g} answers/s at best; "
        f"{chosen.length:g} s a load, live and in {chosen.seeds} simulated runs\n"
        f"agree: goodput within {100 * GOODPUT_WITHIN:g} points of the simulated median, "
        f"p99 within the simulated range +/- {100 * P99_WITHIN:g} %\n"
        f"{'load':>5}  {'goodput':>8} {'simulated [range]':>26} {'differs':>9}"
        f"  {'p99 ms':>7} {'simulated [range]':>24} {'differs':>8}  verdict"
    )


def _row(load: float, run: LiveRun, comparison: Comparison) -> str:
    goodput, p99_ms = comparison.goodput, comparison.p99_ms
    p99_differs = f"{p99_ms.difference / p99_ms.median:+.1%}" if p99_ms.median else "-"
    return (
        f"{load:>5g}  {goodput.live:>8.1%} {_range(goodput, '.1%'):>26}"
        f" {100 * goodput.difference:>+6.1f} pt"
        f"  {p99_ms.live:>7.1f} {_range(p99_ms, '.1f'):>24} {p99_differs:>8}"
        f"  {_verdict(run, comparison)}\n"
        f"       {health_text(run)}"
    )


def _range(figure: Figure, form: str) -> str:
    return f"{figure.median:{form}} [{figure.least:{form}} - {figure.most:{form}}]"


def _verdict(run: LiveRun, comparison: Comparison) -> str:
    if run.faults:
        return "void: " + "; ".join(run.faults)
    if comparison.disagreements:
        return " and ".join(comparison.disagreements) + " differ"
    return "agree"


def _as_json(load: float, seed: int, run: LiveRun, comparison: Comparison) -> dict[str, Any]:
    def figure(of: Figure) -> dict[str, Any]:
        return {"live": round(of.live, 4), "simulated": [round(each, 4) for each in of.simulated]}

    return {
        "load": load,
        "seed": seed,
        "capacity_rps": run.capacity_rps,
        "goodput_ratio": figure(comparison.goodput),
        "p99_ms": figure(comparison.p99_ms),
        "disagreements": comparison.disagreements,
        **health_json(run),
    }
