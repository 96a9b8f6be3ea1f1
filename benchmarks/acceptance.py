"""What has to be reached in speed: a line for each figure, and whether it is met.

Only the ratios that a target is set for, in two runs: `proxy` and `refusal`. Two kinds of traffic,
each with verdicts of its own: heads differ, as of many users; alike, as of a client that polls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import proxy, refusal
from benchmarks.environment import how_it_runs, machine, machine_text, versions
from benchmarks.load import HEADS, Cell, Traffic, Turns, take_turns
from benchmarks.method import Row, ratio
from benchmarks.peers import before_an_upstream

__all__ = ["Acceptance", "Line", "measure"]

PARTS = ("proxy", "refusal")
_PROXY_CELLS = (
    ("128", 16, ("nginx", "Envoy", proxy.AIOHTTP, proxy.HTTPX)),
    ("128", 64, ("nginx", "Envoy")),
    ("16k", 16, ("nginx",)),
    ("post16k", 16, ("nginx",)),
    ("128", 512, ()),
)
_REFUSAL_CELLS = (
    ("128", 16, (refusal.NGINX, refusal.UVICORN, refusal.MIDDLEWARE, refusal.WIRE, refusal.APP)),
    ("post16k", 16, (refusal.NGINX, refusal.UVICORN)),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure and what it has to be."""

    row: Row

    @property
    def verdict(self) -> str:
        """By the median; `near` says that the 95 % interval has the floor in it."""
        spread, budget = self.row.spread, self.row.budget
        assert budget is not None
        if not spread.rounds or math.isnan(spread.median):
            return "void"
        near = ", near" if spread.low <= budget.floor <= spread.high else ""
        if spread.median <= budget.target:
            return "target met" + near
        return ("floor met" if spread.median <= budget.floor else "FLOOR MISSED") + near

    @property
    def is_met(self) -> bool:
        return "met" in self.verdict

    def as_text(self, width: int) -> str:
        spread, budget = self.row.spread, self.row.budget
        assert budget is not None
        return (
            f"  {self.row.name:<{width}} {budget.target:7.3f} {budget.floor:7.3f}"
            f" {spread.median:8.3f} {f'{spread.low:.3f} - {spread.high:.3f}':>15} {spread.rounds:3}"
            f"  {self.verdict}"
        )


@dataclass(slots=True)
class Acceptance:
    """All lines."""

    lines: list[Line] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_met(self) -> bool:
        """Every floor; what is void or absent is not met."""
        return bool(self.lines) and all(line.is_met for line in self.lines) and not self.absent

    def as_text(self, command: str) -> str:
        width = max(len(line.row.name) for line in self.lines)
        head = f"  {'CPU per request':<{width}}  target   floor   figure   95 % interval   n"
        lines = [f"$ {command}", machine_text(), "", head]
        lines += [line.as_text(width) for line in self.lines]
        named = versions(("nginx", "Envoy", "wrk"), proxy.PACKAGES)
        beside = ", ".join(f"{name} {version}" for name, version in named.items())
        lines += ["", how_it_runs(), f"beside {beside}"]
        lines += [f"not on this machine: {name}" for name in self.absent]
        return "\n".join(lines + self.notes)

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "quick": quick,
            "machine": machine() | {"versions": versions(("nginx", "Envoy"), proxy.PACKAGES)},
            "lines": [line.row.as_json() | {"verdict": line.verdict} for line in self.lines],
            "absent": self.absent,
            "notes": self.notes,
            "samples": self.samples,
        }


def measure(
    *, quick: bool, rounds: int = 0, parts: Sequence[str] = (), heads: str = ""
) -> Acceptance:
    rounds = rounds or (1 if quick else 9)
    kinds = [f"heads {heads}"] if heads else list(HEADS)
    found = Acceptance()
    for part in parts or PARTS:
        module: Any = {"proxy": proxy, "refusal": refusal}[part]
        cells = _PROXY_CELLS if part == "proxy" else _REFUSAL_CELLS
        names = list(dict.fromkeys((module.PROXY, *(name for *_, some in cells for name in some))))
        with before_an_upstream(module.PEERS, names) as (home, here, absent):
            asked = [
                Cell(
                    Traffic(size, count, kind),
                    [here[name] for name in (module.PROXY, *some) if name in here],
                )
                for kind in kinds
                for size, count, some in cells
            ]
            turns = take_turns(asked[:1] if quick else asked, home, rounds=rounds)
        found.absent += absent
        found.notes += turns.notes() + ([] if part == "proxy" else least(turns))
        found.samples += turns.raw
        found.lines += map(Line, proxied(turns) if part == "proxy" else refused(turns))
    return found


def proxied(turns: Turns) -> list[Row]:
    lines = [
        ratio(f"{proxy.PROXY} / {name}, {traffic}", by_name[proxy.PROXY], times, budget)
        for traffic, by_name in turns.values.items()
        for name, times in by_name.items()
        if (budget := proxy.budget(traffic, name)) is not None
    ]
    return lines + proxy.growth(turns)


def refused(turns: Turns) -> list[Row]:
    found = []
    for traffic, by_name in turns.values.items():
        for (ours, theirs), budget in refusal.BUDGETS.items():
            if ours in by_name and theirs in by_name:
                name = f"refusal: {ours} / {theirs}, {traffic}"
                found.append(ratio(name, by_name[ours], by_name[theirs], budget))
    return found


def least(turns: Turns) -> list[str]:
    """What the same refusal costs when nothing is decided, counted or recorded."""
    return [
        f"at least: {ours} / {theirs}, {traffic}: {spread.median:.3f} [{spread.low:.3f} - "
        f"{spread.high:.3f}]"
        for traffic, by_name in turns.values.items()
        for ours, theirs in refusal.LEAST
        if ours in by_name and theirs in by_name
        for spread in [ratio(ours, by_name[ours], by_name[theirs]).spread]
    ]
