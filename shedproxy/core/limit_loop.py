"""The limit of one cell: window, route baselines and an estimator, tied together.

Tells the estimator what was measured and tells everybody else the limit. Knows nothing of queues,
requests or outcomes beyond their latency.
"""

from __future__ import annotations

from dataclasses import replace

from shedproxy.core.baseline import BaselineTable
from shedproxy.core.limits import make_estimator
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant
from shedproxy.core.window import Window

__all__ = ["LimitLoop"]

_LOW_SHARE = 0.3
"""In flight up to this share of the limit is low. Latency there is at most this share of what the
limit allows, or the true baseline: below 1 / target, so that learning there cannot climb."""
_LOW_IN_FLIGHT = 1
"""Low whatever the limit is, and all that is low before the first trusted baseline."""


class LimitLoop:
    """One loop per cell. `limit` is a plain attribute: it is read for every request."""

    __slots__ = (
        "_baselines",
        "_estimator",
        "_in_flight_last",
        "_low_max",
        "_policy",
        "_valid_from",
        "_window",
        "last_change",
        "limit",
    )

    def __init__(self, policy: LimitPolicy, *, now: Instant) -> None:
        """Raises ValueError when the policy names no known algorithm."""
        self._policy = policy
        self._estimator = make_estimator(policy)
        self._baselines = BaselineTable(policy.baseline_ns)
        self._window = Window(now=now)
        self._valid_from = now
        self._low_max = _LOW_IN_FLIGHT
        self._in_flight_last = 0
        self.limit = self._estimator.limit
        """Slots that may be in flight now."""
        self.last_change: LimitChange | None = None
        """The last judgement, moved or not; None before the first."""

    def on_sample(
        self, route: str, rtt_ns: int, *, in_flight: int, admitted_at: Instant, now: Instant
    ) -> None:
        """A request succeeded in `rtt_ns`; `in_flight` others were there when it was admitted."""
        if admitted_at < self._valid_from:
            return
        self._in_flight_last = in_flight
        baseline_ns = self._baselines.observe(
            route, rtt_ns, is_low=in_flight <= self._low_max, now=now
        )
        if baseline_ns > 0:
            self._window.add(rtt_ns, baseline_ns, in_flight)
        else:
            self._window.add(rtt_ns, -baseline_ns, in_flight)
            self._window.add_provisional()

    def on_censored(self, route: str, elapsed_ns: int, *, now: Instant) -> None:
        """The client left after `elapsed_ns`: the latency would have been longer than that."""
        baseline_ns = self._baselines.baseline_ns(route)
        self._window.add_censored(elapsed_ns, baseline_ns, self._in_flight_last)

    def on_overload(self, *, now: Instant) -> None:
        """Timeout, refused connection, 503 or 504: hard evidence, no latency."""
        self._window.add_overload()

    def on_limit_reached(self) -> None:
        """The limit was in somebody's way."""
        self._window.limit_was_reached = True

    def on_stall(self, *, now: Instant) -> None:
        """Our own event loop stood still until `now`: what it measured is its own delay."""
        self._valid_from = now
        self._window.restart(now=now)

    def update(self, *, in_flight: int, now: Instant) -> LimitChange | None:
        """Judge the window when it is ready; None (cheap) when it is not."""
        if not self._window.is_ready(self.limit, now=now):
            return None
        summary = self._window.close(in_flight=in_flight, now=now)
        change = self._estimator.on_window(summary, now=now)
        if change.cause is LimitCause.RELEARNT:
            self._baselines.rescale(change.rtt_ratio)
        self._take(change)
        return change

    def expected_ns(self, route: str) -> int:
        """Recent mean latency of a route, load included; 0: unknown."""
        return self._baselines.expected_ns(route)

    def baseline_ns(self, route: str) -> int:
        """Trusted no-load latency of a route; 0: none yet."""
        return self._baselines.baseline_ns(route)

    def cell_baseline_ns(self) -> int:
        """Trusted no-load latency of the route most measured; 0: none yet."""
        return self._baselines.typical_ns()

    def apply(self, policy: LimitPolicy, *, now: Instant) -> None:
        """Take a new policy; what was learnt survives, the limit is brought inside the bounds.

        Raises:
            ValueError: no algorithm has that name; the policy in force stays.
        """
        before = self.limit
        if policy.algorithm == self._policy.algorithm:
            self._estimator.apply(policy)
        else:
            start = policy.initial if policy.algorithm == "fixed" else before
            initial = int(clamp_limit(start, policy))
            self._estimator = make_estimator(replace(policy, initial=initial))
        self._policy = policy
        self._baselines.calibrate(policy.baseline_ns)
        self._window.restart(now=now)
        if self._estimator.limit != before:
            self._take(LimitChange(before, self._estimator.limit, LimitCause.CONFIGURED, now))

    def _take(self, change: LimitChange) -> None:
        self.last_change = change
        self.limit = change.limit_after
        if self._baselines.is_seasoned:
            self._low_max = max(_LOW_IN_FLIGHT, int(self.limit * _LOW_SHARE))
