"""Goodput and latency under overload, beside peers: who serves what the service can, and how soon.

Every cell begins with a cold start and lasts until a figure rests on enough answers
(`overload_cells`). A round plays each cell once, programs in turn, with a seed of its own. What is
judged are ratios inside the rounds, beside the peer that is best by the median of all of them.
Peers with a number to set have the one that `--search` found for this very service. Cells that are
nothing but waiting run side by side if asked; all others alone.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.environment import how_it_runs, machine, machine_text, versions
from benchmarks.load import REPEATS
from benchmarks.method import Budget, NotMeasuredError, Row, Spread, check_known
from benchmarks.overload_cells import Cell, Job, run_cell
from benchmarks.overload_healthy import (
    CONNECTIONS,
    HEALTHY_PEERS,
    HEALTHY_S,
    Healthy,
    measure_healthy,
)
from benchmarks.overload_peers import OURS, PEERS, REFUSER
from benchmarks.overload_shapes import REACHES, SHAPES, search
from benchmarks.side_by_side import side_by_side, takes_s
from benchmarks.verdicts import Line, exit_code, lines_text

__all__ = ["HEALTHY", "OverloadReport", "fits_beside", "measure", "plan", "searched", "together"]

HEALTHY = "healthy"
"""Among the shapes: a service that has enough of everything."""
LOADS = (0.5, 1.5, 3.0, 10.0)
ROUNDS = 9
COMPLETIONS = 2_000
"""What a figure rests on at least."""
LEAST_S, QUICK_S = 60.0, 1.0
"""What a cell lasts at least: a burst must not be taken for a flood, and telling them apart takes
most of a second, in which more than one in a hundred answers of a cell of ten come late."""
REFUSER_S = 10.0
"""What is asked of the refuser in a round, at each load: how soon anything can be told here."""
READY_S, END_S = 2.5, 1.0
"""What starting a cell takes, and its last deadline."""
BESIDE_RPS, BRISK_MAX, LEISURELY_MS = 8_000.0, 4, 100.0
"""What is offered at most to all cells that run at a time (to one alone it may be more), and how
many those are at most unless their services take so long: what wakes for one is late for others."""

GOODPUT = Budget(target=REACHES, floor=REACHES, is_least=True)
P99 = Budget(target=1.5, floor=1.5)
TOLD_MS = Budget(target=2.0, floor=2.0)
TOLD_LEAST_MS = 1.0
"""A round in which even the refuser took longer says nothing of refusals."""
REFUSED_PERCENT = Budget(target=0.1, floor=0.1)
TITLE = "goodput = answers within 1 s over the lesser of capacity and load; cold start in"

Place = tuple[str, float]


@dataclass(slots=True, kw_only=True)
class OverloadReport:
    """All cells, void ones included, and what they say."""

    cells: list[Cell] = field(default_factory=list)
    healthy: list[Healthy] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """What did not start or died."""
    versions: Mapping[str, str] = field(default_factory=dict)
    builds: Sequence[str] = field(default_factory=lambda: [how_it_runs()])

    @property
    def lines(self) -> list[Line]:
        """What has a bound."""
        return [*_judged(self.cells), *_judged_healthy(self.healthy)]

    @property
    def exit_code(self) -> int:
        """As `verdicts.exit_code`; 0 where there is nothing to judge by."""
        lines = self.lines
        return exit_code(lines) if lines else 0

    @property
    def notes(self) -> list[str]:
        """What was void or failed."""
        return [*_void([*self.cells, *self.healthy]), *self.failed]

    def as_text(self, command: str) -> str:
        return "\n".join([f"$ {command}", machine_text(), *self.tables()])

    def tables(self) -> list[str]:
        """Lines: the figures, the verdicts, and what belongs to them."""
        return [
            *_cells_text(self.cells),
            *_healthy_text(self.healthy),
            *(["", *lines_text(self.lines, "within a round")] if self.lines else []),
            "",
            *self.builds,
            *([f"beside {', '.join(map(' '.join, self.versions.items()))}"] * bool(self.versions)),
            *(f"not on this machine: {name}" for name in self.absent),
            *self.notes,
        ]

    def as_json(self, name: str, command: str, *, quick: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "command": command,
            "quick": quick,
            "title": TITLE,
            "unit": "as each line says",
            "machine": machine() | {"versions": dict(self.versions)},
            "rows": [row.as_json() for row in _rows(self.cells)],
            "ratios": [line.as_json() for line in self.lines],
            "absent": self.absent,
            "notes": self.notes,
            "samples": [*map(asdict, self.cells), *map(asdict, self.healthy)],
        }


# --- what is measured ---------------------------------------------------------------------------


def measure(
    *,
    quick: bool,
    rounds: int = 0,
    seed: int = 1,
    shapes: Sequence[str] = (),
    loads: Sequence[float] = (),
    peers: Sequence[str] = (),
    seconds: float | None = None,
    completions: int = 0,
    beside: int = 0,
    keep: Callable[[OverloadReport], None] = lambda _: None,
) -> OverloadReport:
    """Round by round; `keep` is called with what there is after each.

    Raises:
        NotMeasuredError: there is no such shape or peer, or no nginx before which to be healthy.
    """
    check_known(shapes, (*SHAPES, HEALTHY))
    check_known(peers, PEERS)
    if quick:
        shapes, loads = shapes or ("4x20ms",), loads or (3.0,)
        peers, seconds = peers or ("nothing",), seconds or QUICK_S
    rounds = rounds or (1 if quick else ROUNDS)
    names = list(dict.fromkeys((OURS, *(peers or PEERS), REFUSER)))
    chosen = [name for name in shapes or (*SHAPES, HEALTHY) if name != HEALTHY]
    is_healthy = HEALTHY in (shapes or (HEALTHY,))
    answers = completions or COMPLETIONS
    report = OverloadReport(versions=versions(("nginx", "HAProxy", "Envoy", "wrk"), ("uvicorn",)))

    fits = fits_beside(beside)

    def on_done(job: Job, cell: Cell | NotMeasuredError | None) -> Job | None:
        if cell is None:
            if job.peer not in report.absent:
                report.absent.append(job.peer)
            return None
        if isinstance(cell, NotMeasuredError):
            # Another program may have taken its port meanwhile: no reason to give up hours.
            report.failed.append(f"not measured: {', '.join(map(str, job.key))}: {cell}")
            print(f"  {report.failed[-1]}", file=sys.stderr, flush=True)
        else:
            report.cells.append(cell)
            print(_progress(job, cell), file=sys.stderr, flush=True)
        is_void = isinstance(cell, NotMeasuredError) or bool(cell.faults)
        if is_void and job.attempt <= REPEATS and not quick:
            return replace(job, attempt=job.attempt + 1)
        return None

    jobs = [
        plan(
            chosen,
            loads or LOADS,
            names,
            round_=number,
            seed=seed + number - 1,
            completions=answers,
            seconds=seconds,
        )
        for number in range(1, rounds + 1)
    ]
    print(_estimate(jobs[0], fits, names if is_healthy else (), rounds), file=sys.stderr)
    for number, some in enumerate(jobs, start=1):
        here = [job for job in some if job.peer not in report.absent]
        side_by_side(here, run_cell, fits=fits, on_done=on_done)
        if is_healthy:
            report.healthy += measure_healthy(names, number, answers=answers)
        keep(report)
    return report


def fits_beside(beside: int) -> Callable[[Sequence[Job], Job], bool]:
    """Whether a cell may run beside others, where so many are asked for.

    A repeated one has half the company: its timers were late, most likely.
    """

    def room(job: Job) -> int:
        is_brisk = SHAPES[job.shape].service_ms < LEISURELY_MS
        return (min(beside, BRISK_MAX) if is_brisk else beside) >> (job.attempt - 1)

    def fits(busy: Sequence[Job], job: Job) -> bool:
        all_ = (*busy, job)
        is_room = len(all_) <= min(map(room, all_))
        # Those that last longer than others would run on alone.
        is_even = all(one.seconds == job.seconds for one in all_)
        return is_room and is_even and sum(one.rate_rps for one in all_) <= BESIDE_RPS

    return fits


def plan(
    shapes: Sequence[str],
    loads: Sequence[float],
    peers: Sequence[str],
    *,
    round_: int = 1,
    seed: int = 1,
    completions: int = COMPLETIONS,
    seconds: float | None = None,
) -> list[Job]:
    """One round: the longest first, of equals the one that is offered least, programs in turn."""
    jobs = []
    for name in shapes:
        for load in loads:
            answered_rps = SHAPES[name].capacity_rps * min(1.0, load)
            length = seconds or max(LEAST_S, math.ceil(completions / answered_rps))
            lengths = dict.fromkeys(peers, length) | {REFUSER: min(length, REFUSER_S)}
            jobs += [
                Job(
                    shape=name, load=load, peer=peer, round=round_, seed=seed, seconds=lengths[peer]
                )
                for peer in peers
                # It serves nobody; beside a service that is not full nobody is told no.
                if peer != REFUSER or load > 1
            ]
    return sorted(jobs, key=lambda job: (-job.seconds, job.rate_rps))


def _estimate(
    jobs: Sequence[Job], fits: Callable[..., bool], healthy: Sequence[str], rounds: int
) -> str:
    cells_s = takes_s(jobs, lambda job: job.seconds + END_S, ready_s=READY_S, fits=fits)
    count = len(CONNECTIONS) * sum(name in HEALTHY_PEERS for name in healthy)
    round_s = cells_s + count * (HEALTHY_S + 2)
    return (
        f"overload: {rounds} rounds of {len(jobs) + count} cells, {round_s / 60:.1f} minutes each:"
        f" {rounds * round_s / 60:.0f} minutes, and more where cells are void"
    )


def _progress(job: Job, cell: Cell) -> str:
    void = f"  void: {'; '.join(cell.faults)}" if cell.faults else ""
    which = f"{job.shape} {job.load:g}x {job.peer}"
    return f"  round {job.round}: {which}: goodput {cell.goodput:.3f}{void}"


def searched() -> str:
    """The settings that `TUNED` holds, found anew in virtual time."""
    lines = []
    for shape in SHAPES.values():
        found, best = search(shape)
        lines.append(
            f"  {shape.name:<15} nginx limit_conn {found.nginx_limit:>3}   HAProxy maxconn"
            f" {found.haproxy_limit:>3}, timeout queue {found.haproxy_queue_ms} ms"
            f"   best mean goodput {best:.3f}"
        )
    return "\n".join(lines)


def together(runs: Sequence[dict[str, Any]]) -> OverloadReport:
    """One report of the rounds of several that were saved."""
    whole = OverloadReport(
        absent=list(dict.fromkeys(name for run in runs for name in run["absent"])),
        failed=[note for run in runs for note in run["notes"] if note.startswith("not measured")],
        versions={k: v for run in runs for k, v in run["machine"]["versions"].items()},
        builds=[*dict.fromkeys(run["machine"]["build"] for run in runs)],
    )
    former = 0
    for run in runs:
        for sample in run["samples"]:
            how = sample | {
                "round": former + sample["round"],
                "faults": tuple(sample["faults"]),
            }
            if "shape" in sample:
                whole.cells.append(Cell(**how))
            else:
                whole.healthy.append(Healthy(**how))
        former += max((sample["round"] for sample in run["samples"]), default=0)
    return whole


# --- what it says -------------------------------------------------------------------------------


def _by_round(rows: Sequence[Any]) -> dict[Any, dict[int, Any]]:
    """The last run of each in its round; a void one among them has no value."""
    found: dict[Any, dict[int, Any]] = {}
    for row in rows:
        found.setdefault(row.key, {})[row.round] = row
    return found


def _values(rows: Mapping[int, Any], value: Callable[[Any], float | None]) -> list[float]:
    """One a round, nan for a void one and where there was none."""
    values = [math.nan if row.faults else value(row) for row in rows.values()]
    return [math.nan if each is None else each for each in values]


def _median(rows: Mapping[int, Any], value: Callable[[Any], float | None]) -> float:
    return Spread.of(_values(rows, value)).median


def _ratios(
    ours: Mapping[int, Cell], theirs: Mapping[int, Cell], value: Callable[[Cell], float | None]
) -> list[float]:
    return [
        above / below if below else math.nan
        for number in ours
        if number in theirs
        for above, below in [_values({1: ours[number], 2: theirs[number]}, value)]
    ]


def _judged(cells: Sequence[Cell]) -> Iterator[Line]:
    """Ours against the peers in each shape at each load above capacity."""
    found = _by_round(cells)
    for shape, load in dict.fromkeys((cell.shape, cell.load) for cell in cells if cell.load > 1):
        ours = found.get((shape, load, OURS), {})
        peers = {
            peer: rows
            for (*place, peer), rows in found.items()
            if tuple(place) == (shape, load) and peer not in {OURS, REFUSER}
        }
        where = f"{shape} at {load:g}x"
        if ours and peers:
            yield from _judged_beside(where, ours, peers)
        refuser = found.get((shape, load, REFUSER))
        if ours and refuser and any(cell.told for cell in ours.values()):
            values = [
                told if least < TOLD_LEAST_MS else math.nan
                for number in ours
                if number in refuser
                for told, least in [
                    _values({1: ours[number], 2: refuser[number]}, lambda cell: cell.told_p99_ms)
                ]
            ]
            name = f"ms until a refusal on arrival is told, p99, {where}"
            yield Line(Row(name, Spread.of(values or [math.nan]), TOLD_MS))


def _judged_beside(
    where: str, ours: Mapping[int, Cell], peers: Mapping[str, Mapping[int, Cell]]
) -> Iterator[Line]:
    goodputs = {peer: _median(rows, lambda cell: cell.goodput) for peer, rows in peers.items()}
    sound = {peer: goodput for peer, goodput in goodputs.items() if not math.isnan(goodput)}
    if not sound:
        yield Line(Row(f"goodput, {OURS} / the best peer, {where}", Spread.of([math.nan]), GOODPUT))
        return
    best = max(sound, key=sound.__getitem__)
    ratios = _ratios(ours, peers[best], lambda cell: cell.goodput)
    yield Line(Row(f"goodput, {OURS} / {best}, {where}", Spread.of(ratios or [math.nan]), GOODPUT))
    p99s_ms = {
        peer: _median(peers[peer], lambda cell: cell.p99_ms)
        for peer, goodput in sound.items()
        if goodput >= REACHES * sound[best]
    }
    served = {peer: p99_ms for peer, p99_ms in p99s_ms.items() if not math.isnan(p99_ms)}
    if not served:
        return
    least = min(served, key=served.__getitem__)
    # Who serves nobody has no p99: that is no void round, and misses.
    ratios = _ratios(
        ours, peers[least], lambda cell: math.inf if cell.p99_ms is None else cell.p99_ms
    )
    yield Line(Row(f"p99, {OURS} / {least}, {where}", Spread.of(ratios or [math.nan]), P99))


def _judged_healthy(healthy: Sequence[Healthy]) -> Iterator[Line]:
    for (connections, peer), rows in _by_round(healthy).items():
        if peer == OURS:
            name = f"% refused before a healthy service, {connections} connections"
            values = _values(rows, lambda one: 100 * one.refused / one.answered)
            yield Line(Row(name, Spread.of(values), REFUSED_PERCENT))


_FIGURES: Mapping[str, Callable[[Cell], float | None]] = {
    "goodput": lambda cell: cell.goodput,
    "p50, ms": lambda cell: cell.p50_ms,
    "p99, ms": lambda cell: cell.p99_ms,
    "refused, %": lambda cell: 100 * cell.refused_share,
    "told p99, ms": lambda cell: cell.told_p99_ms,
}


def _rows(cells: Sequence[Cell]) -> Iterator[Row]:
    for (shape, load, peer), rows in _by_round(cells).items():
        for figure, value in _FIGURES.items():
            yield Row(f"{figure}, {peer}, {shape} at {load:g}x", Spread.of(_values(rows, value)))


def _cells_text(cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return []
    heads = (
        f"  {'service':<15} {'load':>5} {'through':<16} {'goodput':>21} {'p50 ms':>8}"
        f" {'p99 ms':>25} {'refused%':>8} {'told p99':>9} {'told':>6}   n"
    )
    lines = ["", f"{TITLE}; median [least - greatest] of the rounds", heads]
    found = _by_round(cells)
    for shape, load, peer in sorted(found, key=_order):
        rows = found[shape, load, peer]
        goodput, p50, p99, refused, told = (
            Spread.of(_values(rows, value)) for value in _FIGURES.values()
        )
        count = statistics.median([row.told for row in rows.values()])
        lines.append(
            f"  {shape:<15} {load:>4g}x {peer:<16} {_spread(goodput, 3):>21} {_one(p50):>8}"
            f" {_spread(p99, 1):>25} {_one(refused):>8} {_one(told, 2):>9} {count:>6g}"
            f" {goodput.rounds:>3}"
        )
    return lines


def _order(key: tuple[str, float, str]) -> tuple[int, float, int]:
    """As the services are listed, whatever ran first."""
    shape, load, peer = key
    return list(SHAPES).index(shape), load, list(PEERS).index(peer)


def _healthy_text(healthy: Sequence[Healthy]) -> list[str]:
    if not healthy:
        return []
    lines = ["", "refused before a service that answers at once, to closed connections"]
    for (connections, peer), rows in _by_round(healthy).items():
        share = Spread.of(_values(rows, lambda one: 100 * one.refused / one.answered))
        took = Spread.of(_values(rows, lambda one: one.service_us))
        lines.append(
            f"  {connections:>3} connections  {peer:<16} {_spread(share, 3):>25} %"
            f"   {_one(took)} us an answer of the service   {share.rounds} rounds"
        )
    return lines


def _spread(spread: Spread, digits: int) -> str:
    if not spread.rounds:
        return "-"
    return f"{spread.median:.{digits}f} [{spread.least:.{digits}f} - {spread.greatest:.{digits}f}]"


def _one(spread: Spread, digits: int = 1) -> str:
    return f"{spread.median:.{digits}f}" if spread.rounds else "-"


def _void(rows: Sequence[Any]) -> list[str]:
    count: dict[tuple[str, str], int] = {}
    for row in rows:
        for fault in row.faults:
            key = (", ".join(map(str, row.key)), fault.partition(":")[0])
            count[key] = count.get(key, 0) + 1
    return [f"void: {name}: {why} ({runs} runs)" for (name, why), runs in count.items()]
