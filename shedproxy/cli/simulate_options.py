"""The flags of `shedproxy simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__: list[str] = []


def _complete_scenario(begun: str) -> list[str]:
    from shedproxy.cli.scenario_files import complete_scenario

    return complete_scenario(begun)


def _complete_controller(begun: str) -> list[str]:
    from shedproxy.simulator.registry import CONTROLLERS

    return [name for name in ("all", *CONTROLLERS) if name.startswith(begun)]


Scenarios = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SCENARIO...",
        help="Names or patterns of the suite, files, folders, generated-NNNN.",
        autocompletion=_complete_scenario,
    ),
]
List = Annotated[
    bool,
    typer.Option("--list", help="Run nothing: show what could be run, of all or of what is named."),
]
Suite = Annotated[bool, typer.Option("--suite", help="Run every scenario of the suite.")]
Generated = Annotated[
    int, typer.Option("--generated", metavar="N", min=0, help="Random scenarios besides.")
]
GeneratorSeed = Annotated[
    int,
    typer.Option(
        "--generator-seed", metavar="N", min=0, help="Which ones: another draws fresh ones."
    ),
]
Controllers = Annotated[
    list[str] | None,
    typer.Option(
        "--controller",
        metavar="NAME",
        help="May be repeated.  [default: all]",
        autocompletion=_complete_controller,
    ),
]
Seeds = Annotated[
    int, typer.Option("--seeds", metavar="N", min=1, help="How often, each with other chance.")
]
Refusals = Annotated[
    bool,
    typer.Option(
        "--refusals",
        help="Only count refusals beyond those of the same queue at the true limit: twice as"
        " fast, for many seeds. No score.",
    ),
]
Check = Annotated[bool, typer.Option("--check", help="Check invariants after every event: slower.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="Processes.  [default: one a CPU]"),
]
Sample = Annotated[
    int, typer.Option("--sample", metavar="N", min=10, help="Points of time in charts.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write an offline page there.")
]
