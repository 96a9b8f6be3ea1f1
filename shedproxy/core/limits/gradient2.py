"""Ratio of long-term to short-term latency: the relative reference.

After `Gradient2Limit` of Netflix concurrency-limits. The long-term mean follows the short one, so
that a lasting overload becomes the norm and the limit ratchets up; here for comparison.
"""

from __future__ import annotations

from shedproxy.core.baseline import low_in_flight
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit, rescaled_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant
from shedproxy.core.window import WindowSummary

__all__ = ["ExponentialMean", "Gradient2Limit", "next_gradient2_limit"]


class ExponentialMean:
    """Arithmetic mean of the first `warmup` samples, then factor 2 / (window + 1)."""

    def __init__(self, *, window: int = 600, warmup: int = 10) -> None:
        self._factor = 2.0 / (window + 1)
        self._warmup = warmup
        self._count = 0
        self._sum = 0.0
        self.value = 0.0

    def add(self, sample: float) -> float:
        """Take a sample, give the mean."""
        if self._count < self._warmup:
            self._count += 1
            self._sum += sample
            self.value = self._sum / self._count
        else:
            self.value = self.value * (1 - self._factor) + sample * self._factor
        return self.value


def next_gradient2_limit(
    *,
    limit: float,
    rtt_short_ns: float,
    rtt_long_ns: float,
    in_flight: int,
    queue_allowance: int = 4,
    tolerance: float = 1.5,
    smoothing: float = 0.2,
) -> tuple[float, LimitCause]:
    """One sample: gradient g = clamp(0.5, 1, tolerance * long/short); towards limit * g + queue.

    With less than half of the limit in flight nothing moves.
    """
    if in_flight < limit / 2:
        return limit, LimitCause.APP_LIMITED
    gradient = max(0.5, min(1.0, tolerance * rtt_long_ns / rtt_short_ns))
    wanted = limit * (1 - smoothing) + (limit * gradient + queue_allowance) * smoothing
    return wanted, LimitCause.HEADROOM if wanted > limit else LimitCause.QUEUEING


class Gradient2Limit:
    """Remembers the limit and the long-term latency; drops are ignored, as in the reference."""

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._limit = float(clamp_limit(policy.initial, policy))
        self._rtt_long = ExponentialMean()

    @property
    def limit(self) -> int:
        """Slots."""
        return int(self._limit)

    @property
    def low_in_flight(self) -> int:
        """A share of the limit."""
        return low_in_flight(self.limit)

    def on_window(self, window: WindowSummary, *, now: Instant) -> LimitChange:
        """A window is one sample: its mean latency and its highest in-flight."""
        before = self.limit
        if not window.rtt_mean_ns:
            return LimitChange(before, before, LimitCause.STEADY, now, window.rtt_ratio)
        short_ns = float(window.rtt_mean_ns)
        long_ns = self._rtt_long.add(short_ns)
        if long_ns / short_ns > 2:
            # Forget a slow period faster than the average would.
            self._rtt_long.value *= 0.95
        wanted, cause = next_gradient2_limit(
            limit=self._limit,
            rtt_short_ns=short_ns,
            rtt_long_ns=long_ns,
            in_flight=window.in_flight_max,
        )
        self._limit = float(clamp_limit(wanted, self._policy))
        if self._limit != wanted:
            cause = LimitCause.CLAMPED
        return LimitChange(before, self.limit, cause, now, window.rtt_ratio)

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds."""
        self._limit = float(rescaled_limit(self._limit, self._policy, policy))
        self._policy = policy
