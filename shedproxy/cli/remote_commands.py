"""Commands that speak to a running instance through its control listener."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from shedproxy.cli.control_client import ControlClient, ControlError
from shedproxy.cli.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE
from shedproxy.cli.output import print_problems
from shedproxy.cli.remote_views import (
    clear_screen,
    print_explanation,
    print_mode,
    print_reload,
    print_restart,
    print_status,
    print_zones,
)
from shedproxy.cli.token_file import read_token
from shedproxy.cli.upstream_views import of_cell, print_upstreams

__all__ = ["drain", "explain", "mode", "reload", "restart", "status", "upstreams", "zone"]

DEFAULT_URL = "http://127.0.0.1:9900"
_POLL_S = 0.2

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        envvar="SHEDPROXY_CONTROL__LISTEN",
        help='Control listener: "http://host:port" or "unix:/path".',
    ),
]
TokenFile = Annotated[
    str,
    typer.Option(
        "--token-file",
        envvar="SHEDPROXY_CONTROL__TOKEN_FILE",
        metavar="FILE",
        help="File with the token that the control listener asks for. On its host the user of the"
        " proxy, and root, need none.",
    ),
]
For = Annotated[str, typer.Option("--for", metavar="TIME", help="How long, like 10m; at most 7d.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as it came.")]


def status(
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second.")] = False,
    token_file: TokenFile = "",
) -> None:
    """Show what a running instance does now.

    Examples:
        shedproxy status
        shedproxy status http://127.0.0.1:9901 --json
    """
    with _client(url, token_file) as client:
        while True:
            content = _ask(client, "GET", "/-/status")
            if watch and not as_json and sys.stdout.isatty():
                clear_screen()
            if as_json:
                _print_json(content)
            else:
                print_status(content)
            if not watch:
                return
            try:
                time.sleep(1)  # noqa: TID251 - a person watches
            except KeyboardInterrupt:
                return


def mode(
    name: Annotated[
        str,
        typer.Argument(
            metavar="observe|enforce|off|configured",
            help="What to do with refusals; `configured`: as file and flags say.",
        ),
    ],
    url: Url = DEFAULT_URL,
    for_: For = "1h",
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Override the mode for a while; `configured` ends it early.

    Examples:
        shedproxy mode observe --for 10m
        shedproxy mode configured
    """
    from shedproxy.supervisor.orders import ModeOrder

    order = {"mode": name} if name == "configured" else {"mode": name, "for": for_}
    _check_order(ModeOrder.parse, order, "MODE")
    with _client(url, token_file) as client:
        content = _ask(client, "POST", "/-/mode", body=order)
    _print_json(content) if as_json else print_mode(content)


