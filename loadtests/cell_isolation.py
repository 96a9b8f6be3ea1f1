"""One of four cells at three times its capacity, before one real proxy: what do the others notice?

Each cell has a service of its own, whose work is timers. In rounds whose order changes, the loud
cell has what the others have (calm), the same again (calm again, which shows what chance does), and
three times its capacity (loud). The others are sent the same arrivals in all three. Their requests
come from a process of their own, and are timed from when they were sent, so that it is the proxy
that is measured. With `--flood` the loud cell is not sent three times its capacity but what one
process asks for without ever waiting, most of which is refused: by one worker, whose loop that
takes.

Exit code 0: the others' p99 is within ten per cent of what it is without, and none of their
requests was refused or lost. 1: it is not. 2: the two calm parts differ by more than that, and the
run says nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.configured_proxy import ConfiguredProxy
from loadtests.flood import KINDS, Flood
from shedproxy.core import Nanos, seconds, to_milliseconds
from shedproxy.loadgen.crew import Crew
from shedproxy.loadgen.program import Performance, Program
from shedproxy.loadgen.station import Station
from shedproxy.workload import poisson_arrivals

__all__ = ["Arm", "add_options", "promises", "run", "settings_text", "summary"]

CELLS = ("a", "b", "c", "d")
LOUD, OTHERS = 0, (1, 2, 3)
ARMS = ("calm", "calm again", "loud")
_WITHIN = 0.1
_SERVICE_MS = 50.0
_DEADLINE_NS = seconds(2)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `cell-isolation` wants to know."""
    add = parser.add_argument
    add("--rounds", type=int, default=10, help="of three parts  [default: %(default)s]")
    add("--for", type=float, default=3.0, dest="length", help="s a part  [default: %(default)s]")
    add("--load", type=float, default=0.6, help="of each other cell  [default: %(default)s]")
    add("--factor", type=float, default=3.0, help="of the loud cell  [default: %(default)s]")
    add("--slots", type=int, default=4, help="of each cell  [default: %(default)s]")
    add("--spill", action="store_true", help="the loud cell may spill to the next")
    add("--flood", choices=KINDS, help="requests for the loud cell that never wait")
    add("--connections", type=int, default=400, help="of the flood  [default: %(default)s]")
    add("--ahead", type=int, default=1, help="requests of a flood's connection  [%(default)s]")
    add("--fresh", action="store_true", help="the others' requests come on new connections")
    add("--seed", type=int, default=1, help="[default: %(default)s]")
    add("--json", action="store_true", help="one object instead of lines")


@dataclass
class Arm:
    """What became of the others' requests, and of the loud cell's."""

    took_ns: list[int] = field(default_factory=list)
    """Of the others, sent to done, answered with 200."""
    missed: int = 0
    """Of the others: refused, failed, or not sent."""
    loud_served: int = 0
    loud_missed: int = 0
    lag_ns: int = 0
    """99 % of the others' requests were sent within this, in the worst part."""

    def note(self, others: Performance) -> None:
        """The others' side of a part is over."""
        served = [row for row in others.rows if row.status == 200]
        self.took_ns += [row.done_at - row.sent_at for row in served]
        self.missed += others.planned_count - len(served)
        self.lag_ns = max(self.lag_ns, *(each.lag_p99_ns for each in others.generators))

    def note_loud(self, loud: Performance) -> None:
        """The loud cell's side is over."""
        served = sum(row.status == 200 for row in loud.rows)
        self.loud_served += served
        self.loud_missed += loud.planned_count - served

    def note_flood(self, answered: Mapping[str, int]) -> None:
        """The flood is over; it had so many answers by status."""
        served = answered.get("200", 0)
        self.loud_served += served
        self.loud_missed += sum(answered.values()) - served

    def at(self, share: float) -> int:
        """A quantile of what the others' requests took."""
        took = sorted(self.took_ns)
        return took[max(0, math.ceil(share * len(took)) - 1)] if took else 0


def settings_text(urls: Sequence[str], *, slots: int = 4, spills: bool = False) -> str:
    """Four cells, each with its service and its limit; the first may spill to the second."""
    lines = ["version = 1", f'cell.default.upstream = "{urls[0]}"']
    for name, url in zip(CELLS, urls, strict=True):
        lines += [f"[cell.{name}]", f'upstream = "{url}"', f"limit = {slots}"]
    if spills:
        lines += [f"[cell.{CELLS[LOUD]}.spill]", 'to = "b"', 'classes = "critical"']
    for name in CELLS:
        lines += ["[[rule]]", f'name = "{name}"', f'match.path = "/{name}"', f'cell = "{name}"']
    return "\n".join((*lines, ""))


def _program(
    url: str,
    cells: Sequence[int],
    rate_rps: float,
    length_ns: Nanos,
    seed: int,
    *,
    fresh: bool = False,
) -> Program:
    lines = "host: test\r\nconnection: close\r\n" if fresh else "host: test\r\n"
    rng = random.Random(seed)
    arrivals = poisson_arrivals(rate_rps=rate_rps * len(cells), duration_ns=length_ns, rng=rng)
    return Program(
        url=url,
        messages={cell: f"GET /{CELLS[cell]} HTTP/1.1\r\n{lines}\r\n".encode() for cell in cells},
        deadline_ns=_DEADLINE_NS,
        length_ns=length_ns,
        schedule=[(at, rng.choice(cells)) for at in arrivals],
    )


