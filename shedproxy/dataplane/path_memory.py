"""What the rules make of the paths that were asked for lately, by one method.

Of many services most paths come once (a number is in them). So a path is kept when it comes a
second time, and what a path costs that never does is a look at each of two generations and a mark.
"""

from __future__ import annotations

from typing import Final

from shedproxy.dataplane.recent import Marks

__all__ = ["PATHS_MAX", "PATH_SIZE_MAX", "Found", "PathMemory"]

Found = tuple[int, tuple[tuple[int, ...], ...]]
"""The rule that the path decides alone; or, where host and headers have a say, the candidates of
each of its readings."""

PATHS_MAX: Final = 1024
"""Paths in a generation; there are two."""
PATH_SIZE_MAX: Final = 256
"""Longer paths are not kept, so that the memory has a bound in bytes too."""


class PathMemory:
    """Bounded, and what is used stays."""

    __slots__ = ("_marks", "_older", "_recent")

    def __init__(self) -> None:
        self._recent: dict[bytes, Found] = {}
        self._older: dict[bytes, Found] = {}
        self._marks = Marks()

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def find(self, path: bytes) -> Found | None:
        """What was kept of a raw path."""
        found = self._recent.get(path)
        if found is None:
            found = self._older.get(path)
            if found is not None:
                self._put(path, found)
        return found

    def keep(self, path: bytes, found: Found) -> None:
        """Keep what was found of a path, if it was asked for before and is not too long."""
        if len(path) <= PATH_SIZE_MAX and self._marks.knows(path):
            self._put(path, found)

    def _put(self, path: bytes, found: Found) -> None:
        if len(self._recent) >= PATHS_MAX:
            self._older, self._recent = self._recent, {}
        self._recent[path] = found
