"""An experiment on the service: does more in flight finish more, or only wait longer?

Latency above its baseline has two readings. Work queues inside the service, and then a higher
limit gives longer latency and no more throughput. Or the service itself became slower, and then a
higher limit gives the same latency and more throughput. Passive correlation of the two cannot
tell (a lost host looks like a slow service while the limit follows it down); trying can.
"""

from __future__ import annotations

import enum
import math

from shedproxy.core.window import WindowSummary

__all__ = ["Tally", "Trial", "TrialResult"]


class Tally:
    """Several windows at one limit, taken together."""

    __slots__ = (
        "_in_flight_sum",
        "_ratio_square_sum",
        "_ratio_sum",
        "sample_count",
        "window_count",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self.window_count = 0
        self.sample_count = 0
        self._in_flight_sum = 0.0
        self._ratio_sum = 0.0
        self._ratio_square_sum = 0.0

    def add(self, window: WindowSummary) -> None:
        """Take a window."""
        self.window_count += 1
        self.sample_count += window.sample_count
        self._in_flight_sum += window.in_flight_mean
        self._ratio_sum += window.rtt_ratio
        self._ratio_square_sum += window.rtt_ratio * window.rtt_ratio

    @property
    def in_flight(self) -> float:
        """Mean in flight; 0.0 of nothing."""
        return self._in_flight_sum / self.window_count if self.window_count else 0.0

    @property
    def ratio(self) -> float:
        """Mean latency over baseline; 0.0 of nothing."""
        return self._ratio_sum / self.window_count if self.window_count else 0.0

    @property
    def error(self) -> float:
        """Relative standard error of the ratio, from how the windows differ; 1.0 of under 3.

        Requests that queue behind each other are not independent; windows nearly are.
        """
        count = self.window_count
        if count < 3:
            return 1.0
        spread = self._ratio_square_sum - self._ratio_sum * self._ratio_sum / count
        return math.sqrt(max(0.0, spread) * count / (count - 1)) / self._ratio_sum


class TrialResult(enum.Enum):
    """What the experiment showed so far."""

    RUNNING = enum.auto()
    VOID = enum.auto()
    """Demand went away, or the service is too noisy: nothing learnt."""
    QUEUEING = enum.auto()
    """Twice the work in flight took longer and finished no more."""
    SLOWER = enum.auto()
    """More in flight finished more: what looks like waiting is work."""


_ERROR_WANTED = 0.04
_SAMPLES_ENOUGH = 320
_SLOPE_MAX = 0.62
"""Of log latency over log in-flight: 1 when all above the knee, 0 when all below."""
_SPREAD_MIN = 1.25


class Trial:
    """Two phases: the limit as it is, then `FACTOR` times it. The first window of each is stale."""

    FACTOR = 2.0

    __slots__ = ("_before", "_is_raised", "_raised", "_skip", "level")

    def __init__(self, level: float) -> None:
        self.level = level
        """The limit before the trial."""
        self._before = Tally()
        self._raised = Tally()
        self._is_raised = False
        self._skip = True

    @property
    def wanted_level(self) -> float:
        """The limit the trial needs now."""
        return max(self.level * self.FACTOR, self.level + 1) if self._is_raised else self.level

    @property
    def slow_ratio(self) -> float:
        """Latency over baseline at the lower limit: the factor by which the service is slower."""
        return self._before.ratio

    @property
    def knee(self) -> float:
        """In flight at which the raised phase would have had the latency of the lower one."""
        return self._raised.in_flight * min(1.0, self._before.ratio / self._raised.ratio)

    def on_window(self, window: WindowSummary) -> TrialResult:
        """Take a window at `wanted_level`."""
        if not window.limit_was_reached or window.rtt_ratio <= 0:
            return TrialResult.VOID
        if self._skip:
            self._skip = False
            return TrialResult.RUNNING
        tally = self._raised if self._is_raised else self._before
        tally.add(window)
        if tally.error > _ERROR_WANTED and tally.sample_count < _SAMPLES_ENOUGH:
            return TrialResult.RUNNING
        if not self._is_raised:
            self._is_raised = True
            self._skip = True
            return TrialResult.RUNNING
        return self._result()

    def _result(self) -> TrialResult:
        spread = self._raised.in_flight / self._before.in_flight
        if spread < _SPREAD_MIN:
            return TrialResult.VOID
        slope = math.log(self._raised.ratio / self._before.ratio) / math.log(spread)
        error = math.hypot(self._raised.error, self._before.error) / math.log(spread)
        return TrialResult.SLOWER if slope + error < _SLOPE_MAX else TrialResult.QUEUEING
