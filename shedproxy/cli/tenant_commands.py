"""`shedproxy control move-tenant` and `abort-move`: a key changes its cell."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from shedproxy.cli.exit_codes import EXIT_FAILED
from shedproxy.cli.plane_client import ask_plane, print_json
from shedproxy.cli.plane_options import (
    DEFAULT_URL,
    AsJson,
    Revision,
    TokenFile,
    Url,
    Why,
    order,
    say,
)
from shedproxy.cli.plane_views import move_line

__all__ = ["add_tenant_verbs"]

LOOK_S = 0.25
"""Between two looks of who waits."""
PATIENCE_S = 60.0
"""With a control plane that is not there: the move is in its store, and its successor goes on."""

_HELP_MOVE = """Move a tenant to another cell, on all hosts, without a lost request.

    KEY is what requests have where [cells] key says: a header, an API key, a part of the path, the
    host, the client's address; "-" reads it from standard input, so that no list of processes shows
    it. First every host marks it, then its new requests wait until those at work have ended, for
    some seconds at most; then the other cell has it. Never both. If it takes too long, or a host is
    away, all stays as it was. It then stays there, whatever settings are promoted.

    \b
    Examples:
        shedproxy control move-tenant acme --to big --why 'outgrew its cell'
        shedproxy control move-tenant - --to big --demand 300 --wait < key.txt
    """
_HELP_ABORT = """Leave the tenant that is being moved where it was.

    Once the other cell has it there is no way back but another move.

    \b
    Examples:
        shedproxy control abort-move --why 'wrong one'
    """


def add_tenant_verbs(group: typer.Typer) -> None:
    """Put the commands into the group."""
    group.command(name="move-tenant", help=_HELP_MOVE)(_move_tenant)
    group.command(name="abort-move", help=_HELP_ABORT)(_abort_move)


def _move_tenant(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As requests have it; - reads it.")],
    to: Annotated[str, typer.Option("--to", metavar="CELL", help="A cell of the settings.")],
    demand: Annotated[
        float,
        typer.Option(
            "--demand",
            metavar="RPS",
            min=0,
            help="What it asks for at its peak, if cells are sized.",
        ),
    ] = 0.0,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is there, or is not.")] = False,
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Move a tenant to another cell."""
    text = sys.stdin.readline().strip() if key == "-" else key
    content = {"key": text, "to": to, **({"demand": demand} if demand else {})}
    answer = order("move-tenant", content, why, revision, url, token_file)
    shown = answer["name"] or answer["key"]
    if not wait:
        say(
            answer,
            f"moving {shown} from {answer['from']} to {to}: shedproxy control status",
            as_json=as_json,
        )
        return
    fleet = _awaited(answer, url, token_file, is_quiet=as_json)
    if as_json:
        print_json({"moved": fleet["moved"], "move_given_up": fleet["move_given_up"]})
    is_there = any(each["key"] == answer["key"] and each["cell"] == to for each in fleet["moved"])
    if not is_there:
        typer.echo(f"error: {shown} was not moved: {fleet['move_given_up']}", err=True)
        raise typer.Exit(EXIT_FAILED)
    if not as_json:
        typer.echo(f"{shown} is in cell {to} (revision {fleet['revision']})")


def _awaited(
    answer: dict[str, Any], url: str, token_file: str, *, is_quiet: bool
) -> dict[str, Any]:
    """The fleet when the key does not move any more; what is waited for is said when it changes."""
    told = ""
    while True:
        fleet = ask_plane(url, token_file, "GET", "/v1/status", patience_s=PATIENCE_S)
        move = fleet["move"]
        is_it = move is not None and move["key"] == answer["key"]
        # Another control plane may answer, and be late to know.
        if not is_it and fleet["revision"] >= answer["revision"]:
            return fleet
        if is_it and not is_quiet:
            causes = [f"{host}: {why}" for host, why in move["waits_for"].items()][:1]
            line = f"{move['phase']} {causes}"
            if line != told:
                typer.echo(": ".join((move_line(move), *causes)))
            told = line
        time.sleep(LOOK_S)  # noqa: TID251 - a person waits


def _abort_move(
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Leave the tenant that is being moved where it was."""
    answer = order("abort-move", {}, why, revision, url, token_file)
    shown = answer["name"] or answer["key"]
    say(answer, f"{shown} stays in cell {answer['from']}", as_json=as_json)
