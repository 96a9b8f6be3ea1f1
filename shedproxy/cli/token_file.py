"""The token that a command passes, as it stands in a file."""

from __future__ import annotations

import re
from pathlib import Path

from shedproxy.cli.output import end_unread

__all__ = ["read_token"]

_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_token(file: str) -> str:
    """What is in the file, without its line end; "" where none is named.

    Raises:
        typer.Exit: 3, and it was said that the file cannot be read, or holds no token. What it
            holds is not shown.
    """
    if not file:
        return ""
    try:
        token = Path(file).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        end_unread(f"cannot read {file}: {error.strerror}")
    if not _TOKEN.fullmatch(token):
        end_unread(f"{file} holds no token: one line of visible ASCII, without blanks")
    return token
