"""`shedproxy control init`, `run` and `token`: what the control plane itself needs."""

from __future__ import annotations

import asyncio
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from shedproxy.cli.exit_codes import EXIT_CONFIG
from shedproxy.cli.output import end_failed, print_problems
from shedproxy.errors import DocumentInvalidError, ShedproxyError

if TYPE_CHECKING:
    from shedproxy.controlplane.fleet import Host
    from shedproxy.controlplane.verbs import Texts
    from shedproxy.settings import ControlPlaneSettings

__all__ = ["add_setup"]


_FILE = """\
# The control plane of a fleet: shedproxy control run {name}
store = "{store}"
key = "{key}"
listen = "{listen}"

# How careful promotions are: how long each scope is watched (an instance, its cell, its zone,
# every other zone), how many requests it has to serve meanwhile, and how likely it may be that
# harm is overlooked.
#[promotion]
#bake = ["1h", "1h", "2h", "2h"]
#requests = 1000
#miss = 0.05

# Who may call: only hashes are here. `shedproxy control token NAME` makes another one.
[token."{person}"]
sha256 = "{sha256}"
role = "operator"
"""


def add_setup(group: typer.Typer) -> None:
    """Put the commands into the group."""
    group.command(help=_HELP_INIT)(init)
    group.command(help=_HELP_RUN)(run)
    group.command(help=_HELP_NEW)(token)


_HELP_INIT = """Begin a fleet: a key, a file for the control plane, a token, and the first revision.

    The settings are what its hosts run today: they go to all of them at once. Every later change is
    promoted from host to host.

    \b
    Examples:
        shedproxy control init edge.toml --store file:///srv/fleet --host edge-1=eu@zone-a --host edge-2=eu@zone-b
    """  # noqa: E501 - a command is one line
_HELP_RUN = """Run the control plane. Hosts need it for nothing but changes.

    Several may run over one store. Without it, and without the store, hosts go on as they are.

    \b
    Examples:
        shedproxy control run control.toml
    """
_HELP_NEW = """Make a token, and print what goes into the file of the control plane.

    Roles: reader looks, publisher publishes besides, operator does everything.

    \b
    Examples:
        shedproxy control token ann > ann.toml
        shedproxy control token ci --role publisher --token-out ci.token
    """


def init(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", help="What all hosts run.")],
    store: Annotated[
        str, typer.Option("--store", metavar="URL", help="file:///folder or s3://bucket/prefix.")
    ],
    host: Annotated[
        list[str],
        typer.Option("--host", metavar="NAME=CELL@ZONE", help="A host; cell and zone may lack."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write the file.")
    ] = Path("control.toml"),
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDR", help="Of the API.")
    ] = "127.0.0.1:9800",
) -> None:
    """Begin a fleet."""
    from shedproxy.controlplane.persons import new_token
    from shedproxy.controlplane.verbs import Texts, read_host
    from shedproxy.settings import load_control_plane
    from shedproxy.store import write_key_pair

    person = getpass.getuser()
    private, public = out.with_name("fleet.key"), out.with_name("fleet.pub")
    secret = out.with_name(f"{person}.token")
    made: list[Path] = []
    try:
        hosts = [read_host(each) for each in host]
        texts = Texts(texts={"": settings.read_text("utf-8")}, names={"": str(settings)})
        for file in (out, private, public, secret):
            if file.exists():
                end_failed(f"{file} exists already")
        made = [private, public]
        write_key_pair(private, public)
        shown, sha256 = new_token()
        made += [secret, out]
        _write_secret(secret, f"{shown}\n")
        facts = {"name": out.name, "key": private.name, "person": person, "sha256": sha256}
        out.write_text(_FILE.format(store=store, listen=listen, **facts), "utf-8")
        loaded = load_control_plane(out)
        asyncio.run(_begin(loaded, hosts, texts, person))
    except (ShedproxyError, OSError, UnicodeDecodeError) as error:
        for file in made:
            file.unlink(missing_ok=True)
        _fail(error)
    typer.echo(f"wrote {out}, {private}, {public} and {secret}: a fleet of {len(hosts)} hosts")
    typer.echo("")
    typer.echo(f"On every host, {public.name} and in its settings:")
    typer.echo(f'  [snapshot]\n  source = "{store}/hosts/{{instance}}"')
    typer.echo(f'  keys = "{public.name}"\n  folder = "/var/lib/shedproxy"')
    typer.echo("")
    typer.echo(f"Then: shedproxy control run {out}")
    typer.echo(f"      export SHEDPROXY_CONTROL_PLANE_TOKEN_FILE={secret.absolute()}")


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As init wrote it.")] = Path(
        "control.toml"
    ),
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDR", help="Instead of that of the file.")
    ] = "",
) -> None:
    """Run the control plane."""
    from shedproxy.controlplane.run import serve
    from shedproxy.settings import load_control_plane, plane_address
    from shedproxy.supervisor.rehearsal import rehearse

    settings = load_control_plane(file)
    if listen:
        try:
            settings = settings.model_copy(update={"listen": plane_address(listen)})
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--listen") from None
    asyncio.run(serve(settings, rehearse=rehearse))


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose; the audit names it.")],
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="reader, publisher or operator.")
    ] = "operator",
    token_out: Annotated[
        Path | None, typer.Option("--token-out", metavar="FILE", help="Write it there.")
    ] = None,
) -> None:
    """Make a token."""
    from shedproxy.controlplane.persons import new_token

    if role not in {"reader", "publisher", "operator"}:
        raise typer.BadParameter(f"{role!r} is none of reader, publisher, operator")
    shown, sha256 = new_token()
    if token_out is None:
        typer.echo(f"token of {name}: {shown}", err=True)
    else:
        try:
            _write_secret(token_out, f"{shown}\n")
        except OSError as error:
            end_failed(f"cannot write {token_out}: {error.strerror}")
    typer.echo(f'[token."{name}"]\nsha256 = "{sha256}"\nrole = "{role}"')


async def _begin(settings: ControlPlaneSettings, hosts: list[Host], texts: Texts, who: str) -> None:
    from shedproxy.controlplane.run import make_service
    from shedproxy.supervisor.rehearsal import rehearse

    service = make_service(settings, rehearse=rehearse, report=lambda _event, _facts: None)
    await service.begin(hosts, texts, who=who)


def _write_secret(file: Path, text: str) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor
        stream.write(text)


def _fail(error: Exception) -> NoReturn:
    if isinstance(error, DocumentInvalidError):
        print_problems(error.problems)
        raise typer.Exit(EXIT_CONFIG) from None
    if isinstance(error, OSError):
        end_failed(
            f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
        )
    help_text = getattr(error, "help", "")
    end_failed(f"{error}\n   = help: {help_text}" if help_text else str(error))
