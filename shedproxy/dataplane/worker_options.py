"""The command line of a worker, as its supervisor writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shedproxy.errors import StartupError

__all__ = ["Options", "parse_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    kind: str = "wire"
    index: int = 0
    """Which of the workers it is."""
    workers: int = 1
    region: int = -1
    """Its part of the page; -1: the one with its number."""
    page_fd: int = -1
    channel_fd: int = -1
    stack_fd: int = -1
    """Where it writes its stack when it is asked to; -1: nowhere."""
    table_fd: int = -1
    """Where tables of cells lie; -1: nowhere."""
    listen_fds: tuple[int, ...] = ()
    bell_fds: tuple[int, ...] = ()
    """By region, who to wake when a slot of the host is free."""
    app: str = ""
    """`MODULE:APP`, for the kind `asgi`."""
    app_dir: str = ""
    is_factory: bool = False
    is_shared: bool = False
    """Its cells' limits are those of all workers together; else they are its part."""
    record: str = ""
    """File to record to; of several workers each puts its number before the suffix."""


_FLAGS = {"--factory": "is_factory", "--shared": "is_shared"}
_NUMBERS = frozenset(
    {"index", "workers", "region", "page_fd", "channel_fd", "stack_fd", "table_fd"}
)


def parse_options(arguments: Sequence[str]) -> Options:
    """Read the command line.

    Raises:
        StartupError: an argument is unknown or has no value.
    """
    values: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name = word.removeprefix("--").replace("-", "_")
        if word in _FLAGS:
            values[_FLAGS[word]] = True
            continue
        if name not in Options.__dataclass_fields__ or not words:
            raise StartupError(f"worker: cannot read argument {word!r}")
        text = words.pop(0)
        try:
            if name in _NUMBERS:
                values[name] = int(text)
            elif name in {"listen_fds", "bell_fds"}:
                values[name] = tuple(int(part) for part in text.split(",") if part)
            else:
                values[name] = text
        except ValueError as error:
            raise StartupError(f"worker: {word} {text!r} is not a number") from error
    return Options(**values)
