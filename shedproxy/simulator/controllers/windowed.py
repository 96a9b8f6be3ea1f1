"""Samples gathered into windows: `WindowedLimit` of Netflix concurrency-limits.

The estimator inside hears of a window as of one sample: its mean (or percentile) latency, the most
that was in flight, and whether anything dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shedproxy.core import NS_PER_US, Instant, Nanos, Outcome, Permit, Verdict, seconds
from shedproxy.simulator.controllers.fixed_limit import LimitControl
from shedproxy.simulator.controllers.ledger import NO_VERDICTS

__all__ = ["WINDOWING", "MeanWindow", "PercentileWindow", "WindowedControl", "Windowing"]

_SUCCESS = Outcome.SUCCESS
_OVERLOAD = Outcome.OVERLOAD
_RTT_NONE = 1 << 62
_LENGTH_NS = seconds(1)
_RTT_FLOOR_NS = Nanos(100 * NS_PER_US)


class MeanWindow:
    """The mean of all latencies. Drops have one too, and count in it."""

    __slots__ = ("_rtt_sum_ns", "did_drop", "in_flight_max", "rtt_min_ns", "sample_count")

    def __init__(self) -> None:
        self._rtt_sum_ns = 0
        self.rtt_min_ns = _RTT_NONE
        self.in_flight_max = 0
        self.sample_count = 0
        self.did_drop = False

    def add(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        """A latency in ns, and what was in flight with the request when it began."""
        self.sample_count += 1
        self._rtt_sum_ns += rtt_ns
        self.rtt_min_ns = min(self.rtt_min_ns, rtt_ns)
        self.in_flight_max = max(self.in_flight_max, in_flight)
        if did_drop:
            self.did_drop = True

    def rtt_ns(self) -> int:
        """The latency that stands for the window; 0 while it is empty."""
        return self._rtt_sum_ns // self.sample_count if self.sample_count else 0


class PercentileWindow(MeanWindow):
    """A percentile of the first `size` latencies; later samples are not looked at."""

    __slots__ = ("_percentile", "_rtts_ns", "_size")

    def __init__(self, percentile: float, size: int) -> None:
        """`percentile` is in 0..1, both excluded."""
        super().__init__()
        self._percentile = percentile
        self._size = size
        self._rtts_ns: list[int] = []

    def add(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        """A latency in ns, and what was in flight with the request when it began."""
        if self.sample_count < self._size:
            super().add(rtt_ns, in_flight, did_drop=did_drop)
            self._rtts_ns.append(rtt_ns)

    def rtt_ns(self) -> int:
        """The latency of the nearest rank; 0 while it is empty."""
        rank = max(1, math.floor(self.sample_count * self._percentile + 0.5))
        return sorted(self._rtts_ns)[rank - 1] if self._rtts_ns else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowing:
    """How samples are gathered. A window lasts twice its least latency, inside the bounds."""

    length_min_ns: Nanos = _LENGTH_NS
    length_max_ns: Nanos = _LENGTH_NS
    sample_count_min: int = 10
    """A window with fewer is thrown away."""
    rtt_floor_ns: Nanos = _RTT_FLOOR_NS
    """Latencies below it are ignored."""
    new_window: Callable[[], MeanWindow] = MeanWindow


WINDOWING = Windowing()
"""The published defaults."""


class WindowedControl(LimitControl):
    """A limit that `on_sample` moves, once per window."""

    def __init__(self, limit: int, windowing: Windowing) -> None:
        super().__init__(limit)
        self._windowing = windowing
        self._rtt_floor_ns = windowing.rtt_floor_ns
        self._window = windowing.new_window()
        self._ends_at = 0
        """The length of a window is set when the one before ends; the first ends at once."""

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A success is a sample, an overload a drop; the rest teaches nothing."""
        self.give_back(permit)
        if outcome is _SUCCESS or outcome is _OVERLOAD:
            rtt_ns = now - permit.admitted_at - stalled_ns
            if rtt_ns >= self._rtt_floor_ns:
                in_flight = permit.in_flight_before + permit.cost
                self._window.add(rtt_ns, in_flight, did_drop=outcome is _OVERLOAD)
                if now > self._ends_at:
                    self._close(now)
        return NO_VERDICTS

    def _close(self, now: Instant) -> None:
        windowing = self._windowing
        window, self._window = self._window, windowing.new_window()
        length_ns = max(2 * window.rtt_min_ns, windowing.length_min_ns)
        self._ends_at = now + min(length_ns, windowing.length_max_ns)
        if window.sample_count >= windowing.sample_count_min:
            self.on_sample(window.rtt_ns(), window.in_flight_max, did_drop=window.did_drop)

    def on_sample(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        """A window that is ready: its latency in ns, its most in flight, whether one dropped."""
        raise NotImplementedError
