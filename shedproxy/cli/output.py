"""What commands say on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from shedproxy.cli.exit_codes import EXIT_CONFIG, EXIT_FAILED
from shedproxy.errors import Problem

__all__ = ["end_failed", "end_unread", "print_problems"]


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems on standard error, with carets; nothing when there are none."""
    from shedproxy.settings import has_color, render_problems

    color = has_color(is_terminal=sys.stderr.isatty())
    sys.stderr.write(render_problems(problems, color=color))


def end_failed(message: str) -> NoReturn:
    """Say what is wrong, and end.

    Raises:
        typer.Exit: 1.
    """
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(EXIT_FAILED) from None


def end_unread(message: str) -> NoReturn:
    """Say why a file that was named cannot be read, or understood, and end.

    Raises:
        typer.Exit: 3.
    """
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(EXIT_CONFIG) from None
