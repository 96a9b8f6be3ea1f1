"""Long-term over short-term latency: `Gradient2Limit` of Netflix concurrency-limits, windowed."""

from __future__ import annotations

from shedproxy.core import ExponentialMean, LimitCause, next_gradient2_limit
from shedproxy.simulator.controllers.windowed import WINDOWING, WindowedControl, Windowing

__all__ = ["Gradient2Control"]

_FORGET_ABOVE = 2.0
_FORGET_RATIO = 0.95
"""A long-term latency above twice the present one is lowered by this, to forget a slow period."""


class Gradient2Control(WindowedControl):
    """Follows the ratio of two means; `baseline_ns` is the long-term one. Drops are ignored."""

    def __init__(
        self,
        *,
        initial: int = 20,
        minimum: int = 20,
        maximum: int = 200,
        smoothing: float = 0.2,
        queue_allowance: int = 4,
        tolerance: float = 1.5,
        long_window: int = 600,
        windowing: Windowing = WINDOWING,
    ) -> None:
        """Bounds and allowance in slots, `long_window` in windows, the rest ratios."""
        super().__init__(initial, windowing)
        self._minimum = minimum
        self._maximum = maximum
        self._smoothing = smoothing
        self._queue_allowance = queue_allowance
        self._tolerance = tolerance
        self._estimate = float(initial)
        self._rtt_long = ExponentialMean(window=long_window)

    def on_sample(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        """A window. With less than half of the limit in flight only the mean moves."""
        rtt_long_ns = self._rtt_long.add(rtt_ns)
        if rtt_long_ns / rtt_ns > _FORGET_ABOVE:
            self._rtt_long.value *= _FORGET_RATIO
        self.baseline_ns = int(self._rtt_long.value)
        wanted, cause = next_gradient2_limit(
            limit=self._estimate,
            rtt_short_ns=rtt_ns,
            rtt_long_ns=rtt_long_ns,
            in_flight=in_flight,
            queue_allowance=self._queue_allowance,
            tolerance=self._tolerance,
            smoothing=self._smoothing,
        )
        if cause is not LimitCause.APP_LIMITED:
            self._estimate = max(self._minimum, min(self._maximum, wanted))
            self.limit = int(self._estimate)
