"""Options that the verbs of `shedproxy control` have in common, and how an order is given."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from shedproxy.cli.plane_client import ask_plane, print_json

__all__ = ["DEFAULT_URL", "AsJson", "Revision", "TokenFile", "Url", "Why", "order", "say"]

DEFAULT_URL = "http://127.0.0.1:9800"

Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="SHEDPROXY_CONTROL_PLANE", metavar="URL", help="Of the control plane."
    ),
]
TokenFile = Annotated[
    str,
    typer.Option(
        "--token-file",
        envvar="SHEDPROXY_CONTROL_PLANE_TOKEN_FILE",
        metavar="FILE",
        help="File with your token. Without any, the user of the control plane gives orders.",
    ),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the audit.")]
Revision = Annotated[
    int | None,
    typer.Option(
        "--revision", metavar="N", min=1, help="Only if the fleet is at this revision (status)."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as it came.")]


def order(
    verb: str, content: dict[str, Any], why: str, revision: int | None, url: str, token_file: str
) -> dict[str, Any]:
    """Give an order; its answer, or the end of the command with what is in the way."""
    body = {**content, "why": why, **({} if revision is None else {"revision": revision})}
    return ask_plane(url, token_file, "POST", f"/v1/{verb}", body=body)


def say(answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    """That it was done."""
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{text} (revision {answer['revision']})")
