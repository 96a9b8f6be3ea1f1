"""Which settings file a command reads."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DEFAULT_FILE", "find_file"]

DEFAULT_FILE = "shedproxy.toml"
"""Read when it is there and nothing names another."""


def find_file(named: Path | None) -> Path | None:
    """The file that the command line or SHEDPROXY_CONFIG names, else `shedproxy.toml` here, if any.

    A link that leads nowhere counts as being there: it is an error, not a wish for the defaults.
    """
    if named is not None:
        return named
    if by_environment := os.environ.get("SHEDPROXY_CONFIG"):
        return Path(by_environment)
    return Path(DEFAULT_FILE) if os.path.lexists(DEFAULT_FILE) else None
