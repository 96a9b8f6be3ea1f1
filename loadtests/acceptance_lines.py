"""What the runs of an acceptance come to, a line for each promise. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from loadtests.acceptance_services import APPS

__all__ = ["Line", "Run", "all_lines", "lines_text", "runs_text"]

LONG_S, USUAL_S = 600.0, 180.0
LONG_ERROR, USUAL_ERROR = 0.03, 0.05
COVERED_MIN = 0.9
"""36 of 40 intervals of 95 %: less than that chance makes of one in a hundred."""
OVERLAP_MIN = 0.97
"""Two intervals of 95 % miss each other once in a hundred and eighty times, if they are as wide."""
GOODPUT_MIN = 0.95
QUICK_S = 45.0


class Run(NamedTuple):
    """One calibration. Rates per second, lengths in seconds; no value: it had no answer."""

    service: str
    seed: int
    budget_s: float
    is_quick: bool
    truth_rps: float
    value_rps: float | None
    low_rps: float
    high_rps: float
    confidence: str
    reasons: list[str]
    limits: list[int]
    """Start, floor and ceiling."""
    void_steps: int
    steps: int
    verification: dict[str, Any]
    truth_spread: float = 0.0
    """Of what was counted for an application: most less least, over the mean."""
    exit_code: int = 0
    engine: str = "builtin"
    took_s: float = 0.0
    measured_s: float = 0.0
    """Start of the program and all steps, verification apart."""

    @property
    def error(self) -> float | None:
        """Relative; above 0: it said too much."""
        return None if self.value_rps is None else self.value_rps / self.truth_rps - 1

    @property
    def is_covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low_rps <= self.truth_rps <= self.high_rps

    def goodput(self) -> tuple[float, float] | None:
        """At 3 x with shedding, over the own estimate and over the truth; None: no sound run."""
        part = self.verification.get("shed-3x")
        if part is None or part["void"]:
            return None
        return part["goodput_ratio"], part["goodput_rps"] / self.truth_rps

    def refused(self) -> int | None:
        """At 0.8 x with shedding; None: no sound run."""
        part = self.verification.get("shed-0.8x")
        return None if part is None or part["void"] else part["refused"]


class Line(NamedTuple):
    """A promise, over the runs that say something of it."""

    name: str
    kept: int
    count: int
    wanted: float
    worst: str

    @property
    def is_kept(self) -> bool:
        """Also of no runs, which the text shows."""
        return self.kept >= self.wanted * self.count


def all_lines(runs: Sequence[Run]) -> list[Line]:
    """Every promise, those without data too."""
    answered = [run for run in runs if run.error is not None]
    stations = [run for run in answered if run.service not in APPS]
    return [
        _error_line("10 m: within 3 %", _of_budget(stations, LONG_S), LONG_ERROR),
        _error_line("default: within 5 %", _of_budget(answered, USUAL_S), USUAL_ERROR),
        _line(
            "intervals that hold the truth",
            [(run.is_covered, abs(run.error or 0), run) for run in stations],
            COVERED_MIN,
        ),
        _overlap_line(answered),
        _engines_line(answered),
        _line(
            "goodput at 3 x >= 0.95 of the estimate",
            [(part[0] >= GOODPUT_MIN, -part[0], run) for run in runs if (part := run.goodput())],
        ),
        _line(
            "goodput at 3 x >= 0.95 of the truth",
            [(part[1] >= GOODPUT_MIN, -part[1], run) for run in runs if (part := run.goodput())],
        ),
        _line(
            "nobody refused at 0.8 x",
            [(part == 0, part, run) for run in runs if (part := run.refused()) is not None],
        ),
        _line(
            "default: measured within 3 minutes",
            [(r.measured_s <= USUAL_S, r.measured_s, r) for r in _of_budget(runs, USUAL_S)],
        ),
        _line(
            "quick: measured within 45 s",
            [(run.measured_s <= QUICK_S, run.measured_s, run) for run in runs if run.is_quick],
        ),
    ]


def _of_budget(runs: Sequence[Run], budget_s: float) -> list[Run]:
    return [run for run in runs if run.budget_s == budget_s and not run.is_quick]


def _error_line(name: str, runs: Sequence[Run], most: float) -> Line:
    return _line(name, [(abs(e) <= most, abs(e), run) for run in runs if (e := run.error)])


def _overlap_line(runs: Sequence[Run]) -> Line:
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.service, run.budget_s), []).append(run)
    found = []
    for group in groups.values():
        for one, other in pairwise(sorted(group, key=lambda run: run.seed)):
            gap = max(one.low_rps, other.low_rps) - min(one.high_rps, other.high_rps)
            found.append((gap <= 0, gap / one.truth_rps, other))
    return _line("intervals of two runs overlap", found, OVERLAP_MIN)


def _engines_line(runs: Sequence[Run]) -> Line:
    """Of a service that both engines calibrated: how far apart the means of their answers are."""
    means: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        values = means.setdefault(run.service, {}).setdefault(run.engine, [])
        values.append(run.value_rps or 0.0)
    found = []
    for run in runs:
        by_engine = {name: fmean(values) for name, values in means[run.service].items()}
        if run.engine == "locust" and len(by_engine) > 1:
            apart = abs(by_engine["locust"] / by_engine["builtin"] - 1)
            found.append((apart <= USUAL_ERROR, apart, run))
    return _line("both engines agree within 5 %", found)


def _line(name: str, found: Sequence[tuple[bool, float, Run]], wanted: float = 1.0) -> Line:
    worst = max(found, key=lambda one: one[1], default=None)
    text = "" if worst is None else f"{abs(worst[1]):.4g}, {worst[2].service} seed {worst[2].seed}"
    return Line(name, sum(is_kept for is_kept, _, _ in found), len(found), wanted, text)


def lines_text(lines: Sequence[Line]) -> str:
    """A line of text for each."""
    found = []
    for line in lines:
        verdict = "no data" if not line.count else "ok" if line.is_kept else "MISSED"
        worst = f"worst {line.worst}" if line.count else ""
        found.append(f"{line.name:<40} {line.kept:>3} of {line.count:<3} {verdict:<8} {worst}")
    return "\n".join(found)


def runs_text(runs: Sequence[Run]) -> str:
    """A line of text for each."""
    return "\n".join(map(_run_text, runs))


def _run_text(run: Run) -> str:
    head = f"{run.service:<17} {run.engine} seed {run.seed:<3} {run.budget_s:>3.0f} s: "
    head += f"truth {run.truth_rps:.1f}/s"
    if run.truth_spread:
        head += f" (counted, spread {run.truth_spread:.1%})"
    if run.error is None:
        return f"{head}, no answer: {'; '.join(run.reasons)}"
    text = (
        f"{head}, {run.value_rps:.1f} [{run.low_rps:.1f}, {run.high_rps:.1f}] ({run.error:+.1%},"
        f" {'covered' if run.is_covered else 'NOT COVERED'}), {run.confidence}, measured in"
        f" {run.measured_s:.0f} of {run.took_s:.0f} s, {run.void_steps} of {run.steps} steps void"
    )
    if run.limits:
        text += ", limit {} [{}, {}]".format(*run.limits)
    for key, part in run.verification.items():
        if key.startswith("shed"):
            text += f"; {key[5:]}: "
            text += f"goodput {part['goodput_rps'] / run.truth_rps:.1%} of the truth, "
            text += f"{part['goodput_ratio']:.1%} of the estimate, {part['refused']} of "
            text += f"{part['offered']} refused, {part['failed']} failed"
            text += f" (void: {part['void'][0]})" if part["void"] else ""
    return text + (f"; {'; '.join(run.reasons)}" if run.confidence != "high" else "")
