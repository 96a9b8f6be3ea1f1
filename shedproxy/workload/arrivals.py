"""When requests are meant to be sent: open loop, whatever became of the earlier ones.

Each schedule is an iterator of offsets in nanoseconds from the start, rising, below the duration.
Chance is given, so that equal seeds give equal schedules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

from shedproxy.core import NS_PER_S, Nanos

__all__ = ["RandomSource", "constant_arrivals", "poisson_arrivals"]


class RandomSource(Protocol):
    """Chance, as an argument. `random.Random(seed)` is one."""

    def random(self) -> float:
        """The next number in [0, 1)."""


def constant_arrivals(*, rate_rps: float, duration_ns: Nanos) -> Iterator[Nanos]:
    """Equal gaps. `rate_rps` must be above 0."""
    gap_ns = NS_PER_S / rate_rps
    for index in range(math.ceil(duration_ns / gap_ns)):
        yield Nanos(int(index * gap_ns))


def poisson_arrivals(*, rate_rps: float, duration_ns: Nanos, rng: RandomSource) -> Iterator[Nanos]:
    """Independent arrivals: exponential gaps with mean 1 / `rate_rps` (above 0)."""
    at_ns = 0.0
    mean_ns = NS_PER_S / rate_rps
    while True:
        at_ns -= math.log(1.0 - rng.random()) * mean_ns
        if at_ns >= duration_ns:
            return
        yield Nanos(int(at_ns))
