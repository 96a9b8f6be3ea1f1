"""The `shedproxy` command. A subcommand's module is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from shedproxy.cli.exit_codes import EXIT_CONFIG, EXIT_INTERRUPTED
from shedproxy.cli.output import print_problems
from shedproxy.errors import DocumentInvalidError, StartupError

__all__ = ["COMMANDS", "Command", "app", "run"]


class Command(NamedTuple):
    """A subcommand, as far as `shedproxy --help` needs to know it."""

    module: str
    attribute: str
    """A function, or a `typer.Typer` that holds a group."""
    panel: str
    summary: str
    """The first line of its docstring, repeated here so that the overview imports nothing."""


_SERVE, _CONFIGURE, _OPERATE = "Serve", "Configure", "Operate a running instance"
_FLEET = "Operate a fleet"
_SIMULATE = "Calibrate and simulate"

COMMANDS: dict[str, Command] = {
    "demo": Command(
        "demo_command",
        "demo",
        _SERVE,
        "Overload a small service, bare and through shedproxy, and compare.",
    ),
    "run": Command(
        "serve_commands",
        "run",
        _SERVE,
        "Stand in front of an HTTP service and keep it inside its capacity.",
    ),
    "app": Command(
        "serve_commands", "app", _SERVE, "Serve an ASGI application with shedding mounted."
    ),
    "init": Command(
        "config_commands", "init", _CONFIGURE, "Write a settings file with every default explained."
    ),
    "check": Command(
        "config_commands", "check", _CONFIGURE, "Find every mistake in the settings at once."
    ),
    "shards": Command(
        "shards_command",
        "shards",
        _CONFIGURE,
        "Plan how few upstreams a tenant shares with others.",
    ),
    "export": Command(
        "config_commands", "export", _CONFIGURE, "Print files that belong to shedproxy."
    ),
    "snapshot": Command(
        "snapshot_command",
        "snapshot",
        _CONFIGURE,
        "Make keys, and sign, verify, show and compare snapshots.",
    ),
    "version": Command(
        "config_commands", "version", _CONFIGURE, "Print the version, and what it runs on."
    ),
    "status": Command(
        "remote_commands", "status", _OPERATE, "Show what a running instance does now."
    ),
    "explain": Command(
        "remote_commands",
        "explain",
        _OPERATE,
        "Say what would happen to a request now, or why one was refused.",
    ),
    "mode": Command(
        "remote_commands",
        "mode",
        _OPERATE,
        "Override the mode for a while; `configured` ends it early.",
    ),
    "zone": Command(
        "remote_commands",
        "zone",
        _OPERATE,
        "Weigh a zone away for a while; `back` ends it early.",
    ),
    "reload": Command(
        "remote_commands",
        "reload",
        _OPERATE,
        "Read the configuration again; a bad one is refused and the last good one kept.",
    ),
    "restart": Command(
        "remote_commands",
        "restart",
        _OPERATE,
        "Replace the worker processes one at a time; no connection is refused meanwhile.",
    ),
    "upstreams": Command(
        "remote_commands",
        "upstreams",
        _OPERATE,
        "Show every upstream, and how many more may be taken out; drain one by hand.",
    ),
    "drain": Command(
        "remote_commands",
        "drain",
        _OPERATE,
        "End an instance in order: readiness off, requests in flight finish.",
    ),
    "control": Command(
        "control_commands",
        "control",
        _FLEET,
        "Run the control plane of a fleet, and tell it what to do.",
    ),
    "simulate": Command(
        "simulate_command",
        "simulate",
        _SIMULATE,
        "Run scenarios under controllers in virtual time, and compare them with an oracle.",
    ),
    "replay": Command(
        "replay_command", "replay", _SIMULATE, "Run a recorded trace through a policy."
    ),
    "calibrate": Command(
        "calibrate_command",
        "calibrate",
        _SIMULATE,
        "Measure what a service can carry, write the thresholds, and prove them.",
    ),
    "load": Command(
        "load_command",
        "load",
        _SIMULATE,
        "Play a load at a service or a proxy, open loop, and say what its clients got.",
    ),
    "report": Command(
        "report_command",
        "report",
        _SIMULATE,
        "Show a calibration, compare two, or read what another load test left.",
    ),
    "whatif": Command(
        "whatif_command",
        "whatif",
        _SIMULATE,
        "Say what each class would get under another load, by the service that was measured.",
    ),
    "gate": Command(
        "gate_command",
        "gate",
        _SIMULATE,
        "Fail when capacity, goodput or latency got worse than noise explains.",
    ),
}


class _Commands(TyperGroup):
    """The subcommands by name. The overview needs their summaries only and imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = COMMANDS.get(cmd_name)
        return None if command is None else _load(cmd_name, command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel in dict.fromkeys(command.panel for command in COMMANDS.values()):
            rows = [
                (name, command.summary)
                for name, command in COMMANDS.items()
                if command.panel == panel
            ]
            with formatter.section(panel):
                formatter.write_dl(rows)


class _Command(TyperCommand):
    """A subcommand whose usage has braces around alternatives only, not around what is required."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [
            piece if "|" in piece else piece.replace("{", "").replace("}", "")
            for piece in super().collect_usage_pieces(ctx)
        ]


def _load(name: str, command: Command) -> Any:
    module = importlib.import_module(f"shedproxy.cli.{command.module}")
    target: typer.Typer | Callable[..., None] = getattr(module, command.attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, rich_markup_mode=None)
        target.command(name, cls=_Command, help=_help_of(function))(function)
    loaded = typer.main.get_command(target)
    loaded.name = name
    return loaded


def _help_of(function: Callable[..., None]) -> str:
    """The docstring, with its examples kept line by line."""
    text = inspect.getdoc(function) or ""
    head, marker, examples = text.partition("Examples:\n")
    lines = [line for line in examples.split("\n") if line.strip()]
    return "\n".join((f"{head}\b\n{marker.strip()}", *lines)) if marker else text


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback(
    invoke_without_command=True,
    epilog="Begin with: shedproxy demo, then: shedproxy run http://127.0.0.1:8000",
)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Keep an HTTP service inside its measured capacity, and explain every refusal."""
    if version:
        import shedproxy

        typer.echo(f"shedproxy {shedproxy.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def run() -> None:
    """The console script. Its exit codes are those of `exit_codes`."""
    try:
        app()
    except DocumentInvalidError as error:
        print_problems(error.problems)
        sys.exit(EXIT_CONFIG)
    except StartupError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_CONFIG)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
