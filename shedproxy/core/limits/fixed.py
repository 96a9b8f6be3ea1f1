"""A limit that the operator chose."""

from __future__ import annotations

from shedproxy.core.baseline import low_in_flight
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant
from shedproxy.core.window import WindowSummary

__all__ = ["FixedLimit"]


class FixedLimit:
    """`initial`, inside the bounds, for ever."""

    def __init__(self, policy: LimitPolicy) -> None:
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
        """Nothing moves it."""
        return LimitChange(self._limit, self._limit, LimitCause.STEADY, now, window.rtt_ratio)

    def apply(self, policy: LimitPolicy) -> None:
        """Take the new number."""
        self._limit = int(clamp_limit(policy.initial, policy))
