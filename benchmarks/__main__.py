"""`python -m benchmarks NAME`: measure one thing and print it.

    python -m benchmarks decisions      core decisions: per limit algorithm, in overload; the queue
    python -m benchmarks middleware     what ShedMiddleware adds to a request, in process
    python -m benchmarks proxy          CPU of a proxied request, beside others
    python -m benchmarks refusal        CPU of a refused request, beside others
    python -m benchmarks acceptance     what has a bound; exit 1: a floor is missed, 2: void
    python -m benchmarks memory         of worker and supervisor: idle, connections, tenants
    python -m benchmarks overload       goodput and latency beside nginx, HAProxy, Envoy and uvicorn
    python -m benchmarks snapshots      a period of managed mode, however much changed; the swap
    python -m benchmarks slow-clients   honest success beside slow clients, for all four
    python -m benchmarks tls            CPU of handshakes and requests, beside others
    python -m benchmarks tunnel         CPU of what is relayed after an upgrade; idle ones
    python -m benchmarks workers        what several cost, whether they keep one limit and lend it
    python -m benchmarks show FILES     saved runs, their rounds put together

README.md beside this file says how to read what is printed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks import (
    acceptance,
    decisions,
    memory,
    middleware,
    overload,
    overload_simulated,
    proxy,
    refusal,
    saved,
    slow_clients,
    snapshots,
    tls,
    tunnel,
    workers,
)
from benchmarks.load import REQUESTS
from benchmarks.method import NotMeasuredError

BENCHMARKS = {
    "acceptance": acceptance.measure,
    "decisions": decisions.measure,
    "memory": memory.measure,
    "middleware": middleware.measure,
    "overload": overload.measure,
    "proxy": proxy.measure,
    "refusal": refusal.measure,
    "slow-clients": slow_clients.measure,
    "snapshots": snapshots.measure,
    "tls": tls.measure,
    "tunnel": tunnel.measure,
    "workers": workers.measure,
}


SHOW = "show"
_OVERLOAD = ("seed", "shapes", "loads", "seconds", "completions", "beside")
_LOAD = ("rounds", "sizes", "connections", "heads", "apart", "peers")
CHOICES = {
    "acceptance": ("rounds", "parts", "heads", "peers", *_OVERLOAD),
    "decisions": ("rounds",),
    "memory": ("rounds",),
    "middleware": ("rounds",),
    "snapshots": ("rounds",),
    "overload": ("rounds", "peers", *_OVERLOAD),
    "proxy": _LOAD,
    "refusal": _LOAD,
    "tls": ("rounds", "peers"),
    "tunnel": ("rounds", "peers"),
    "workers": ("rounds", "parts", "seconds"),
}
"""What each can be told."""
KEEPS = ("acceptance", "overload")
"""Those that last for hours save what they have on the way; their exit code 1 is a verdict."""


def sizes(text: str) -> str:
    """Names of bodies, with commas between them."""
    unknown = [size for size in text.split(",") if text and size not in REQUESTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no size {', '.join(unknown)}; there are: {', '.join(REQUESTS)}"
        )
    return text


def connections(text: str) -> str:
    """Numbers, with commas between them."""
    for count in text.split(",") if text else ():
        whole(count)
    return text


def whole(text: str) -> int:
    """A number from 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def check(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    """What would be ignored, or fail when all is measured, is an error before anything runs."""
    if bool(chosen.files) is not (chosen.name == SHOW):
        parser.error(f"FILES are for {SHOW}, which needs some")
    if chosen.save and not chosen.save.absolute().parent.is_dir():
        parser.error(f"--save: there is no folder {chosen.save.parent}")
    takes = CHOICES.get(chosen.name, ())
    for choice in sorted({choice for choices in CHOICES.values() for choice in choices}):
        if choice not in takes and getattr(chosen, choice) != parser.get_default(choice):
            told = ", ".join(f"--{each}" for each in takes) or "none of these"
            parser.error(f"--{choice} is not for {chosen.name}, which takes {told}")
    known = (workers.CPU, *workers.PARTS) if chosen.name == "workers" else acceptance.PARTS
    for part in chosen.parts:
        if part not in known:
            parser.error(f"--parts {part} is not of {chosen.name}; there are: {', '.join(known)}")
    if (chosen.simulate or chosen.search) and chosen.name != "overload":
        parser.error("--simulate and --search are for overload")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=(*BENCHMARKS, SHOW), metavar="NAME")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="show: of --save")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds: a trial run")
    parser.add_argument("--rounds", type=whole, default=0, help="of each figure")
    parser.add_argument("--save", type=Path, metavar="FILE", help="JSON with every raw row")
    parser.add_argument("--peers", nargs="+", default=[], help="programs, as the table names them")
    parts = (*acceptance.PARTS, workers.CPU, *workers.PARTS)
    parser.add_argument(
        "--parts", nargs="+", default=[], metavar="PART", choices=parts, help=", ".join(parts)
    )
    some = parser.add_argument_group("proxy, refusal; acceptance: heads")
    some.add_argument("--sizes", type=sizes, default="", help="some of 128,16k,post16k")
    some.add_argument("--connections", type=connections, default="", help="as 16,64,512")
    some.add_argument("--heads", default="", choices=("alike", "differ"), help="both if not said")
    some.add_argument("--apart", type=int, default=0, help="ms that a connection pauses; not those")
    only = parser.add_argument_group("overload, also of acceptance; workers: seconds")
    only.add_argument("--shapes", nargs="+", default=[], help="services, as 4x20ms")
    only.add_argument("--loads", nargs="+", type=float, default=[], help="over capacity")
    only.add_argument("--seconds", type=float, help="of each cell")
    only.add_argument("--completions", type=int, default=0, help="a cell lasts until so many")
    only.add_argument("--beside", type=int, default=0, help="so many light cells at a time")
    only.add_argument("--seed", type=int, default=1, help="of the first round")
    only.add_argument("--simulate", action="store_true", help="in virtual time, a seed a round")
    only.add_argument("--search", action="store_true", help="find the settings of peers anew")
    chosen = parser.parse_args()
    check(parser, chosen)
    return chosen


