"""`shedproxy control`: orders to the control plane of a fleet, and what it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shedproxy.cli.control_setup import add_setup
from shedproxy.cli.output import end_unread
from shedproxy.cli.plane_client import ask_plane, print_json
from shedproxy.cli.plane_options import DEFAULT_URL, AsJson, Revision, TokenFile, Url, Why, say
from shedproxy.cli.plane_options import order as give_order
from shedproxy.cli.plane_views import print_audit, print_fleet
from shedproxy.cli.tenant_commands import add_tenant_verbs

__all__ = ["control"]


control = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@control.callback(
    epilog="Begin with: shedproxy control init edge.toml --store file:///srv/fleet --host edge-1"
)
def _control() -> None:
    """Run the control plane of a fleet, and tell it what to do."""


add_setup(control)
add_tenant_verbs(control)


@control.command(
    help="""Publish settings, so that they can be promoted. Nobody runs them by that.

    All of it is checked first, as hosts would. With --cell they are for one cell only, beside the
    settings that all others have. The answer has the digest that `promote` takes.

    \b
    Examples:
        shedproxy control publish edge.toml --why 'longer queues'
        shedproxy control publish eu.toml --cell eu
    """
)
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Settings.")],
    cell: Annotated[str, typer.Option("--cell", metavar="NAME", help="For this cell only.")] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Hosts take it even if it would refuse much of their traffic."
        ),
    ] = False,
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Publish settings."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        end_unread(f"cannot read {file}: {reason}")
    order = {"texts": {cell: text}, "names": {cell: str(file)}, "force": force}
    answer = give_order("publish", order, why, revision, url, token_file)
    if as_json:
        print_json(answer)
        return
    forced = ", forced: hosts take it whatever it refuses" if answer.get("force") else ""
    typer.echo(f"published {answer['digest']} (revision {answer['revision']}{forced})")
    if force and not answer.get("force", True):
        typer.echo("  hosts run it already, without --force: that changes nothing")
    typer.echo(f"  shedproxy control promote {answer['digest'][:19]}")


@control.command(
    help="""Give a release to one host, then its cell, its zone, and zone after zone.

    Each scope is watched for a time and a number of requests, beside the hosts that do not have it.
    When it does worse, or a host does not take it, it is rolled back, and never promoted again.
    The next scope begins when harm would have been seen. Of a release that is being promoted this
    changes the rules that it names, and no others.

    \b
    Examples:
        shedproxy control promote sha256:3f2a
        shedproxy control promote sha256:3f2a --first edge-1 --bake 30m --requests 5000
        shedproxy control promote sha256:3f2a --miss 1 --why 'too few requests to prove it by'
    """
)
def promote(
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="Of a release, or its begin.")],
    first: Annotated[str, typer.Option("--first", metavar="HOST", help="Begin here.")] = "",
    bake: Annotated[
        str, typer.Option("--bake", metavar="TIME", help="How long every scope is watched.")
    ] = "",
    requests: Annotated[
        int | None, typer.Option("--requests", metavar="N", min=1, help="And what it must serve.")
    ] = None,
    miss: Annotated[
        float | None,
        typer.Option(
            "--miss", metavar="P", help="How likely harm may be overlooked; 1: never ask."
        ),
    ] = None,
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Promote a release."""
    order: dict[str, Any] = {"digest": digest, "first": first}
    order |= {"bake": bake} if bake else {}
    order |= {"requests": requests} if requests else {}
    order |= {"miss": miss} if miss is not None else {}
    answer = give_order("promote", order, why, revision, url, token_file)
    forced = " (forced: hosts take it whatever it refuses)" if answer.get("force") else ""
    say(answer, f"promoting {digest}{forced}: shedproxy control status", as_json=as_json)


