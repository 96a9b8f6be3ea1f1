"""What has to be reached: a line for each figure, and whether it is met.

Only what a target is set for. `proxy` and `refusal` have two kinds of traffic, each with verdicts
of its own: heads differ, as of many users; alike, as of a client that polls. The other parts are
the lines with a bound of the benchmarks that they are named after.

A peer that is cheaper than the generator is kept waiting by it, is woken more often, and costs more
per request than it would: that flatters whoever is compared with it. Such a line can miss its floor
and not meet it. Both are then asked at one rate that both can keep, each connection pausing after
an answer, in as many rounds, and that line is judged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from benchmarks import decisions, memory, middleware, overload, proxy, refusal, workers
from benchmarks.environment import how_it_runs, machine, machine_text, versions
from benchmarks.load import HEADS, Cell, Traffic, Turns, take_turns
from benchmarks.method import Budget, NotMeasuredError, Row, Spread, ratio
from benchmarks.peers import before_an_upstream
from benchmarks.verdicts import Line, exit_code, lines_text
from loadtests.restarts import live_rounds

__all__ = ["PARTS", "Acceptance", "measure", "together"]

LOADED = ("proxy", "refusal")
REPORTED: Mapping[str, Any] = {
    "decisions": decisions,
    "middleware": middleware,
    "workers": workers,
    "memory": memory,
}
RESTARTS, OVERLOAD = "restarts", "overload"
PARTS = (*LOADED, *REPORTED, RESTARTS, OVERLOAD)
ROUND_S = {
    "proxy": 45, "refusal": 32, "decisions": 10, "middleware": 25, "workers": 125, "memory": 50,
}  # fmt: skip
"""What a round takes, compiled and on a quiet machine; `overload` says itself."""
RESTARTS_COUNT, RESTARTS_S = 50, 80
"""Rolling restarts and reloads, after each of which every one of two workers is killed: once."""
_LOST = Budget(target=0, floor=0)
_OURS = {proxy.PROXY, refusal.MIDDLEWARE, refusal.NO_BODY}
_PER_MS = 16
"""Connections that pause so long for each millisecond: sixteen thousand requests a second at most,
which the dearest of what is compared with a peer so cheap can keep."""
_PROXY_CELLS = (
    ("128", 16, ("nginx", "Envoy", proxy.AIOHTTP, proxy.HTTPX)),
    ("128", 64, ("nginx", "Envoy")),
    ("16k", 16, ("nginx",)),
    ("post16k", 16, ("nginx",)),
    ("128", 512, ()),
)
_REFUSAL_CELLS = (
    (
        "128",
        16,
        (
            refusal.NGINX,
            refusal.UVICORN,
            refusal.MIDDLEWARE,
            refusal.NO_BODY,
            refusal.WIRE,
            refusal.APP,
        ),
    ),
    ("post16k", 16, (refusal.NGINX, refusal.UVICORN, refusal.WIRE)),
)


@dataclass(slots=True)
class Acceptance:
    """All lines."""

    lines: list[Line] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    builds: list[str] = field(default_factory=lambda: [how_it_runs()])
    versions: dict[str, str] = field(
        default_factory=lambda: versions(("nginx", "HAProxy", "Envoy", "wrk"), proxy.PACKAGES)
    )

    @property
    def exit_code(self) -> int:
        """As `verdicts.exit_code`; who is absent is void."""
        code = exit_code(self.lines)
        return 2 if self.absent and not code else code

    def as_text(self, command: str) -> str:
        return "\n".join([f"$ {command}", machine_text(), *self.tables()])

    def tables(self) -> list[str]:
        """Lines: the verdicts, and what belongs to them."""
        lines = ["", *lines_text(self.lines, "what has to be reached")]
        beside = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines += ["", *self.builds, f"beside {beside}"]
        lines += [f"not on this machine: {name}" for name in self.absent]
        return lines + self.notes

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "quick": quick,
            "machine": machine() | {"versions": self.versions},
            "lines": [line.as_json() for line in self.lines],
            "absent": self.absent,
            "notes": self.notes,
            "samples": self.samples,
        }


def measure(
    *,
    quick: bool,
    rounds: int = 0,
    parts: Sequence[str] = (),
    heads: str = "",
    keep: Callable[[Acceptance], None] = lambda _: None,
    **how: Any,
) -> Acceptance:
    """One part after the other; `keep` is called with what there is after each.

    Args:
        quick: fewer, shorter rounds: a trial run.
        rounds: of each figure; 0: nine.
        parts: of `PARTS`; all if empty.
        heads: "alike" or "differ"; both if empty.
        keep: gets what there is.
        how: what else `overload` is told.
    """
    rounds = rounds or (1 if quick else 9)
    found = Acceptance()
    usual_s = rounds * sum(ROUND_S.get(part, 0) for part in parts or PARTS)
    usual_s += RESTARTS_S * (RESTARTS in (parts or PARTS))
    if not quick:
        print(f"acceptance: {usual_s / 60:.0f} minutes, without overload", file=sys.stderr)
    for part in parts or PARTS:
        try:
            if part in LOADED:
                _measure_loaded(found, part, rounds=rounds, heads=heads, quick=quick)
            elif part == RESTARTS:
                _measure_restarts(found, 1 if quick else RESTARTS_COUNT)
            elif part == OVERLOAD:
                _measure_overload(found, keep, rounds=rounds, quick=quick, **how)
            else:
                report = REPORTED[part].measure(quick=quick, rounds=rounds)
                rows = [row for row in (*report.rows, *report.ratios) if row.budget]
                _add(found, part, map(Line, rows), report)
        except NotMeasuredError as error:
            found.absent.append(f"what {part} needs: {error}")
        keep(found)
    return found


def _add(found: Acceptance, part: str, lines: Any, report: Any) -> None:
    for line in lines:
        name = f"{part}: {line.row.name}"
        found.lines.append(replace(line, row=replace(line.row, name=name)))
    told = report.as_json(part, "", quick=False)
    found.samples += told["samples"]
    found.notes += told["notes"]
    # Who is absent from these is beside ours, not part of a bound.
    found.notes += [f"{part}: not on this machine: {name}" for name in report.absent]


def _measure_restarts(found: Acceptance, count: int) -> None:
    """As `python -m loadtests restarts`: who was with a killed worker is no loss of another's."""
    done = uvloop.run(live_rounds(count, workers=2, clients=16, with_kills=True))
    name = f"requests lost, {done.restarts} rolling restarts and reloads, {done.kills} kills"
    found.lines.append(Line(Row(f"{RESTARTS}: {name}", Spread.of([len(done.lost)]), _LOST)))
    found.notes.append(done.text())
    found.samples.append(vars(done))


