"""Which number a cell has in metrics and in recorded refusals: one that a reload does not change.

Numbers are places in shared memory. Were they the places in the policy, then a reload that adds or
removes a cell would hand one cell's counters to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shedproxy.errors import DocumentInvalidError, Problem

__all__ = ["CELLS_MAX", "number_cells"]

CELLS_MAX = 64
"""Cells of one instance, and numbers that there are."""


def number_cells(names: Iterable[str], before: Sequence[str] = ()) -> tuple[str, ...]:
    """Names by number: who had one keeps it, newcomers get the next.

    Cells that are no more keep theirs too, because what they counted is still true. Only when all
    numbers are given does a newcomer take one of theirs, with its counts.

    Raises:
        DocumentInvalidError: more names than numbers.
    """
    wanted = dict.fromkeys(names)
    if len(wanted) > CELLS_MAX:
        message = f"{len(wanted)} cells are too many: {CELLS_MAX} at most"
        raise DocumentInvalidError([Problem(message=message, path=("policy", "cells"))])
    numbered = list(before)
    newcomers = [name for name in wanted if name not in numbered]
    for number, name in enumerate(numbered):
        if name not in wanted and len(numbered) + len(newcomers) > CELLS_MAX:
            numbered[number] = newcomers.pop(0)
    return (*numbered, *newcomers)
