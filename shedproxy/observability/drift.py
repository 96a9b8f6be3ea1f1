"""Whether a service is still the one that was calibrated: live points against the fitted curve.

A point is how many requests ended in a while and how long they took, before the upstream and at
it; by Little's law that is also how many were in flight. Of a service with K slots and service time
S, Erlang says how many are in flight at each share of its capacity (with Allen's and Cunneen's
correction for the scatter of service times). Turned round, a point tells S, whatever the load was:
the slowdown is that over the calibrated one. Where most requests had to wait before the service, it
is never idle, and its throughput is its capacity.

Pure: it is told what time it is. It says, and changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant, seconds
from shedproxy.snapshot import CellProfile

__all__ = ["Counts", "DriftState", "DriftWatch", "mean_in_flight", "slowdown"]

_POINT_NS = seconds(10)
_POINT_REQUESTS = 100
_POINT_LATEST_NS = seconds(120)
_MEMORY_NS = seconds(240)
"""What was before a change is forgotten a minute before it has to be told."""
_POINTS_MIN = 6
_ERRORS = 2.5
_ALARM_RATIO = 1.08
"""A slowdown surely above this is one: capacity is calibrated to 5 %."""
_CALM_RATIO = 1.05
_LEAST_NS = NS_PER_MS
"""Less than this a request is the proxy's own cost."""
_BUSY_SHARE = 0.9


class Counts(NamedTuple):
    """Of a cell since its start: only differences mean anything."""

    ended_count: int
    upstream_ns: int
    """Time that they took at the upstream, in all."""
    waited_count: int
    """Those that had to wait for a slot."""
    waited_ns: int = 0
    """Time that those waited for it, in all."""


class DriftState(NamedTuple):
    """What is known now. `ratio` is the slowdown (1: none) with its bounds; None: too little."""

    ratio: float | None
    low: float
    high: float
    is_alarm: bool


def slowdown(in_flight: float, throughput_rps: float, profile: CellProfile) -> float:
    """Service time over the calibrated one, from one point of a service that is not saturated."""
    slots = max(1, round(profile.knee_in_flight))
    low, high = 0.0, 0.999
    for _ in range(40):
        share = (low + high) / 2
        if mean_in_flight(slots, share, profile.cv) < in_flight:
            low = share
        else:
            high = share
    return (low + high) / 2 * profile.capacity_rps / throughput_rps


def mean_in_flight(slots: int, share: float, cv: float) -> float:
    """Mean in flight at this share of capacity (0..1): Erlang C, corrected for scatter."""
    load = slots * share
    blocked = 1.0
    for count in range(1, slots + 1):
        blocked = load * blocked / (count + load * blocked)
    waits = blocked / (1 - share * (1 - blocked))
    return load + waits * share / (1 - share) * (1 + cv * cv) / 2


class DriftWatch:
    """One per cell and profile. Feed it every few seconds."""

    def __init__(self, profile: CellProfile) -> None:
        """The profile has a capacity and a knee above 0."""
        self._profile = profile
        self._last: tuple[Instant, Counts] | None = None
        self._points: deque[tuple[Instant, float]] = deque()
        self._is_alarm = False

    def feed(self, now: Instant, counts: Counts, *, healthy_ratio: float = 1.0) -> DriftState:
        """Take the counts of now. `healthy_ratio`: upstreams in use over those calibrated."""
        if self._last is None or counts.ended_count < self._last[1].ended_count:
            self._last = (now, counts)
            return self.state
        since, before = self._last
        ended = counts.ended_count - before.ended_count
        span = now - since
        if span < _POINT_NS or (ended < _POINT_REQUESTS and span < _POINT_LATEST_NS):
            return self.state
        self._last = (now, counts)
        if ended >= _POINT_REQUESTS and healthy_ratio > 0:
            waiting = (counts.waited_count - before.waited_count) / ended
            # A limit just above the knee moves the queue before it, and as long as a service is
            # idle now and then it has the same queue wherever that stands.
            took_ns = (
                counts.upstream_ns - before.upstream_ns + counts.waited_ns - before.waited_ns
            ) / ended
            self._add(now, ended * NS_PER_S / span / healthy_ratio, took_ns, waiting)
        return self.state

    def _add(self, now: Instant, throughput_rps: float, took_ns: float, waiting: float) -> None:
        if waiting >= _BUSY_SHARE:
            ratio = self._profile.capacity_rps / throughput_rps
        else:
            in_flight = throughput_rps * took_ns / NS_PER_S
            ratio = slowdown(in_flight, throughput_rps, self._profile)
        self._points.append((now, math.log(max(ratio, 1e-3))))
        while now - self._points[0][0] > _MEMORY_NS:
            self._points.popleft()
        state = self._judge()
        if state.ratio is not None:
            calibrated_ns = self._profile.knee_in_flight / self._profile.capacity_rps * NS_PER_S
            is_real = (state.ratio - 1) * calibrated_ns > _LEAST_NS
            if state.low > _ALARM_RATIO and is_real:
                self._is_alarm = True
            elif state.high < _CALM_RATIO:
                self._is_alarm = False

    @property
    def state(self) -> DriftState:
        """As of the last point."""
        return self._judge()

    def _judge(self) -> DriftState:
        values = [value for _, value in self._points]
        if len(values) < _POINTS_MIN:
            return DriftState(None, 0.0, math.inf, self._is_alarm)
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        half = _ERRORS * math.sqrt(variance / len(values))
        return DriftState(
            math.exp(mean), math.exp(mean - half), math.exp(mean + half), self._is_alarm
        )

    def words(self, wall_s: float) -> str:
        """What to tell people; "" without an alarm. `wall_s` is now, in seconds of the epoch."""
        state = self.state
        if not state.is_alarm or state.ratio is None:
            return ""
        days = max(0, int((wall_s - self._profile.fitted_at_s) / 86_400))
        capacity = self._profile.capacity_rps
        now, spread = capacity / state.ratio, (capacity / state.low - capacity / state.high) / 2
        return (
            f"profile {days} days old, capacity now about {now:.0f} +- {spread:.0f}/s instead of "
            f"{capacity:.0f}/s: recalibrate"
        )
