"""Whether calibrations are right: `shedproxy calibrate` at services of known truth.

Starts a service, calibrates it as users do, with its profile written, and holds what came out
against the truth; one after the other, each run with a seed of its own. Figures are added to a
file, a line a run, so that a campaign can be played in parts; `--show` prints what they come to.

    python -m loadtests acceptance --services 4x20-exponential threads --quick
    python -m loadtests acceptance --services 8x5-constant --budget 10m --runs 2 --add to.jsonl
    python -m loadtests acceptance --show to.jsonl

Exit code 0: every line that has data holds. 1: one does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loadtests.acceptance_lines import Run, all_lines, lines_text, runs_text
from loadtests.acceptance_services import SERVICES, SLOS, Running, count_capacity
from shedproxy.calibration.results import Calibration, decode_calibration

__all__ = ["acceptance", "add_options", "read_run"]

_SLACK_S = 400


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=list(SERVICES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--budget", help="3m, or 40s with --quick")
    parser.add_argument("--runs", type=int, default=1, help="calibrations of each service")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--engine", choices=("builtin", "locust"), default="builtin")
    parser.add_argument("--no-verify", action="store_true", help="measure only")
    parser.add_argument("--reference", type=float, default=60.0, help="seconds an app is counted")
    parser.add_argument("--add", type=Path, metavar="FILE", help="add a line of JSON for each run")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the folder of every run")
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="run nothing")


def acceptance(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run what was chosen, print what came out; returns the exit code."""
    if chosen.runs < 1:
        parser.error("--runs is above 0")
    runs: list[Run] = []
    if chosen.show:
        for file in chosen.show:
            runs += [Run(**json.loads(line)) for line in file.read_text().splitlines()]
    else:
        for name in chosen.services:
            for run in _runs_of(name, chosen):
                print(runs_text([run]), flush=True)
                if chosen.add:
                    with chosen.add.open("a") as lines:
                        lines.write(json.dumps(run._asdict()) + "\n")
                runs.append(run)
    lines = all_lines(runs)
    if chosen.show:
        print(runs_text(runs))
    print(lines_text(lines))
    return 0 if all(line.is_kept for line in lines) else 1


def _runs_of(name: str, chosen: argparse.Namespace) -> list[Run]:
    """All runs of one service; an app is one process for all, counted before, between and after."""
    seeds = range(chosen.first, chosen.first + chosen.runs)
    found: list[Run] = []
    with SERVICES[name](chosen.first) as running:
        counted = _counted(running, chosen.reference)
        for seed in seeds:
            found.append(_run(name, seed, running, chosen))
            counted += _counted(running, chosen.reference)
    if not counted:
        return found
    truth = sum(counted) / len(counted)
    spread = (max(counted) - min(counted)) / truth
    return [run._replace(truth_rps=truth, truth_spread=spread) for run in found]


def _counted(running: Running, length_s: float) -> list[float]:
    return [] if running.capacity_rps else [count_capacity(running.url, length_s)]


def _run(name: str, seed: int, running: Running, chosen: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        out = (chosen.keep or Path(folder)) / f"{name}-{seed}"
        command = [
            *(sys.executable, "-m", "shedproxy", "calibrate", running.url),
            *(f"--out={out}", f"--write={Path(folder) / 'shedproxy.toml'}", f"--seed={seed}"),
            f"--slo={SLOS[name]}",
            *(["--engine=locust", "--processes=2"] if chosen.engine == "locust" else []),
            *(["--quick"] if chosen.quick else []),
            *([f"--budget={chosen.budget}"] if chosen.budget else []),
            *(["--no-verify"] if chosen.no_verify else []),
        ]
        began_s = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took_s = time.time() - began_s
        if not (out / "report.json").exists():
            raise RuntimeError(f"calibrate ended with {done.returncode}: {done.stderr.strip()}")
        measured_s = (out / "steps.jsonl").stat().st_mtime - began_s
        calibration = decode_calibration((out / "report.json").read_text())
    run = read_run(calibration, name=name, seed=seed, truth_rps=running.capacity_rps or 0.0)
    return run._replace(exit_code=done.returncode, took_s=took_s, measured_s=measured_s)


def read_run(calibration: Calibration, *, name: str, seed: int, truth_rps: float) -> Run:
    """What a report says, as far as it is judged here."""
    capacity, plan = calibration.findings.capacity_rps, calibration.plan
    figures: dict[str, Any] = {}
    for run in calibration.verification:
        key = ("shed" if run.is_shedding else "bare") + f"-{run.load_ratio:g}x"
        figures[key] = {
            "goodput_rps": round(run.goodput_rps, 2),
            "goodput_ratio": round(run.goodput_ratio, 4),
            "offered": run.offered_count,
            "refused": run.refused_count,
            "failed": run.failed_count,
            "p99_ms": None if run.latency is None else round(run.latency.p99_ns / 1e6, 1),
            "void": list(run.reasons) or ["not all was sent"] if run.is_void else [],
        }
    cells = calibration.thresholds.cells if calibration.thresholds else ()
    return Run(
        service=name,
        seed=seed,
        budget_s=plan.budget_ns / 1e9,
        is_quick=plan.is_quick,
        truth_rps=truth_rps,
        value_rps=capacity.value if capacity else None,
        low_rps=capacity.low if capacity else 0.0,
        high_rps=capacity.high if capacity else 0.0,
        engine=plan.engine,
        confidence=calibration.verdict.confidence.name.lower(),
        reasons=list(calibration.verdict.reasons),
        limits=[value for cell in cells for value in (cell.start, cell.floor, cell.ceiling)],
        void_steps=sum(step.state.name == "VOID" for step in calibration.steps),
        steps=len(calibration.steps),
        verification=figures,
    )