def command() -> str:
    """What to type to see the same again, anywhere: of files elsewhere the name is enough."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join([Path(sys.executable).name, "-m", "benchmarks", *words])


def show(files: list[Path]) -> int:
    try:
        print(saved.as_text(files, command()))
    except NotMeasuredError as error:
        print(f"show: {error}", file=sys.stderr)
        return 1
    return 0


def end(signum: int, _frame: object) -> None:
    """Leave in order: else the servers that it has started would outlive it."""
    signal.signal(signum, signal.SIG_IGN)
    sys.exit(128 + signum)


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    chosen = options()
    if chosen.name == "overload" and chosen.search:
        print(overload.searched())
        return 0
    if chosen.name == SHOW:
        return show(chosen.files)
    how = {choice: getattr(chosen, choice) for choice in CHOICES.get(chosen.name, ())}
    measure: Any = BENCHMARKS[chosen.name]
    if chosen.name == "overload" and chosen.simulate:
        measure = overload_simulated.simulate
        how = {name: how[name] for name in ("shapes", "loads", "seconds", "rounds", "seed")}

    def keep(report: Any) -> None:
        if chosen.save:
            told = report.as_json(chosen.name, command(), quick=chosen.quick)
            chosen.save.write_text(json.dumps(told, indent=1) + "\n")

    if chosen.name in KEEPS and not chosen.simulate:
        how["keep"] = keep
    try:
        report: Any = measure(quick=chosen.quick, **how)
    except NotMeasuredError as error:
        print(f"{chosen.name}: not measured: {error}", file=sys.stderr)
        return 2 if chosen.name in KEEPS else 1
    keep(report)
    told = report.as_json(chosen.name, command(), quick=chosen.quick)
    print(json.dumps(told, indent=1) if chosen.json else report.as_text(command()))
    return int(getattr(report, "exit_code", 0))


if __name__ == "__main__":
    sys.exit(main())
