"""A scenario of the suite in real time, on real sockets.

SCENARIO is a name of the suite, or a file, that says `live = true`. Its clients ask for what they
ask for in the simulator at the same seed; its backend is a station of slots whose departures are
computed, and before it stands the real `shedproxy run` with defaults. Where a client claims the
highest class, the proxy is told to believe its clients.

Exit code 0: it was played. 2: it cannot be, or generator or station lagged and the run is void.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from loadtests.health import health_json, health_text
from loadtests.intentions import intentions
from shedproxy.cli.scenario_files import find_scenario, read_scenario
from shedproxy.core import NS_PER_MS, Nanos
from shedproxy.errors import DocumentInvalidError, StartupError
from shedproxy.loadgen.scenario_player import LiveRun, play_scenario, unplayable
from shedproxy.settings.render import render_problems
from shedproxy.simulator.suite import expected_requests
from shedproxy.workload.scenario import Scenario

__all__ = ["add_options", "play"]

EXIT_VOID = 2
REQUESTS_MAX = 200_000
LENGTH_MAX_S = 600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `play` wants to know."""
    add = parser.add_argument
    add("scenario", metavar="SCENARIO", help="a name of the suite, or a file")
    add("--for", type=float, dest="length", metavar="SECONDS", help="only its beginning")
    add("--seed", type=int, default=1, help="of arrivals and work  [default: %(default)s]")
    add("--json", action="store_true", help="one object instead of a text")


def play(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Play it, print what its clients got, and return the exit code."""
    try:
        scenario = read_scenario(find_scenario(chosen.scenario))
    except StartupError as error:
        parser.error(str(error))
    except DocumentInvalidError as error:
        sys.stderr.write(render_problems(error.problems))
        return 2
    if chosen.length is not None:
        scenario = replace(scenario, duration_s=min(chosen.length, scenario.duration_s))
    _check(scenario, parser)
    asked = intentions(scenario, chosen.seed)
    if len(asked) <= scenario.unscored_arrivals:
        parser.error(f"all of the {len(asked)} requests are cold start: play it for longer")
    run = play_scenario(scenario, asked, seed=chosen.seed)
    print(json.dumps(_as_json(scenario, run)) if chosen.json else _as_text(scenario, run))
    return EXIT_VOID if run.faults else 0


def _check(scenario: Scenario, parser: argparse.ArgumentParser) -> None:
    problems = unplayable(scenario)
    if not scenario.live:
        problems.append("the file does not say live = true")
    if problems:
        parser.error("\n  ".join([f"{scenario.name} cannot be played live:", *problems]))
    if not 0 < scenario.duration_s <= LENGTH_MAX_S:
        parser.error(f"--for takes seconds above 0, at most {LENGTH_MAX_S:g}")
    if expected_requests(scenario) > REQUESTS_MAX:
        parser.error(f"that is more than {REQUESTS_MAX} requests: play it for less long")


def _as_json(scenario: Scenario, run: LiveRun) -> dict[str, Any]:
    summary = run.summary
    return {
        "scenario": scenario.name,
        "capacity_rps": run.capacity_rps,
        "offered_rps": round(summary.offered_rps, 2),
        "goodput_rps": round(summary.goodput_rps, 2),
        "p50_ms": _ms(summary.p50_ns),
        "p99_ms": _ms(summary.p99_ns),
        "refusal_p99_ms": _ms(summary.refusal_p99_ns),
        "offered": summary.offered,
        "served": summary.served,
        "refused": summary.refused,
        "failed": summary.failed,
        "by_class": summary.classes_as_json(),
        **health_json(run),
    }


def _as_text(scenario: Scenario, run: LiveRun) -> str:
    summary = run.summary
    text = (
        f"{scenario.name}: {scenario.duration_s:g} s, scored after {scenario.unscored_arrivals} "
        f"arrivals; {run.capacity_rps:g} answers/s at best\n"
        f"  offered {summary.offered_rps:.1f}/s, goodput {summary.goodput_rps:.1f}/s, "
        f"p50 {_ms(summary.p50_ns)} ms, p99 {_ms(summary.p99_ns)} ms\n"
        f"  {summary.offered} requests: {summary.served} served in time, "
        f"{summary.refused} refused, {summary.failed} failed\n"
    )
    for criticality, part in sorted(summary.by_class.items(), reverse=True):
        share = f"{part.served / part.offered:.2%} of {part.offered} served in time"
        text += f"  {criticality.label}: {share}\n"
    text += f"  {health_text(run)}"
    return "\n".join([text, *(f"  void: {fault}" for fault in run.faults)])


def _ms(length_ns: Nanos | None) -> float | None:
    return None if length_ns is None else round(length_ns / NS_PER_MS, 2)
