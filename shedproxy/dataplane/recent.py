"""A bounded memory of answers, for the hot path."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

__all__ = ["Marks", "Recent"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

_SIZE: Final = 1024
"""Answers per generation; two generations are held."""


_MARKS: Final = 4096
_MARK: Final = (1 << 60) - 1


class Marks:
    """Of what came once, a trace: its hash, and nothing of itself.

    Where two share a place, the later is the one known.
    """

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks = array("q", bytes(8 * _MARKS))

    def knows(self, key: Hashable) -> bool:
        """Whether it has come before; from now on it has."""
        mark = hash(key) & _MARK
        place = mark % _MARKS
        if self._marks[place] == mark:
            return True
        self._marks[place] = mark
        return False


class Recent(dict[_K, _V]):
    """Remembers what a function answered, in two generations: bounded, and what is used stays.

    `is_wary`: from when it is asked a second time. For questions that mostly are never asked again:
    they would push out the others, and give the collector more to look at than they save.
    """

    def __init__(self, compute: Callable[[_K], _V], *, is_wary: bool = False) -> None:
        super().__init__()
        self._compute = compute
        self._older: dict[_K, _V] = {}
        self._marks = Marks() if is_wary else None

    def __missing__(self, key: _K) -> _V:
        value = self._older.get(key)
        if value is None:
            value = self._compute(key)
            if self._marks is not None and not self._marks.knows(key):
                return value
        if len(self) >= _SIZE:
            self._older = dict(self)
            self.clear()
        self[key] = value
        return value
