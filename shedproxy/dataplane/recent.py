"""A bounded memory of answers, for the hot path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["Recent"]

_K = TypeVar("_K")
_V = TypeVar("_V")

_SIZE: Final = 1024
"""Answers per generation; two generations are held."""


class Recent(dict[_K, _V]):
    """Remembers what a function answered, in two generations: bounded, and what is used stays."""

    def __init__(self, compute: Callable[[_K], _V]) -> None:
        super().__init__()
        self._compute = compute
        self._older: dict[_K, _V] = {}

    def __missing__(self, key: _K) -> _V:
        value = self._older.get(key)
        if value is None:
            value = self._compute(key)
        if len(self) >= _SIZE:
            self._older = dict(self)
            self.clear()
        self[key] = value
        return value
