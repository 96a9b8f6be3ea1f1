"""Words of a shared page that know when they are read or written, so that others can act there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ["Killed", "Row", "Words"]


class Killed(BaseException):
    """The worker ends here and now."""


class Row:
    """The words of one field."""

    def __init__(self, words: Words, start: int, stop: int) -> None:
        self._words, self._start, self._count = words, start, stop - start

    def __getitem__(self, index: int) -> int:
        self._words.on_access()
        return self._words.values[self._start + index]

    def __setitem__(self, index: int, value: int) -> None:
        self._words.on_access()
        self._words.values[self._start + index] = value

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(self._count))

    def tolist(self) -> list[int]:
        """One after the other, as processes do."""
        return list(self)


class Words:
    """All words of a cell."""

    def __init__(self, count: int) -> None:
        self.values = [0] * count
        self.accesses = 0
        self.interruptions: list[tuple[int, Callable[[], None]]] = []
        """At so many accesses from the start: do this, once."""

    def __getitem__(self, rows: slice) -> Row:
        return Row(self, rows.start, rows.stop)

    def on_access(self) -> None:
        self.accesses += 1
        if self.interruptions and self.accesses == self.interruptions[0][0]:
            self.interruptions.pop()[1]()
