"""The flags of `shedproxy load`; those that it shares with `calibrate` are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__: list[str] = []

FOR, LEVEL_FOR = "30s", "10s"

Target = Annotated[str, typer.Argument(help="URL to load, http://HOST:PORT.")]
Rate = Annotated[str, typer.Option(metavar="R|LOW..HIGH", help="Requests per second.")]
Shape = Annotated[str, typer.Option(help="steady, step, ramp, pulse or search.")]
For = Annotated[
    str,
    typer.Option(
        "--for",
        metavar="TIME",
        help=f"How long; {FOR}, or {LEVEL_FOR} a level of a search, unless said. Of a log or a "
        "scenario: only its beginning.",
    ),
]
Steps = Annotated[int, typer.Option(min=2, max=100, help="Levels of --shape step.")]
Every = Annotated[str, typer.Option(metavar="TIME", help="From pulse to pulse.")]
Pulse = Annotated[str, typer.Option(metavar="TIME", help="Length of a pulse.")]
Log = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Play an access log once more, with its gaps: common or combined format, or JSON "
        "lines (our own too).",
    ),
]
Speed = Annotated[str, typer.Option(metavar="2x", help="Of --log.")]
AllowMethod = Annotated[
    list[str] | None,
    typer.Option(
        metavar="POST",
        help="Of --log also play this method, which may change something, without a body. "
        "Repeatable.",
    ),
]
ScenarioName = Annotated[
    str,
    typer.Option("--scenario", metavar="NAME|FILE", help="Play the clients of a scenario file."),
]
Deadline = Annotated[str, typer.Option(metavar="TIME", help="A client gives up after this.")]
Processes = Annotated[str, typer.Option(metavar="N|auto", help="Processes that make the load.")]
MaxInFlight = Annotated[
    int, typer.Option(min=1, max=60_000, help="Arrivals beyond it are counted, not sent.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the JSON object there, too.")]