@control.command(
    "roll-back",
    help="""Take back what is being promoted. It is never promoted again.

    \b
    Examples:
        shedproxy control roll-back --why 'customers complain'
    """,
)
def roll_back(
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Take back what is being promoted."""
    answer = give_order("roll-back", {}, why, revision, url, token_file)
    say(answer, "rolling back: shedproxy control status", as_json=as_json)


@control.command(
    "quarantine-cell",
    help="""Let no change reach the hosts of a cell, until --end.

    They keep what they run. What is being promoted is rolled back if it goes to them as well. After
    the end they are brought to what the others run, one after the other.

    \b
    Examples:
        shedproxy control quarantine-cell eu --why 'disks fail'
        shedproxy control quarantine-cell eu --end
    """,
)
def quarantine_cell(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Its name.")],
    end: Annotated[bool, typer.Option("--end", help="It is over.")] = False,
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Let no change reach a cell."""
    answer = give_order(
        "quarantine-cell", {"cell": cell, "end": end}, why, revision, url, token_file
    )
    word = "is out of quarantine" if end else "is in quarantine"
    say(answer, f"cell {cell} {word}", as_json=as_json)


@control.command(
    "clone-cell",
    help="""Make another cell with the settings of one that there is, on new hosts.

    \b
    Examples:
        shedproxy control clone-cell eu eu-2 --host edge-7@zone-a --host edge-8@zone-b
    """,
)
def clone_cell(
    source: Annotated[str, typer.Argument(metavar="CELL", help="The one that there is.")],
    cell: Annotated[str, typer.Argument(metavar="NEW", help="Name of the new one.")],
    host: Annotated[
        list[str], typer.Option("--host", metavar="NAME@ZONE", help="A host of it; repeat.")
    ],
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Make another cell like one that there is."""
    order = {"source": source, "cell": cell, "hosts": host}
    answer = give_order("clone-cell", order, why, revision, url, token_file)
    count = f"{len(host)} host{'' if len(host) == 1 else 's'}"
    say(answer, f"cell {cell} is like {source}, with {count}", as_json=as_json)


@control.command(
    "shift-zone",
    help="""Weigh a zone away for a while, on all hosts; --back ends it early.

    Upstreams of the zone get what no other zone can take. Hosts end it by themselves.

    \b
    Examples:
        shedproxy control shift-zone zone-b --for 30m --why 'power'
        shedproxy control shift-zone zone-b --back
    """,
)
def shift_zone(
    zone: Annotated[str, typer.Argument(metavar="ZONE", help="Its name.")],
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long, like 30m; at most 7d.")
    ] = "1h",
    back: Annotated[bool, typer.Option("--back", help="It is over.")] = False,
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Weigh a zone away for a while."""
    order = {"zone": zone, **({"back": True} if back else {"for": for_})}
    answer = give_order("shift-zone", order, why, revision, url, token_file)
    word = "is back" if back else f"is away for {for_}"
    count = answer.get("upstreams")
    if count == 0:
        word += (
            ", but the settings name no upstream there: only what hosts name themselves is moved"
        )
    say(answer, f"zone {zone} {word}", as_json=as_json)


@control.command(
    "add-host",
    help="""Add a host to the fleet. It runs what everybody runs.

    One that was in a fleet before comes back with an empty snapshot.folder.

    \b
    Examples:
        shedproxy control add-host edge-9 --cell eu --zone zone-a
    """,
)
def add_host(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Its snapshot.instance.")],
    cell: Annotated[str, typer.Option("--cell", metavar="CELL", help="Its cell.")] = "default",
    zone: Annotated[str, typer.Option("--zone", metavar="ZONE", help="Its zone.")] = "",
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Add a host."""
    order = {"host": host, "cell": cell, "zone": zone}
    answer = give_order("add-host", order, why, revision, url, token_file)
    say(answer, f"host {host} is in cell {cell}", as_json=as_json)


@control.command(
    "remove-host",
    help="""Take a host out of the fleet. Turn it off first.

    It would run on with what it has, and not hear when a tenant is moved. So none is taken out
    while one is being moved.

    \b
    Examples:
        shedproxy control remove-host edge-9
    """,
)
def remove_host(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Its name.")],
    why: Why = "",
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Take a host out."""
    answer = give_order("remove-host", {"host": host}, why, revision, url, token_file)
    say(answer, f"host {host} is out of the fleet", as_json=as_json)


@control.command(
    help="""Show the fleet: what is being promoted, what every host runs, what is wrong.

    \b
    Examples:
        shedproxy control status
        shedproxy control status --json | jq .promotion
    """
)
def status(url: Url = DEFAULT_URL, token_file: TokenFile = "", as_json: AsJson = False) -> None:
    """Show the fleet."""
    content = ask_plane(url, token_file, "GET", "/v1/status")
    print_json(content) if as_json else print_fleet(content)


@control.command(
    help="""Show who did what, when and why; what was refused, and what happened by itself.

    Every line is chained to the one before; one that was changed is said.

    \b
    Examples:
        shedproxy control audit
        shedproxy control audit --from 120 --json
    """
)
def audit(
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="Revision.")] = 1,
    all_: Annotated[bool, typer.Option("--all", help="Also that something was watched.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Show who did what."""
    query = [("from", str(first))]
    content = ask_plane(url, token_file, "GET", "/v1/audit", query=query)
    if not all_:
        content["entries"] = [each for each in content["entries"] if each["verb"] != "watch"]
    print_json(content) if as_json else print_audit(content)
