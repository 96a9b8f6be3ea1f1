"""Where loops stall, as a label of a metric: module and function, of a bounded number of places.

The place is the innermost frame outside of the standard library, which is rarely to blame for what
it was asked to do. Folders of the machine are no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import shedproxy

__all__ = ["OTHER", "PLACES_MAX", "STOPPED", "UNKNOWN", "StallPlaces", "place_of"]

PLACES_MAX = 16
"""Places that have a name: the first ones."""
OTHER, STOPPED, UNKNOWN = "other", "stopped", "unknown"
"""All places beyond; it was the process that stood still; nobody could say."""

_MODULE_SIZE, _FUNCTION_SIZE = 48, 31
_FRAME = re.compile(r"(?P<function>.*?) \((?P<file>.*):\d+\)", re.DOTALL)
_INSTALLED = re.compile(r".*[/\\](?:site|dist)-packages[/\\](.*)", re.DOTALL)
_STANDARD = re.compile(r".*[/\\]lib(?:64)?[/\\]python3\.\d+[/\\](.*)", re.DOTALL)
_FROZEN = re.compile(r"<frozen (.*)>")
_OURS = f"{Path(shedproxy.__file__).parent}/"
_ODD = re.compile(r"[^A-Za-z0-9_.<>-]")


class StallPlaces:
    """Counts stalls by place, in memory that does not grow."""

    __slots__ = ("_counts", "_named")

    def __init__(self) -> None:
        self._counts = {OTHER: 0}
        self._named = 0

    def count(self, place: str) -> None:
        """One more."""
        if place not in self._counts and place not in {STOPPED, UNKNOWN}:
            if self._named == PLACES_MAX:
                place = OTHER
            else:
                self._named += 1
        self._counts[place] = self._counts.get(place, 0) + 1

    def counts(self) -> Iterable[tuple[str, int]]:
        """Place and number of stalls, since the start."""
        return self._counts.items()


def place_of(stack: Sequence[str]) -> str:
    """The place to blame in a stack: frames "function (file:line)", innermost first."""
    found = [match for match in map(_FRAME.fullmatch, stack) if match is not None]
    if not found:
        return UNKNOWN
    named = [(*_module(match["file"]), match["function"]) for match in found]
    module, _, function = next((name for name in named if not name[1]), named[0])
    return f"{_plain(module)[-_MODULE_SIZE:]}:{_plain(function)[:_FUNCTION_SIZE]}"


def _module(file: str) -> tuple[str, bool]:
    """The name of a module, and whether it is one of the standard library."""
    if frozen := _FROZEN.fullmatch(file):
        return frozen[1], True
    if file.startswith("<"):
        return re.split(r"[ /\\]", file)[0], False
    if file.startswith(_OURS):
        return f"shedproxy.{_dotted(file.removeprefix(_OURS))}", False
    if installed := _INSTALLED.fullmatch(file):
        return _dotted(installed[1]), False
    if standard := _STANDARD.fullmatch(file):
        return _dotted(standard[1]), True
    return _dotted(re.split(r"[/\\]", file)[-1]), False


def _dotted(file: str) -> str:
    parts = [part for part in re.split(r"[/\\]", file.removesuffix(".py")) if part]
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def _plain(name: str) -> str:
    return _ODD.sub("_", name)
