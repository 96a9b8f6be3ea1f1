"""`check`, `init`, `export` and `version`: what needs no running instance."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shedproxy.cli.exit_codes import EXIT_CONFIG
from shedproxy.cli.output import end_failed, print_problems
from shedproxy.cli.settings_file import DEFAULT_FILE, find_file
from shedproxy.clock import wall_seconds
from shedproxy.errors import DocumentInvalidError

if TYPE_CHECKING:
    from shedproxy.errors import Problem
    from shedproxy.settings import Loaded

__all__ = ["check", "export", "init", "version"]


export = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help=f"Settings; else $SHEDPROXY_CONFIG, else ./{DEFAULT_FILE} if it is there.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
) -> None:
    """Find every mistake in the settings at once.

    Reads the file and the SHEDPROXY_ variables as `run` would, and starts nothing. Exit code 0:
    good, 3: not good.

    Examples:
        shedproxy check
        shedproxy check /etc/shedproxy/edge.toml --strict
        shedproxy check --json | jq '.problems[] | [.line, .message]'
    """
    from shedproxy.settings import load_settings
    from shedproxy.supervisor.rehearsal import rehearse

    file = find_file(file)
    loaded = None
    try:
        loaded = load_settings(file, environ=os.environ)
        rehearse(loaded.document)
        problems = [*loaded.warnings, *_profile_problems(loaded)]
    except DocumentInvalidError as error:
        loaded, problems = None, error.problems
    is_good = loaded is not None and not (
        strict and any(problem.severity == "warning" for problem in problems)
    )
    if as_json:
        typer.echo(json.dumps(_report(file, problems, is_good=is_good), indent=2))
    else:
        print_problems(problems)
        if loaded is not None and is_good:
            typer.echo(_summary(loaded))
    if not is_good:
        raise typer.Exit(EXIT_CONFIG)


def _profile_problems(loaded: Loaded) -> list[Problem]:
    if not any(cell.profile.id for cell in loaded.settings.cell.values()):
        return []
    from shedproxy.calibration.provenance import machine_fingerprint
    from shedproxy.cli.profile_advice import profile_problems

    found = profile_problems(loaded, wall_s=wall_seconds(), fingerprint=machine_fingerprint)
    return list(found)


def _report(file: Path | None, problems: list[Problem], *, is_good: bool) -> dict[str, Any]:
    return {
        "file": None if file is None else str(file),
        "good": is_good,
        "problems": [
            {
                "severity": problem.severity,
                "message": problem.message,
                "path": ".".join(problem.path),
                "source": problem.source,
                "line": problem.line,
                "column": problem.column,
                "length": problem.length,
                "note": problem.note,
                "help": problem.help,
            }
            for problem in problems
        ],
    }


def _summary(loaded: Loaded) -> str:
    """What would be served, in a few lines."""
    settings, document = loaded.settings, loaded.document
    urls = {upstream.cell: upstream.urls for upstream in document.proxy.upstreams}
    lines = [
        f"{loaded.file or 'no file: defaults and environment'}: good",
        f"  mode     {settings.mode}",
        f"  listen   {', '.join(settings.server.listen)}",
        f"  control  {settings.control.listen}",
    ]
    for cell in document.policy.cells:
        limit = cell.limit
        span = f"from {limit.initial}, {limit.minimum} to {limit.maximum}"
        shown = str(limit.initial) if limit.algorithm == "fixed" else span
        upstreams = ", ".join(urls.get(cell.name, ())) or "no upstream (name one to `run`)"
        lines.append(f"  cell     {cell.name}: limit {limit.algorithm} {shown} -> {upstreams}")
    lines.append(f"  rules    {len(settings.rule)}")
    return "\n".join(lines)


def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='Where to write; "-" prints it.')
    ] = Path(DEFAULT_FILE),
    minimal: Annotated[
        bool, typer.Option("--minimal", help="Only what most people change.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    upstream: Annotated[
        str, typer.Option("--upstream", metavar="URL", help="The service to protect.")
    ] = "http://127.0.0.1:8000",
) -> None:
    """Write a settings file with every default explained.

    Examples:
        shedproxy init
        shedproxy init --minimal --upstream http://10.0.0.5:8000 edge.toml
        shedproxy init - | less
    """
    from shedproxy.settings import SCHEMA_FILE, commented_default_toml, load_settings

    load_settings(overrides={"cell.default.upstream": [upstream]})
    text = commented_default_toml(upstream=upstream, minimal=minimal, file=str(file))
    if str(file) == "-":
        sys.stdout.write(commented_default_toml(upstream=upstream, minimal=minimal))
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        end_failed(f"{file} exists already; --force replaces it")
    except OSError as error:
        end_failed(f"cannot write {file}: {error.strerror}")
    typer.echo(f"wrote {file}")
    typer.echo(f"  shedproxy check {file}")
    typer.echo(f"  shedproxy run --config {file}")
    schema = file.parent / SCHEMA_FILE
    typer.echo(f"  shedproxy export schema --out {schema}    # completion in editors")


@export.callback()
def _export() -> None:
    """Print files that belong to shedproxy."""


@export.command(
    help="""Print the JSON Schema of the settings file, for editors.

    \b
    Examples:
        shedproxy export schema
        shedproxy export schema --out shedproxy.schema.json
    """
)
def schema(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of the settings file, for editors."""
    from shedproxy.settings import settings_json_schema

    _write_schema(settings_json_schema(), out)


@export.command(
    "report-schema",
    help="""Print the JSON Schema of what `shedproxy calibrate` leaves in report.json.

    \b
    Examples:
        shedproxy export report-schema --out report.schema.json
    """,
)
def report_schema(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of a report.json."""
    from shedproxy.calibration.results_schema import results_json_schema

    _write_schema(results_json_schema(), out)


def _write_schema(value: Any, out: Path | None) -> None:
    text = json.dumps(value, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        end_failed(f"cannot write {out}: {error.strerror}")
    typer.echo(f"wrote {out}")


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the version, and what it runs on.

    Examples:
        shedproxy version
        shedproxy version --json
    """
    import shedproxy
    from shedproxy.observability.build import BUILD

    facts = {
        "shedproxy": shedproxy.__version__,
        "build": BUILD,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for name in ("uvloop", "httptools", "uvicorn", "pydantic"):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "missing"
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name} {value}")
