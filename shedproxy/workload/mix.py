"""Which criticality the next request has, by weight."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from shedproxy.core import Criticality
from shedproxy.workload.arrivals import RandomSource

__all__ = ["Mix", "drawing_by_weight"]


def drawing_by_weight(below: Sequence[float], rng: RandomSource) -> Callable[[], int]:
    """Draws places by weight; `below` has the running sums of the weights, the last above 0."""
    last = len(below) - 1
    if not last:
        return lambda: 0
    return lambda: min(last, bisect_right(below, rng.random() * below[-1]))


class Mix:
    """Draws criticalities in proportion to their weights (0 or more, at least one above 0)."""

    def __init__(self, weights: Mapping[Criticality, float]) -> None:
        if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise ValueError("a mix needs weights of 0 or more, one of them above 0")
        self._classes = list(weights)
        self._below = list(accumulate(weights.values()))

    def draw(self, rng: RandomSource) -> Criticality:
        """The next criticality."""
        index = bisect_right(self._below, rng.random() * self._below[-1])
        return self._classes[min(index, len(self._classes) - 1)]
