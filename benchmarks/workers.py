"""What several workers cost, and whether they keep one limit and lend what one of them needs.

`cpu`: a proxied request with one, two and four workers, beside nginx with as many. They have one
core, as everything else here, and processes that take turns on a core find its caches cold: so two
are measured besides of which the second shares the core of generator and upstream. What the machine
takes for that, shared limit or not, is told by two proxies of one worker each in the same places,
each with half of the connections. Two generators ask, whoever is asked.
`fixed`, `adaptive`, `uvicorn`, `gunicorn`: goodput of one worker and of four, whose connections are
all at one of them or dealt evenly, and how long more was in flight than the limit
(`worker_cells`).
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.environment import versions
from benchmarks.load import REPEATS, Cell, Traffic, take_turns
from benchmarks.method import Budget, NotMeasuredError, Report, Row, Spread, added, ratio
from benchmarks.proxy import PROXY, rows
from benchmarks.servers import OTHER_CORE, Server, free_port, running
from benchmarks.worker_cells import ADAPTIVE, SERVERS, Case, Seen, run_case, wait_for_workers

__all__ = ["CPU", "PARTS", "measure"]

FIXED, UVICORN, GUNICORN = (name for name in SERVERS if name != ADAPTIVE)
PARTS = {"fixed": FIXED, "adaptive": ADAPTIVE, "uvicorn": UVICORN, "gunicorn": GUNICORN}
"""Beside `cpu`: the name of what is measured in `worker_cells`."""
CPU = "cpu"
NGINX = "nginx"
APART = " on a core each"
ONE, TWO, LONE = "1 worker", "2 workers", "two of 1 worker"
GENERATORS = 2
SPREADS = ((1, "one"), (4, "one"), (4, "even"))
QUICK_SPREADS = ((1, "one"), (2, "one"))
SECONDS, QUICK_SECONDS = 3.0, 1.0
WITHIN = Budget(target=1.1, floor=1.1)
POINTS = Budget(target=3, floor=3)
ABOVE = Budget(target=1, floor=1)


def measure(
    *, quick: bool, rounds: int = 0, parts: Sequence[str] = (), seconds: float | None = None
) -> Report:
    rounds = rounds or (1 if quick else 9)
    report = Report(
        title="CPU; goodput of a service of 4 slots x 20 ms; time above the limit",
        unit="as each line says",
        versions=versions(("nginx", "wrk"), ("uvicorn", "gunicorn")),
    )
    for part in parts or (CPU, *PARTS):
        if part == CPU:
            _measure_cpu(report, rounds=rounds, quick=quick)
        else:
            length = seconds or (QUICK_SECONDS if quick else SECONDS)
            _measure_limit(report, PARTS[part], rounds=rounds, seconds=length, quick=quick)
    return report


# --- cpu ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _started(counts: Sequence[int]) -> Iterator[tuple[Path, list[Server]]]:
    with tempfile.TemporaryDirectory(prefix="shedproxy-benchmark-") as directory:
        home, up = Path(directory), free_port()
        upstream = peers.upstream(home, up)
        if upstream is None:
            raise NotMeasuredError("nginx, which is the upstream, is not on this machine")
        servers = [server for count in counts for server in _pair(home, up, count, _said(count))]
        servers += _lone(home, up)
        apart, lone_apart = _pair(home, up, 2, TWO + APART), _lone(home, up, APART)
        asked = [*servers, *apart, *lone_apart]
        partners = [partner for server in asked for partner in server.partners]
        with running([upstream]), running([*asked, *partners]):
            for server in apart:
                wait_for_workers(server, 2)
                _move(server.workers[1])
            for server in lone_apart:
                (partner,) = server.partners
                for pid in (partner.pid, *partner.workers):
                    _move(pid)
            yield home, asked


def _move(pid: int) -> None:
    """To the core of generator and upstream."""
    os.sched_setaffinity(pid, OTHER_CORE or os.sched_getaffinity(0))


def _pair(home: Path, up: int, count: int, label: str) -> list[Server]:
    """Ours and nginx with so many workers."""
    ours, theirs = f"{PROXY}, {label}", f"{NGINX}, {label}"
    pair = (
        peers.shedproxy(home, up, config=f"[server]\nworkers = {count}\n", name=ours),
        peers.nginx_proxy(home, up, workers=count, name=theirs),
    )
    return [server for server in pair if server is not None]


def _lone(home: Path, up: int, where: str = "") -> list[Server]:
    """Two of ours and two of nginx, of one worker each, that know nothing of each other."""
    servers = _pair(home, up, 1, LONE + where)
    for server, partner in zip(servers, _pair(home, up, 1, f"the other{where}"), strict=True):
        server.partners = [partner]
    return servers


def _said(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _measure_cpu(report: Report, *, rounds: int, quick: bool) -> None:
    counts = (1, 2) if quick else (1, 2, 4)
    traffic = [
        Traffic(connections=count, generators=GENERATORS)
        for count in ((16,) if quick else (16, 64))
    ]
    with _started(counts) as (home, servers):
        turns = take_turns([Cell(each, servers) for each in traffic], home, rounds=rounds)
    report.rows += [replace(row, name=f"us per request, {row.name}") for row in rows(turns)]
    report.ratios += [
        ratio(
            f"us per request, {program}, {above} / {below}, {each}",
            by_name[f"{program}, {above}"],
            by_name[f"{program}, {below}"],
            WITHIN if is_bound and program == PROXY else None,
        )
        for each, by_name in turns.values.items()
        for above, below, is_bound in _compared(counts)
        for program in (PROXY, NGINX)
    ]
    report.samples += turns.raw
    report.notes += turns.notes()


def _compared(counts: Sequence[int]) -> list[tuple[str, str, bool]]:
    """What, with what, and whether it has a bound."""
    return [
        *((_said(count), ONE, count == 2) for count in counts[1:]),
        (TWO + APART, ONE, True),
        *((LONE + where, ONE, False) for where in ("", APART)),
        *((TWO + where, LONE + where, True) for where in ("", APART)),
    ]


# --- one limit ----------------------------------------------------------------------------------


def _measure_limit(
    report: Report, server: str, *, rounds: int, seconds: float, quick: bool
) -> None:
    loads = ("closed",) if quick or server.startswith("middleware") else ("closed", "3x")
    spreads = QUICK_SPREADS if quick else SPREADS
    found: dict[Case, list[Seen]] = {
        Case(server, workers, spread, load): [] for load in loads for workers, spread in spreads
    }
    for number in range(rounds):
        for case, seen in found.items():
            once = partial(run_case, case, seconds_=seconds, seed=number + 1)
            runs = _repeated(once, 0 if quick else REPEATS)
            if not runs:
                report.absent.append(server)
                return
            report.samples += [asdict(run) for run in runs]
            seen.append(runs[-1])
    for case, seen in found.items():
        report.rows += _rows(case, seen)
        if case.workers > 1:
            alone = found[Case(server, 1, "one", case.load)]
            name = f"points of goodput less than 1 worker, {case}"
            report.ratios.append(added(name, _goodput(alone), _goodput(seen), POINTS))
    report.notes += _void(found)


def _repeated(run: Callable[[], Seen | None], repeats: int) -> list[Seen]:
    """A run, and again while it is void and the bound is not reached; []: not on this machine."""
    seen = [run()]
    while seen[-1] is not None and seen[-1].faults and len(seen) <= repeats:
        seen.append(run())
    return [each for each in seen if each is not None]


def _goodput(seen: Sequence[Seen]) -> list[float]:
    return [math.nan if run.faults else 100 * run.goodput for run in seen]


def _rows(case: Case, seen: Sequence[Seen]) -> list[Row]:
    lines = [Row(f"goodput, % of the capacity, {case}", Spread.of(_goodput(seen)))]
    if case.server == ADAPTIVE and case.workers == 1:
        return lines
    # What was too much was so in a void run as well.
    above = Spread.of([100 * run.above for run in seen])
    most = Spread.of([float(run.most_above) for run in seen])
    bound = Budget(target=case.workers, floor=case.workers)
    return [
        *lines,
        Row(f"above the limit, % of the time, {case}", above, ABOVE),
        Row(f"above the limit, at most, {case}", most, bound),
    ]


def _void(found: dict[Case, list[Seen]]) -> list[str]:
    lines = []
    for case, seen in found.items():
        void = [run for run in seen if run.faults]
        if void:
            why = "; ".join(sorted({fault for run in void for fault in run.faults}))
            lines.append(f"void: {case}: {len(void)} of {len(seen)} rounds: {why}")
    return lines
