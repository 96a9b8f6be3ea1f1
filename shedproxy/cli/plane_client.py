"""Asking a control plane: its answer, or the end of the command with what is in the way."""

from __future__ import annotations

import json
from typing import Any

import typer

from shedproxy.cli.control_client import ControlClient, ControlError
from shedproxy.cli.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE
from shedproxy.cli.output import print_problems
from shedproxy.cli.token_file import read_token
from shedproxy.errors import Problem

__all__ = ["ask_plane", "print_json"]

_TIMEOUT_S = 35.0
_ADVICE = "is it running? shedproxy control run; --url or SHEDPROXY_CONTROL_PLANE say where"


def ask_plane(
    url: str,
    token_file: str,
    method: str,
    path: str,
    *,
    query: list[tuple[str, str]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What it answers.

    Raises:
        typer.Exit: 1 not there, or refused; 2 the order makes no sense; 3 the settings are no good.
    """
    token = read_token(token_file)
    try:
        with ControlClient(
            url, token=token, name="control plane", advice=_ADVICE, timeout_s=_TIMEOUT_S
        ) as client:
            return client.ask(method, path, query=query, body=body)
    except ControlError as error:
        raise typer.Exit(_say(error)) from None


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