def _measure_overload(
    found: Acceptance,
    keep: Callable[[Acceptance], None],
    *,
    loads: Sequence[float] = (),
    **how: Any,
) -> None:
    def keep_all(report: overload.OverloadReport) -> None:
        so_far = replace(
            found,
            lines=[*found.lines],
            absent=[*found.absent],
            notes=[*found.notes],
            samples=[*found.samples],
        )
        _add(so_far, OVERLOAD, report.lines, report)
        keep(so_far)

    # Below capacity nothing is judged.
    loads = loads or [load for load in overload.LOADS if load > 1]
    report = overload.measure(loads=loads if not how["quick"] else (), keep=keep_all, **how)
    _add(found, OVERLOAD, report.lines, report)


def _measure_loaded(found: Acceptance, part: str, *, rounds: int, heads: str, quick: bool) -> None:
    kinds = [f"heads {heads}"] if heads else list(HEADS)
    module: Any = {"proxy": proxy, "refusal": refusal}[part]
    judged = proxied if part == "proxy" else refused
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
        asked = asked[:1] if quick else asked
        turns = take_turns(asked, home, rounds=rounds)
        lines = judged(turns)
        again = at_one_rate(asked, turns)
        if again:
            slowed = take_turns(again, home, rounds=rounds)
            lines += judged(slowed)
            turns.samples += slowed.samples
    found.absent += absent
    found.lines += lines
    found.notes += turns.notes() + ([] if part == "proxy" else least(turns))
    found.samples += turns.raw


def at_one_rate(cells: Sequence[Cell], turns: Turns) -> list[Cell]:
    """Ours beside those that were kept waiting, with pauses: as many requests a second for all."""
    again = []
    for cell in cells:
        waiting = [
            server
            for server in cell.servers
            if server.name not in _OURS and turns.kept_waiting(cell.traffic, server.name)
        ]
        if waiting:
            pause_ms = max(1, cell.traffic.connections // _PER_MS)
            ours = [server for server in cell.servers if server.name in _OURS]
            again.append(Cell(replace(cell.traffic, pause_ms=pause_ms), [*ours, *waiting]))
    return again


def proxied(turns: Turns) -> list[Line]:
    lines = [
        _line(turns, traffic, proxy.PROXY, name, budget, "")
        for traffic, by_name in turns.values.items()
        for name in by_name
        if name != proxy.PROXY and (budget := proxy.budget(traffic, name)) is not None
    ]
    return lines + [Line(row) for row in proxy.growth(turns) if row.budget]


def refused(turns: Turns) -> list[Line]:
    return [
        _line(turns, traffic, ours, theirs, budget, "refusal: ")
        for traffic, by_name in turns.values.items()
        for (ours, theirs), budget in refusal.BUDGETS.items()
        if ours in by_name and theirs in by_name
    ]


def _line(turns: Turns, traffic: Any, ours: str, theirs: str, budget: Any, prefix: str) -> Line:
    by_name = turns.values[traffic]
    row = ratio(f"{prefix}{ours} / {theirs}, {traffic}", by_name[ours], by_name[theirs], budget)
    return Line(row, "" if traffic.pause_ms else turns.kept_waiting(traffic, theirs))


def together(runs: Sequence[dict[str, Any]], rows: Sequence[Row]) -> Acceptance:
    """One of the rounds of several that were saved; `rows` are theirs, put together."""
    flattered = {line["name"]: line.get("flattered", "") for run in runs for line in run["lines"]}
    return Acceptance(
        lines=[Line(row, flattered[row.name]) for row in rows],
        absent=list(dict.fromkeys(name for run in runs for name in run["absent"])),
        notes=list(dict.fromkeys(note for run in runs for note in run["notes"])),
        builds=[*dict.fromkeys(run["machine"]["build"] for run in runs)],
        versions={k: v for run in runs for k, v in run["machine"]["versions"].items()},
    )


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
