"""What the workers have learnt: held here, so that it outlives each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shedproxy.core import Memory
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import CELLS_MAX, ROUTES_MAX, merge_memories, read_memory

__all__ = ["Learnt"]


class Learnt:
    """Baselines as each worker told them last. At first each is taken to know `memory`."""

    def __init__(self, workers: int, memory: Mapping[str, Memory]) -> None:
        self._by_worker = [dict(memory) for _ in range(workers)]

    def take(self, index: int, cells: Any) -> None:
        """A worker's message on some of its cells. One that cannot be read changes nothing."""
        try:
            told = read_memory(cells)
        except DocumentInvalidError:
            return
        known = self._by_worker[index]
        for cell, routes in told.items():
            # A route that is being learnt again is not told: the former baseline serves till then.
            known[cell] = _filled(routes, known.pop(cell, {}))
        while len(known) > CELLS_MAX:
            del known[next(iter(known))]

    def merged(self) -> dict[str, Memory]:
        """All of it together."""
        return merge_memories(self._by_worker)


def _filled(routes: Memory, former: Memory) -> Memory:
    missing = [route for route in former if route not in routes]
    room = max(0, ROUTES_MAX - len(routes))
    return {**routes, **{route: former[route] for route in missing[:room]}}
