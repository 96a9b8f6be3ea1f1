"""Bad settings and harmless ones promoted over a simulated fleet: which are stopped, and where.

Fourteen kinds of bad ones and thirteen of harmless ones, each with four seeds, are promoted to
twelve hosts in two zones of two cells. Every host is a real Shedder in virtual time; who decides is
the control plane's own code, told only what hosts report.

Exit code 0: 98 % of the bad stopped at one instance or one cell, going back began within 10 s of
the alarm, at most 2 % of the good were rolled back, and never were two zones in flight. 1: not so.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence

from loadtests.policies import BAD, BASE, GOOD, Edit
from loadtests.promoted_fleet import End, PromotedFleet
from shedproxy.controlplane.rollout import Scope

__all__ = ["add_options", "broken_promises", "promote_kind", "run"]

_STOPPED_MIN = 0.98
_FALSE_MAX = 0.02
_BACK_WITHIN_S = 10.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add = parser.add_argument
    add("--seeds", type=int, default=4, help="of each kind  [default: %(default)s]")
    add("--first", type=int, default=1, help="the first seed  [default: %(default)s]")
    add("--watched", type=int, default=120, metavar="S", help="before anything is changed, so long"
        " it is seen what hosts are like  [default: %(default)s]")  # fmt: skip
    add("--only", choices=("bad", "good"), help="one half of it")
    add("--kind", action="append", default=[], metavar="WORDS", help="only this kind; may be given"
        " several times")  # fmt: skip


def promote_kind(kind: str, edit: Edit, seeds: Sequence[int], *, watched_s: int = 120) -> list[End]:
    """Promote a kind of change once for each seed."""
    ends = []
    for seed in seeds:
        name = f"{kind} {seed}"
        candidate = edit(BASE, random.Random(name))
        fleet = PromotedFleet(base=BASE, candidate=candidate, seed=name, watched_s=watched_s)
        ends.append(fleet.run())
    return ends


def broken_promises(bad: Sequence[End], good: Sequence[End]) -> list[str]:
    """What was promised and did not hold, in words."""
    broken = []
    stopped = [end for end in bad if end.cause and not end.is_promoted]
    near = sum(end.scope <= Scope.CELL for end in stopped)
    if near < _STOPPED_MIN * len(bad):
        broken.append(f"{near} of {len(bad)} bad ones were stopped at an instance or a cell")
    late = max((end.back_after_s for end in stopped), default=0.0)
    if late > _BACK_WITHIN_S:
        broken.append(f"going back began {late:.1f} s after the alarm")
    false = sum(not end.is_promoted for end in good)
    if false > _FALSE_MAX * len(good):
        broken.append(f"{false} of {len(good)} good ones were rolled back")
    zones = max((end.zones_max for end in (*bad, *good)), default=0)
    if zones > 1:
        broken.append(f"{zones} zones were in flight at once")
    return broken


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Promote all of them and print what came of it; gives the exit code."""
    if chosen.seeds < 1:
        parser.error("at least one seed")
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    unknown = [kind for kind in chosen.kind if kind not in {**BAD, **GOOD}]
    if unknown:
        parser.error(f"there is no kind {unknown[0]!r}")
    wanted = [kind for kind in (*BAD, *GOOD) if kind in (chosen.kind or (*BAD, *GOOD))]
    bad = _half("bad", BAD, wanted, seeds, chosen.watched) if chosen.only != "good" else []
    good = _half("good", GOOD, wanted, seeds, chosen.watched) if chosen.only != "bad" else []
    zones = max((end.zones_max for end in (*bad, *good)), default=0)
    backs = sorted(end.back_after_s for end in bad if end.cause)
    near = sum(end.scope <= Scope.CELL and bool(end.cause) for end in bad)
    false = sum(not end.is_promoted for end in good)
    if bad:
        print(f"bad: {near} of {len(bad)} stopped at one instance or one cell")
        print(f"going back began at most {backs[-1] if backs else 0:.1f} s after the alarm")
    if good:
        print(f"good: {false} of {len(good)} rolled back")
    print(f"zones in flight at once: {zones} at most")
    broken = broken_promises(bad, good)
    for line in broken:
        print(f"NOT AS PROMISED: {line}")
    return 1 if broken else 0


def _half(
    word: str,
    kinds: Mapping[str, Edit],
    wanted: Sequence[str],
    seeds: Sequence[int],
    watched_s: int,
) -> list[End]:
    print(f"{word:<30} instance  cell  zone   all  promoted  alarm after  first gate")
    ends: list[End] = []
    for kind, edit in kinds.items():
        if kind not in wanted:
            continue
        found = promote_kind(kind, edit, seeds, watched_s=watched_s)
        stopped = [end for end in found if end.cause]
        at = [sum(end.scope is scope for end in stopped) for scope in Scope]
        alarms = [end.alarm_s for end in stopped]
        after = f"{min(alarms):.0f}..{max(alarms):.0f} s" if alarms else "-"
        gates = ", ".join(sorted({end.cause.partition(":")[0] for end in stopped})) or "-"
        counts = f"{at[0]:>8} {at[1]:>5} {at[2]:>5} {at[3]:>5}"
        promoted = sum(end.is_promoted for end in found)
        print(f"{kind:<30} {counts} {promoted:>9}  {after:>11}  {gates}", flush=True)
        ends += found
    return ends
