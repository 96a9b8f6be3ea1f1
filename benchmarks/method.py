"""How everything here is measured: interleaved rounds, CPU time, medians with their spread.

A machine is never quiet. So the candidates take turns (A B C A B C ...) and each gets one value a
round; a ratio is taken inside each round, between values of the same seconds, and the median of
those is reported with the least and the greatest. CPU time is counted, not wall time: it does not
grow while others run. It does grow a little all the same (caches, clock rates, time stolen by a
hypervisor that the kernel books as used), which is what the spread is there to show. How sure the
median is says its 95 % interval: percentile bootstrap (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13).
"""

from __future__ import annotations

import gc
import math
import random
import shlex
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.environment import how_it_runs, machine, machine_text

__all__ = [
    "Budget",
    "NotMeasuredError",
    "Report",
    "Row",
    "Spread",
    "added",
    "check_known",
    "in_process",
    "interval",
    "ratio",
]


class NotMeasuredError(Exception):
    """What was seen is not what the benchmark is about, or a program it needs is missing."""


def check_known(given: Iterable[str], known: Iterable[str]) -> None:
    """Before anything is started. Names are told as a shell takes them: some have spaces.

    Raises:
        NotMeasuredError: something is asked for that there is not.
    """
    known = list(known)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise NotMeasuredError(f"no {shlex.join(unknown)}; there are: {shlex.join(known)}")


RESAMPLES = 2000
CONFIDENCE = 0.95


def interval(values: Sequence[float], *, seed: int = 1) -> tuple[float, float]:
    """Where the median lies with a confidence of 95 %: percentile bootstrap.

    The same values give the same interval: the resamples come from a seed.
    """
    chance = random.Random(seed)
    size = len(values)
    medians = sorted(statistics.median(chance.choices(values, k=size)) for _ in range(RESAMPLES))
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return medians[tail], medians[-1 - tail]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, how far they lie apart, and the 95 % interval of the median."""

    median: float
    least: float
    greatest: float
    rounds: int
    low: float
    high: float
    values: tuple[float, ...]
    """A value a round; nan: the round is void."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of the rounds that are not void; all is nan where none is left."""
        sound = [value for value in values if not math.isnan(value)] or [math.nan]
        rounds = 0 if math.isnan(sound[0]) else len(sound)
        low, high = interval(sound) if rounds > 1 else (sound[0], sound[0])
        median = statistics.median(sound)
        return cls(median, min(sound), max(sound), rounds, low, high, tuple(values))

    def __str__(self) -> str:
        if not self.rounds:
            return "     void"
        return f"{self.median:9.2f} [{self.least:.2f} - {self.greatest:.2f}]"

    @property
    def interval_text(self) -> str:
        return f" 95 %: {self.low:.2f} - {self.high:.2f}" if self.rounds > 1 else ""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a change must not exceed, and what we are after."""

    target: float
    floor: float
    is_least: bool = False
    """Both are the least that will do: what is measured must not fall below."""

    def __str__(self) -> str:
        sign = ">= " if self.is_least else ""
        return f"target {sign}{self.target:g}, floor {sign}{self.floor:g}"

    def reaches(self, value: float, bound: float) -> bool:
        """Whether a value is on the right side of `target` or `floor`; nan is not."""
        return value >= bound if self.is_least else value <= bound


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result."""

    name: str
    spread: Spread
    budget: Budget | None = None

    def as_text(self, width: int, *, is_ratio: bool = False) -> str:
        budget = f"  ({self.budget})" if self.budget else ""
        sure = self.spread.interval_text if is_ratio else ""
        return f"  {self.name:<{width}} {self.spread}{sure}{budget}"

    def as_json(self) -> dict[str, Any]:
        spread = self.spread
        line: dict[str, Any] = {
            "name": self.name,
            "median": _rounded(spread.median),
            "min": _rounded(spread.least),
            "max": _rounded(spread.greatest),
            "interval": [_rounded(spread.low), _rounded(spread.high)],
            "rounds": spread.rounds,
            "values": [_rounded(value) for value in spread.values],
        }
        if self.budget:
            line |= {"target": self.budget.target, "floor": self.budget.floor}
            if self.budget.is_least:
                line["is_least"] = True
        return line


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


@dataclass(slots=True)
class Report:
    """What a benchmark has found."""

    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    ratios: list[Row] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Peers that are not on this machine."""
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """Of peers, as they call it themselves."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Every run of a load generator, void ones included."""
    builds: list[str] = field(default_factory=lambda: [how_it_runs()])

    def as_text(self, command: str) -> str:
        return "\n".join([f"$ {command}", machine_text(), *self.tables()])

    def tables(self) -> list[str]:
        """Lines: the figures, and what belongs to them."""
        width = max(len(row.name) for row in (*self.rows, *self.ratios))
        lines = ["", f"{self.title}, {self.unit}"]
        lines += ["median [least - greatest] of the rounds"]
        lines += [row.as_text(width) for row in self.rows]
        if self.ratios:
            lines += ["", "ratios within a round"]
            lines += [row.as_text(width, is_ratio=True) for row in self.ratios]
        lines += ["", *self.builds]
        if self.versions:
            named = (f"{name} {version}" for name, version in self.versions.items())
            lines.append(f"beside {', '.join(named)}")
        lines += [f"not on this machine: {name}" for name in self.absent]
        return lines + self.notes

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "quick": quick,
            "title": self.title,
            "unit": self.unit,
            "machine": machine() | {"versions": self.versions},
            "rows": [row.as_json() for row in self.rows],
            "ratios": [row.as_json() for row in self.ratios],
            "absent": self.absent,
            "notes": self.notes,
            "samples": self.samples,
        }


def ratio(
    name: str, above: Sequence[float], below: Sequence[float], budget: Budget | None = None
) -> Row:
    """Round by round, how many times the one costs what the other does."""
    return Row(name, Spread.of([a / b for a, b in zip(above, below, strict=True)]), budget)


def added(
    name: str, whole: Sequence[float], part: Sequence[float], budget: Budget | None = None
) -> Row:
    """Round by round, what the one costs more than the other."""
    return Row(name, Spread.of([w - p for w, p in zip(whole, part, strict=True)]), budget)


def in_process(
    cases: Mapping[str, Callable[[int], None]], *, rounds: int, count: int
) -> dict[str, list[float]]:
    """Microseconds of this thread's CPU per operation: one value a case and round.

    Each case is a function that does an operation `count` times. The collector runs between them,
    and stays on: it is part of what an allocation costs.
    """
    values: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case(count // 4)
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            start = time.thread_time_ns()
            case(count)
            values[name].append((time.thread_time_ns() - start) / count / 1000)
    return values
