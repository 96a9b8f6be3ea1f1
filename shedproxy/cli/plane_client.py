"""Asking a control plane: its answer, or the end of the command with what is in the way."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from shedproxy.cli.control_client import ControlClient, ControlError
from shedproxy.cli.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE
from shedproxy.cli.output import print_problems
from shedproxy.cli.token_file import read_token
from shedproxy.clock import monotonic_now
from shedproxy.core import seconds
from shedproxy.errors import Problem

__all__ = ["ask_plane", "print_json"]

_TIMEOUT_S = 35.0
_PORT = 9800
AGAIN_S = 0.25
"""Between two calls of a control plane that was not there."""
_ADVICE = "is it running? shedproxy control run; --url or SHEDPROXY_CONTROL_PLANE say where"


def ask_plane(
    url: str,
    token_file: str,
    method: str,
    path: str,
    *,
    query: list[tuple[str, str]] | None = None,
    body: dict[str, Any] | None = None,
    patience_s: float = 0.0,
) -> dict[str, Any]:
    """What it answers.

    Args:
        url: where it is.
        token_file: the file of the token; "" for none.
        method: of HTTP.
        path: of the question.
        query: its parameters.
        body: its content.
        patience_s: seconds in which a control plane that is not there is asked again: it may be
            starting anew. Only for what may be asked twice.

    Raises:
        typer.Exit: 1 not there, or refused; 2 the order makes no sense; 3 the settings are no good.
    """
    token = read_token(token_file)
    until, is_told = monotonic_now() + seconds(patience_s), False
    while True:
        try:
            with ControlClient(
                url,
                token=token,
                name="control plane",
                advice=_ADVICE,
                port=_PORT,
                timeout_s=_TIMEOUT_S,
            ) as client:
                return client.ask(method, path, query=query, body=body)
        except ControlError as error:
            if not error.is_absent or monotonic_now() >= until:
                raise typer.Exit(_say(error)) from None
            if not is_told:
                typer.echo(f"{str(error).splitlines()[0]}; asked again for a while", err=True)
        is_told = True
        time.sleep(AGAIN_S)  # noqa: TID251 - a person waits


def print_json(content: dict[str, Any]) -> None:
    """As it came."""
    typer.echo(json.dumps(content, indent=2))


def _say(error: ControlError) -> int:
    """What is in the way, where, and how to go on; the exit code."""
    found = error.content.get("errors") or []
    if error.content.get("title") == "Invalid settings":
        print_problems([_problem(each) for each in found])
        return EXIT_CONFIG
    lines = [f"error: {error}"]
    for each in found:
        lines += [f"  --> {each['place']}"] if each.get("place") else []
        lines += [f"   = help: {each['help']}"] if each.get("help") else []
    typer.echo("\n".join(lines), err=True)
    return EXIT_USAGE if error.is_usage else EXIT_FAILED


def _problem(found: dict[str, Any]) -> Problem:
    return Problem(
        message=found["detail"],
        path=tuple(found["place"].split(".")),
        source=found["source"],
        line=found["line"],
        column=found["column"],
        length=found["length"],
        note=found["note"],
        help=found["help"],
        excerpt=tuple((number, text) for number, text in found["excerpt"]),
    )