def zone(
    action: Annotated[str, typer.Argument(metavar="away|back", help="What to do with the zone.")],
    name: Annotated[str, typer.Argument(metavar="ZONE", help="As upstreams name it.")],
    url: Url = DEFAULT_URL,
    for_: For = "1h",
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Weigh a zone away for a while; `back` ends it early.

    Its upstreams get what no other zone can take, and nothing else.

    Examples:
        shedproxy zone away eu-1b --for 30m
        shedproxy zone back eu-1b
    """
    from shedproxy.supervisor.orders import ZoneOrder

    if action not in {"away", "back"}:
        raise typer.BadParameter(f"{action!r} is neither away nor back", param_hint="ACTION")
    order: dict[str, object] = {"zone": name, "away": action == "away"}
    if action == "away":
        order["for"] = for_
    _check_order(ZoneOrder.parse, order, "ZONE")
    with _client(url, token_file) as client:
        content = _ask(client, "POST", "/-/zone", body=order)
    _print_json(content) if as_json else print_zones(content)


def explain(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="As in GET.")] = "",
    path: Annotated[str, typer.Argument(metavar="PATH", help="As in /orders/7.")] = "",
    url: Url = DEFAULT_URL,
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="K:V", help="A request header.")
    ] = None,
    refusal_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="A refusal that was answered (shedproxy-id).")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Ask a file, no running instance."),
    ] = None,
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Say what would happen to a request now, or why one was refused.

    Examples:
        shedproxy explain GET /reports/7 -H 'x-criticality: sheddable'
        shedproxy explain --id 0F3K9QZ7M1C2A
        shedproxy explain POST /orders --config shedproxy.toml
    """
    if refusal_id and method and not path:  # `explain --id ID URL`
        method, url = "", method
    if refusal_id:
        _check_id(refusal_id)
    elif not path.startswith("/"):
        raise typer.BadParameter("give METHOD and PATH (like GET /orders), or --id")
    headers = [_split_header(text) for text in header or ()]
    if config is not None:
        content = _explain_offline(config, method, path, headers)
    else:
        query = [("method", method), ("path", path)] if method else []
        query += [("header", f"{name}:{value}") for name, value in headers]
        if refusal_id:
            query.append(("id", refusal_id))
        with _client(url, token_file) as client:
            content = _ask(client, "GET", "/-/explain", query=query)
    _print_json(content) if as_json else print_explanation(content)


def reload(url: Url = DEFAULT_URL, token_file: TokenFile = "", as_json: AsJson = False) -> None:
    """Read the configuration again; a bad one is refused and the last good one kept.

    Examples:
        shedproxy reload
        shedproxy reload unix:/run/shedproxy/control.sock
    """
    with _client(url, token_file) as client:
        content = _ask(client, "POST", "/-/reload", body={}, good=(200, 422))
    _print_json(content) if as_json else print_reload(content)
    if not content["ok"]:
        raise typer.Exit(EXIT_CONFIG)


def restart(url: Url = DEFAULT_URL, token_file: TokenFile = "", as_json: AsJson = False) -> None:
    """Replace the worker processes one at a time; no connection is refused meanwhile.

    The new one is ready before the old one finishes. One that does not become ready ends it.

    Examples:
        shedproxy restart
        shedproxy restart unix:/run/shedproxy/control.sock
    """
    with _client(url, token_file) as client:
        content = _ask(client, "POST", "/-/restart", body={}, good=(202,))
        while content["state"] == "running":
            time.sleep(_POLL_S)  # noqa: TID251 - a person waits
            content = _ask(client, "GET", "/-/status")["restart"]
    _print_json(content) if as_json else print_restart(content)
    if content["state"] != "done":
        raise typer.Exit(EXIT_FAILED)


def drain(url: Url = DEFAULT_URL, token_file: TokenFile = "") -> None:
    """End an instance in order: readiness off, requests in flight finish.

    Examples:
        shedproxy drain
        shedproxy drain http://10.0.0.5:9900 --token-file /etc/shedproxy/token
    """
    with _client(url, token_file) as client:
        content = _ask(client, "POST", "/-/drain", body={}, good=(202,))
    typer.echo(content["state"])


def upstreams(
    url: Url = DEFAULT_URL,
    drain: Annotated[
        str, typer.Option("--drain", metavar="HOST", help="Give it no requests, for a while.")
    ] = "",
    undrain: Annotated[str, typer.Option("--undrain", metavar="HOST", help="End that early.")] = "",
    forgive: Annotated[
        int,
        typer.Option("--forgive", metavar="N", help="Write off a bullet that nobody will pay for."),
    ] = 0,
    cell: Annotated[str, typer.Option("--cell", metavar="NAME", help="Of one cell only.")] = "",
    for_: For = "1h",
    token_file: TokenFile = "",
    as_json: AsJson = False,
) -> None:
    """Show every upstream, and how many more may be taken out; drain one by hand.

    Examples:
        shedproxy upstreams
        shedproxy upstreams --drain http://10.0.0.7:8000 --for 20m
    """
    from shedproxy.supervisor.orders import HostOrder

    if sum(map(bool, (drain, undrain, forgive))) > 1:
        raise typer.BadParameter("give one of --drain, --undrain and --forgive")
    order: dict[str, Any] = {}
    if forgive:
        order = {"action": "forgive", "serial": forgive}
    elif drain:
        order = {"action": "drain", "host": drain, "cell": cell, "for": for_}
    elif undrain:
        order = {"action": "undrain", "host": undrain, "cell": cell}
    if order:
        _check_order(HostOrder.parse, order, f"--{order['action']}")
    with _client(url, token_file) as client:
        if order:
            content = _ask(client, "POST", "/-/upstreams", body=order)
        else:
            content = _ask(client, "GET", "/-/upstreams")
    if cell and not order:
        cells = sorted({host["cell"] for host in content["hosts"]})
        if cell not in cells:
            typer.echo(
                f"error: no cell {cell} has upstreams; there are: {', '.join(cells)}", err=True
            )
            raise typer.Exit(EXIT_USAGE)
        content = of_cell(content, cell)
    _print_json(content) if as_json else print_upstreams(content)


def _check_order(
    parse: Callable[[dict[str, Any]], object], order: dict[str, Any], what: str
) -> None:
    """A usage error for what makes no sense, before anybody is asked. `what`: where it stood."""
    from shedproxy.supervisor.orders import OrderInvalidError

    try:
        parse(order)
    except OrderInvalidError as error:
        where = "--for" if error.place == "/for" else what
        raise typer.BadParameter(str(error), param_hint=where) from None


def _client(url: str, token_file: str = "") -> ControlClient:
    token = read_token(token_file)
    try:
        return ControlClient(url, token=token)
    except ControlError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def _ask(
    client: ControlClient,
    method: str,
    path: str,
    *,
    query: list[tuple[str, str]] | None = None,
    body: dict[str, Any] | None = None,
    good: tuple[int, ...] = (200,),
) -> dict[str, Any]:
    try:
        return client.ask(method, path, query=query, body=body, good=good)
    except ControlError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE if error.is_usage else EXIT_FAILED) from None


def _explain_offline(
    file: Path, method: str, path: str, headers: list[tuple[str, str]]
) -> dict[str, Any]:
    from shedproxy.errors import ConfigInvalidError
    from shedproxy.settings import load_settings
    from shedproxy.supervisor.explain import explain_head

    try:
        loaded = load_settings(file, environ=dict(os.environ))
    except ConfigInvalidError as error:
        print_problems(error.problems)
        raise typer.Exit(EXIT_CONFIG) from None
    return explain_head(loaded.document, method.upper(), path, headers)


def _check_id(text: str) -> None:
    from shedproxy.observability.ring import RefusalRing

    if RefusalRing.parse_id(text) is None:
        raise typer.BadParameter(
            f"{text!r} is no id: 13 letters and digits, as in the field shedproxy-id of a refusal",
            param_hint="--id",
        )


def _split_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not of the form name:value", param_hint="-H")
    return name.strip().lower(), value.strip()


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=2))
