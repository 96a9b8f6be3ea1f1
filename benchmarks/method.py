"""How everything here is measured: interleaved rounds, CPU time, medians with their spread.

A machine is never quiet. So the candidates take turns (A B C A B C ...) and each gets one value a
round; a ratio is taken inside each round, between values of the same seconds, and the median of
those is reported with the least and the greatest. CPU time is counted, not wall time: it does not
grow while others run. It does grow a little all the same (caches, clock rates, time stolen by a
hypervisor that the kernel books as used), which is what the spread is there to show.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Budget",
    "NotMeasuredError",
    "Report",
    "Row",
    "Spread",
    "added",
    "in_process",
    "machine_text",
    "ratio",
]


class NotMeasuredError(Exception):
    """What was seen is not what the benchmark is about, or a program it needs is missing."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and how far they lie apart."""

    median: float
    least: float
    greatest: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        return f"{self.median:9.2f} [{self.least:.2f} - {self.greatest:.2f}]"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a change must not exceed, and what we are after."""

    target: float
    floor: float

    def __str__(self) -> str:
        return f"target {self.target:g}, floor {self.floor:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result."""

    name: str
    spread: Spread
    budget: Budget | None = None

    def as_text(self, width: int) -> str:
        budget = f"  ({self.budget})" if self.budget else ""
        return f"  {self.name:<{width}} {self.spread}{budget}"

    def as_json(self) -> dict[str, Any]:
        spread = self.spread
        line: dict[str, Any] = {
            "name": self.name,
            "median": round(spread.median, 4),
            "min": round(spread.least, 4),
            "max": round(spread.greatest, 4),
            "rounds": spread.rounds,
        }
        if self.budget:
            line |= {"target": self.budget.target, "floor": self.budget.floor}
        return line


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

    def as_text(self, command: str) -> str:
        width = max(len(row.name) for row in (*self.rows, *self.ratios))
        lines = [f"$ {command}", machine_text(), "", f"{self.title}, {self.unit}"]
        lines += ["median [least - greatest] of the rounds"]
        lines += [row.as_text(width) for row in self.rows]
        if self.ratios:
            lines += ["", "ratios within a round"]
            lines += [row.as_text(width) for row in self.ratios]
        lines += [""] if self.absent or self.notes else []
        lines += [f"not on this machine: {name}" for name in self.absent]
        lines += self.notes
        return "\n".join(lines)

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "quick": quick,
            "title": self.title,
            "unit": self.unit,
            "machine": machine(),
            "rows": [row.as_json() for row in self.rows],
            "ratios": [row.as_json() for row in self.ratios],
            "absent": self.absent,
            "notes": self.notes,
        }


def machine() -> dict[str, Any]:
    """What the figures belong to, and how busy it was."""
    return {
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
    }


def machine_text() -> str:
    about = machine()
    return (
        f"{about['system']}, {about['python']}, {about['cores']} cores,"
        f" load average {about['load_average']}"
    )


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
