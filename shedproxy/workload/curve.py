"""How the rate of arrivals changes with time: steps, ramps, bursts, a beginning and an end."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from shedproxy.core import NS_PER_MS, NS_PER_S, Nanos
from shedproxy.workload.arrivals import RandomSource

__all__ = ["RateCurve"]

_RAMP_STEP_NS = 100 * NS_PER_MS
"""A ramp is climbed in steps of this length."""


class RateCurve:
    """A piecewise constant rate over time in ns; `at` may be asked for every arrival."""

    __slots__ = (
        "_burst_every_ns",
        "_burst_factor",
        "_burst_ns",
        "_points",
        "_quiet_factor",
        "_rates",
    )

    def __init__(
        self,
        rate_rps: float,
        *,
        schedule: tuple[tuple[float, float], ...] = (),
        is_ramp: bool = False,
        start_s: float = 0.0,
        stop_s: float | None = None,
        burst_every_ms: float = 0.0,
        burst_ms: float = 0.0,
        burst_factor: float = 1.0,
        quiet_factor: float = 1.0,
    ) -> None:
        """`rate_rps` times the factors of `schedule`: (at second, factor), rising in time."""
        steps = [(0, 1.0), *((round(at * NS_PER_S), factor) for at, factor in schedule)]
        if is_ramp:
            steps = _climb(steps)
        start_ns = round(start_s * NS_PER_S)
        stop_ns = math.inf if stop_s is None else round(stop_s * NS_PER_S)
        points: dict[float, float] = {0: 0.0}
        for index, (at, factor) in enumerate(steps):
            until = steps[index + 1][0] if index + 1 < len(steps) else math.inf
            if until > start_ns and at < stop_ns:
                points[max(at, start_ns)] = rate_rps * factor
        if stop_ns < math.inf:
            points[stop_ns] = 0.0
        self._points = sorted(points)
        self._rates = [points[at] for at in self._points]
        self._burst_every_ns = round(burst_every_ms * NS_PER_MS)
        self._burst_ns = round(burst_ms * NS_PER_MS)
        self._burst_factor = burst_factor
        self._quiet_factor = quiet_factor

    @property
    def highest_rps(self) -> float:
        """The most that it ever asks for."""
        factor = max(self._quiet_factor, self._burst_factor) if self._burst_every_ns else 1.0
        return max(self._rates) * factor

    def arrivals(self, *, duration_ns: Nanos, rng: RandomSource | None) -> Iterator[Nanos]:
        """Offsets from the start, rising: Poisson at this rate, or without chance one for each
        whole request that the rate adds up to (equal gaps where it is constant).
        """
        now, due = 0.0, 0.0 if rng is None else -math.log(1.0 - rng.random())
        while True:
            rate, until = self.at(now)
            end = min(until, duration_ns)
            passed = rate * (end - now) / NS_PER_S
            if passed < due or not rate:
                due -= passed
                now = end
                if now >= duration_ns:
                    return
                continue
            now += due / rate * NS_PER_S
            if now >= duration_ns:
                return
            yield Nanos(int(now))
            due = 1.0 if rng is None else -math.log(1.0 - rng.random())

    def at(self, now: float) -> tuple[float, float]:
        """The rate per second at `now`, and until when it holds (ns, possibly infinite)."""
        index = bisect_right(self._points, now) - 1
        rate = self._rates[index]
        until = self._points[index + 1] if index + 1 < len(self._points) else math.inf
        every = self._burst_every_ns
        # So many times nothing is nothing: a curve that has ended stays so, without a next point.
        if every and rate > 0:
            phase = now % every
            # A burst at the end of each interval, so that a run does not begin with one.
            if phase >= every - self._burst_ns:
                rate *= self._burst_factor
                until = min(until, now - phase + every)
            else:
                rate *= self._quiet_factor
                until = min(until, now - phase + every - self._burst_ns)
        return rate, until


def _climb(steps: list[tuple[int, float]]) -> list[tuple[int, float]]:
    climbed = [steps[0]]
    for (begin, low), (end, high) in pairwise(steps):
        count = max(1, round((end - begin) / _RAMP_STEP_NS))
        climbed.extend(
            (begin + (end - begin) * step // count, low + (high - low) * step / count)
            for step in range(1, count + 1)
        )
    return climbed