def measure(chosen: argparse.Namespace) -> dict[str, Arm]:
    """Play all rounds before one proxy."""
    arms = {name: Arm() for name in ARMS}
    length_ns = seconds(chosen.length)
    with ExitStack() as stack:
        stations = [
            stack.enter_context(Station(slots=chosen.slots, service_ms=_SERVICE_MS)) for _ in CELLS
        ]
        capacity_rps = stations[0].capacity_rps
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = [station.url for station in stations]
        text = settings_text(urls, slots=chosen.slots, spills=chosen.spill)
        proxy = stack.enter_context(ConfiguredProxy(folder, text))
        quiet, loud = stack.enter_context(Crew(1)), stack.enter_context(Crew(1))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        load_rps = chosen.load * capacity_rps

        def part(arm: Arm, seed: int, length_ns: Nanos, *, is_loud: bool) -> None:
            ours = _program(proxy.url, OTHERS, load_rps, length_ns, seed, fresh=chosen.fresh)
            if is_loud and chosen.flood:
                flood = Flood(
                    proxy.port,
                    f"/{CELLS[LOUD]}",
                    kind=chosen.flood,
                    connections=chosen.connections,
                    ahead=chosen.ahead,
                )
                with flood:
                    arm.note(quiet.perform(ours, random.Random(seed)))
                arm.note_flood(flood.answered)
                return
            factor = chosen.factor if is_loud else chosen.load
            theirs = _program(proxy.url, (LOUD,), factor * capacity_rps, length_ns, seed + 1)
            going = pool.submit(loud.perform, theirs, random.Random(seed))
            arm.note(quiet.perform(ours, random.Random(seed)))
            arm.note_loud(going.result())

        # A cell has to be watched for five seconds before it takes what others have no room for.
        part(Arm(), chosen.seed, seconds(6 if chosen.spill else 2), is_loud=True)
        for number in range(chosen.rounds):
            turn = number % len(ARMS)
            for name in (*ARMS[turn:], *ARMS[:turn]):
                seed = chosen.seed + 1_000 * (number + 1)
                part(arms[name], seed, length_ns, is_loud=name == "loud")
    return arms


def summary(arms: dict[str, Arm]) -> dict[str, dict[str, Any]]:
    """Times in ms. `p99_ratio` is to the first calm part, of the loud one to both calm ones."""
    calm, again = arms["calm"], arms["calm again"]
    both = Arm(took_ns=calm.took_ns + again.took_ns)
    usual = {"calm": calm, "calm again": calm, "loud": both}
    return {
        name: {
            "requests": len(arm.took_ns) + arm.missed,
            "missed": arm.missed,
            "p50_ms": round(to_milliseconds(Nanos(arm.at(0.5))), 2),
            "p99_ms": round(to_milliseconds(Nanos(arm.at(0.99))), 2),
            "p99_ratio": round(arm.at(0.99) / max(1, usual[name].at(0.99)), 4),
            "loud_served": arm.loud_served,
            "loud_missed": arm.loud_missed,
            "send_lag_p99_ms": round(to_milliseconds(Nanos(arm.lag_ns)), 2),
        }
        for name, arm in arms.items()
    }


def promises(found: dict[str, Any]) -> list[str]:
    """Those that were not kept."""
    loud = found["loud"]
    broken = []
    if loud["p99_ratio"] > 1 + _WITHIN:
        broken.append(f"the others' p99 is {loud['p99_ratio']:.3f} times what it was")
    if loud["missed"]:
        broken.append(f"{loud['missed']} requests of others were refused or lost")
    if not loud["loud_missed"]:
        broken.append("the loud cell was not overloaded")
    return broken


def run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Measure, print, and return the exit code."""
    if not 1 <= chosen.rounds <= 50 or not 1 <= chosen.length <= 60:
        parser.error("1 to 50 rounds, 1 to 60 s a part")
    if not 0 < chosen.load < 1 < chosen.factor <= 20 or not 1 <= chosen.slots <= 64:
        parser.error("--load below 1, --factor above 1 to 20, --slots 1 to 64")
    found = summary(measure(chosen))
    broken = promises(found)
    if chosen.json:
        print(json.dumps({"arms": found, "broken": broken}))
    else:
        for name, arm in found.items():
            print(
                f"{name:<11} the other three cells: p50 {arm['p50_ms']} ms, p99 {arm['p99_ms']} ms"
                f" ({arm['p99_ratio']:.3f} x calm), {arm['missed']} of {arm['requests']} missed;"
                f" the loud one: {arm['loud_served']} served, {arm['loud_missed']} not;"
                f" send lag p99 {arm['send_lag_p99_ms']} ms"
            )
        for what in broken:
            print(f"NOT KEPT: {what}")
    if abs(found["calm again"]["p99_ratio"] - 1) > _WITHIN:
        return 2
    return 1 if broken else 0
