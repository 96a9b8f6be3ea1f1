"""Buckets are given to cells by weight, and taken away from as few as can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shedproxy.core import BUCKETS

__all__ = ["rebalance", "shares_of", "spread_buckets"]

_NOBODY: Final = -1


def shares_of(weights: Sequence[int], total: int = BUCKETS) -> list[int]:
    """Whole shares of `total` in proportion to weights: largest remainders, earlier ones first.

    Raises:
        ValueError: a weight is negative, or all are 0.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError("weights of cells are 0 or more, and one is more")
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda cell: (-(total * weights[cell] % whole), cell)
    )
    for cell in by_remainder[: total - sum(shares)]:
        shares[cell] += 1
    return shares


def rebalance(buckets: Sequence[int], weights: Sequence[int]) -> list[int]:
    """The buckets by new weights, moving no more than it takes.

    Args:
        buckets: the cell of each; what is no cell of `weights` has to move.
        weights: by number of cell; 0: it is to be emptied.

    Raises:
        ValueError: a weight is negative, or all are 0.
    """
    room = shares_of(weights, len(buckets))
    after: list[int] = []
    for cell in buckets:
        if 0 <= cell < len(room) and room[cell]:
            room[cell] -= 1
            after.append(cell)
        else:
            after.append(_NOBODY)
    takers = [cell for cell, missing in enumerate(room) for _ in range(missing)]
    takers.reverse()
    return [takers.pop() if cell == _NOBODY else cell for cell in after]


def spread_buckets(weights: Sequence[int]) -> list[int]:
    """All buckets by weight. A cell added at the end takes its share, and nothing else moves.

    Raises:
        ValueError: a weight is negative, or all are 0.
    """
    shares_of(weights)
    buckets = [_NOBODY] * BUCKETS
    for count in range(1, len(weights) + 1):
        if any(weights[:count]):
            buckets = rebalance(buckets, weights[:count])
    return buckets
