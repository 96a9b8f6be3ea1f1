"""Problems with several values, each with the place where it was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shedproxy.errors import Problem
from shedproxy.settings.layers import Layer, is_written, locate
from shedproxy.settings.problems import at_path
from shedproxy.settings.shape import Path

__all__ = ["Check"]


class Check:
    """Knows where values stand, and which of them not to speak of."""

    def __init__(self, layers: Sequence[Layer], broken: Sequence[Path]) -> None:
        self._layers = layers
        self._broken = [path for path in broken if path]

    def error(
        self,
        path: Path,
        message: str,
        *,
        note: str = "",
        help_text: str = "",
        related: Path = (),
        on_key: bool = False,
    ) -> Iterator[Problem]:
        """One problem, unless one of the two values was refused before.

        The caret goes under `path`, or under `related` when only that was written.
        """
        for bad in self._broken:
            for used in (path, related):
                if used[: len(bad)] == bad or (used and bad[: len(used)] == used):
                    return
        if related and not is_written(self._layers, path) and is_written(self._layers, related):
            path, related = related, ()
        yield at_path(
            self._layers,
            path,
            message,
            note=note,
            help_text=help_text,
            on_key=on_key,
            beside=related,
        )

    def where(self, path: Path) -> str:
        """` (line 60)` where the value stands in a file, else ``."""
        line = locate(self._layers, path).line if is_written(self._layers, path) else 0
        return f" (line {line})" if line else ""
