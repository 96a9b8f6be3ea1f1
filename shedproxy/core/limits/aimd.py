"""Additive increase, multiplicative decrease: the loss-based reference.

After `AIMDLimit` of Netflix concurrency-limits. It sees no latency below its timeout, so that it
fills every queue of the service before it backs off; here for comparison.
"""

from __future__ import annotations

from typing import Final

from shedproxy.core.baseline import low_in_flight
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit, rescaled_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant, Nanos, seconds
from shedproxy.core.window import WindowSummary

__all__ = ["AimdLimit", "next_aimd_limit"]

_TIMEOUT_NS: Final = seconds(5)


def next_aimd_limit(
    *,
    limit: int,
    rtt_ns: int,
    in_flight: int,
    did_drop: bool,
    backoff_ratio: float = 0.9,
    timeout_ns: Nanos = _TIMEOUT_NS,
) -> tuple[int, LimitCause]:
    """One sample: times `backoff_ratio` on a drop or a latency above the timeout, else plus 1.

    Without half of the limit in flight a good sample says nothing.
    """
    if did_drop or rtt_ns > timeout_ns:
        return int(limit * backoff_ratio), LimitCause.OVERLOAD
    if in_flight * 2 >= limit:
        return limit + 1, LimitCause.HEADROOM
    return limit, LimitCause.APP_LIMITED


class AimdLimit:
    """Remembers the limit; a window is one sample, its overloads are drops."""

    def __init__(self, policy: LimitPolicy, *, backoff_ratio: float = 0.9) -> None:
        self._policy = policy
        self._backoff_ratio = backoff_ratio
        self._limit = int(clamp_limit(policy.initial, policy))

    @property
    def limit(self) -> int:
        """Slots."""
        return self._limit

    @property
    def low_in_flight(self) -> int:
        """A share of the limit."""
        return low_in_flight(self.limit)

    def on_window(self, window: WindowSummary, *, now: Instant) -> LimitChange:
        """Move by the formula, inside the policy's bounds."""
        before = self._limit
        wanted, cause = next_aimd_limit(
            limit=before,
            rtt_ns=window.rtt_mean_ns,
            in_flight=window.in_flight_max,
            did_drop=window.overload_count > 0,
            backoff_ratio=self._backoff_ratio,
        )
        self._limit = int(clamp_limit(wanted, self._policy))
        if self._limit != wanted:
            cause = LimitCause.CLAMPED
        return LimitChange(before, self._limit, cause, now, window.rtt_ratio)

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds."""
        self._limit = int(rescaled_limit(self._limit, self._policy, policy))
        self._policy = policy
