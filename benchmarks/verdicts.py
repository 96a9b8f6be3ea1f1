"""A figure and what it has to be, and what all of them come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.method import Row

__all__ = ["Line", "exit_code", "lines_text"]


@dataclass(frozen=True, slots=True)
class Line:
    """One figure and what it has to be."""

    row: Row
    flattered: str = ""
    """By what the figure is too good, so that it can miss its floor and not meet it: another line
    decides."""

    @property
    def verdict(self) -> str:
        """By the median; `near` says that the 95 % interval has the floor in it."""
        spread, budget = self.row.spread, self.row.budget
        assert budget is not None
        if not spread.rounds or math.isnan(spread.median):
            return "void"
        near = ", near" if spread.low <= budget.floor <= spread.high else ""
        if not budget.reaches(spread.median, budget.floor):
            return "FLOOR MISSED" + near
        if self.flattered:
            return f"not judged: {self.flattered}"
        is_target = budget.reaches(spread.median, budget.target)
        return ("target met" if is_target else "floor met") + near

    @property
    def is_met(self) -> bool:
        return self.verdict.startswith(("target met", "floor met"))

    @property
    def is_missed(self) -> bool:
        return self.verdict.startswith("FLOOR MISSED")

    @property
    def is_void(self) -> bool:
        return self.verdict == "void"

    def as_text(self, width: int) -> str:
        spread, budget = self.row.spread, self.row.budget
        assert budget is not None
        sign = ">=" if budget.is_least else "<="
        return (
            f"  {self.row.name:<{width}} {sign} {budget.target:7.3f} {budget.floor:7.3f}"
            f" {spread.median:8.3f} {f'{spread.low:.3f} - {spread.high:.3f}':>19} {spread.rounds:3}"
            f"  {self.verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        return self.row.as_json() | {"verdict": self.verdict, "flattered": self.flattered}


def lines_text(lines: Sequence[Line], title: str) -> list[str]:
    """A table of them."""
    width = max((len(line.row.name) for line in lines), default=0)
    width = max(width, len(title))
    head = f"  {title:<{width}}     target   floor   figure       95 % interval   n"
    return [head, *(line.as_text(width) for line in lines)]


def exit_code(lines: Sequence[Line]) -> int:
    """0: every floor is met. 1: one is missed. 2: none is, but something is void, or nothing is."""
    if any(line.is_missed for line in lines):
        return 1
    is_sound = not any(line.is_void for line in lines)
    return 0 if is_sound and any(line.is_met for line in lines) else 2
