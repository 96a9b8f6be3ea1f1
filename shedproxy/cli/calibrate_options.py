"""The flags of `shedproxy calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["build_named", "resumed_target"]

BUDGET, QUICK_BUDGET = "3m", "40s"
_OF_PLAN = (
    "slo", "budget", "quick", "request", "requests", "openapi", "access_log", "mix", "arrivals",
    "repeats", "seed", "max_rate", "max_in_flight", "engine", "processes", "locustfile", "build",
)  # fmt: skip
"""Flags that say what is measured, and how."""

Target = Annotated[str, typer.Argument(help="URL of the service, http://HOST:PORT.")]
Slo = Annotated[str, typer.Option(help="What good service is.")]
Budget = Annotated[str | None, typer.Option(help=f"Time for measuring; {BUDGET} unless said.")]
Quick = Annotated[bool, typer.Option("--quick", help=f"{QUICK_BUDGET}, with wider intervals.")]
Build = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What the service runs: a version, a commit. Unless said, the version= that "
        "the upstreams in the file of --write or --diff have.",
    ),
]
Request = Annotated[
    list[str] | None,
    typer.Option(metavar='"GET /x 2"', help="A request, and its weight. Repeatable."),
]
RequestsFile = Annotated[Path | None, typer.Option(help="TOML file with [[request]] tables.")]
Openapi = Annotated[
    Path | None, typer.Option(help="OpenAPI file (JSON or YAML): every operation that only reads.")
]
AccessLog = Annotated[Path | None, typer.Option(help="Access log whose mix of requests is played.")]
Mix = Annotated[str, typer.Option(metavar="critical=10,sheddable=60", help="Shares of classes.")]
Arrivals = Annotated[str, typer.Option(help="poisson or constant.")]
Repeats = Annotated[int | None, typer.Option(min=3, max=50, help="Passes.")]
Seed = Annotated[int, typer.Option(help="Of arrivals and order.")]
MaxRate = Annotated[
    float | None,
    typer.Option(min=1.0, help="Requests per second never to be exceeded, in any step."),
]
MaxInFlight = Annotated[
    int, typer.Option(min=0, help="Requests in flight never to be exceeded; 0: 1024 closed.")
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST", help="Load this host, which is not loopback. Repeatable."),
]
Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Prove it through the proxy afterwards.")
]
Write = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the profile into this TOML file.")
]
Diff = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show what --write would change in it.")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the results.")]
Engine = Annotated[str, typer.Option(help="Who makes the load: builtin or locust.")]
Processes = Annotated[
    str, typer.Option(metavar="N|auto", help="Processes that make the load, of either engine.")
]
Locustfile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="With --engine locust: play the tasks of your own locustfile, one task an arrival. "
        "Users are HttpUser or FastHttpUser, tasks are methods, no TaskSet; @tag with a class.",
    ),
]
Master = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Locust's workers are elsewhere and come to this."),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Go on with an interrupted calibration, its plan and requests."
    ),
]
FromObserve = Annotated[
    str,
    typer.Option(
        metavar="URL|FILE",
        help="Play nothing: fit what a running proxy saw, by its control listener, or by a file "
        "with what /-/points answered.",
    ),
]
TokenFile = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="File with the token that the control listener asks for to read."
    ),
]
Cell = Annotated[str, typer.Option(metavar="NAME", help="Cell that the profile is of.")]
StreamsPath = Annotated[
    str,
    typer.Option(
        "--streams",
        metavar="PATH",
        help="Also find out how many streams the service holds: opens this path in doubling "
        "numbers beside ordinary load, and writes the limit. Also what a [[request]] with "
        'stream = "sse" names.',
    ),
]
StreamsKind = Annotated[str, typer.Option(help="Of --streams: sse, websocket or longpoll.")]
StreamsMax = Annotated[int, typer.Option(min=8, max=60_000, help="Streams never to be exceeded.")]


def build_named(build: str, cell: str, *files: Path | None) -> str:
    """What the service runs, as the flag says, or the upstreams in files that are good settings.

    Raises:
        typer.BadParameter: no build is named like that.
    """
    from shedproxy.calibration.target_build import build_in_files, check_build

    try:
        return check_build(build) or build_in_files(filter(None, files), cell)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--build") from None


def resumed_target(context: typer.Context, known_target: str, target: str) -> str:
    """What is measured on: that of the folder. What would be another measurement is refused.

    Raises:
        typer.BadParameter: a flag or the target would not count.
    """
    if target and target != known_target:
        raise typer.BadParameter(f"--resume goes on with {known_target}, not with {target}")
    sources = {name: context.get_parameter_source(name) for name in _OF_PLAN}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(
            f"--resume goes on as it began, so that {flags} would not count: leave it out, or"
            " begin anew"
        )
    return known_target
