"""The token that a command passes, as it stands in a file."""

from __future__ import annotations

from pathlib import Path

import typer

from shedproxy.cli.exit_codes import EXIT_FAILED

__all__ = ["read_token"]


def read_token(file: str) -> str:
    """What is in the file, without its line end; "" where none is named.

    Raises:
        typer.Exit: 1, and it was said that the file cannot be read.
    """
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        typer.echo(f"error: cannot read {file}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
