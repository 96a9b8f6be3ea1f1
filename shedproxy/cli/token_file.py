"""The token that a command passes, as it stands in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

import typer

from shedproxy.cli.exit_codes import EXIT_FAILED

__all__ = ["read_token"]

_TOKEN = re.compile(r"[\x21-\x7e]*")


def read_token(file: str) -> str:
    """What is in the file, without its line end; "" where none is named.

    Raises:
        typer.Exit: 1, and it was said that the file cannot be read, or holds no token. What it
            holds is not shown.
    """
    if not file:
        return ""
    try:
        token = Path(file).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        _end(f"cannot read {file}: {error.strerror}")
    if not _TOKEN.fullmatch(token):
        _end(f"{file} holds no token: one line of visible ASCII, without blanks")
    return token


def _end(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(EXIT_FAILED)
