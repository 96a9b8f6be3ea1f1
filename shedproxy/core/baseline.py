"""What each route costs without load, learnt only where there is none.

A baseline learnt under load climbs with the load it should reveal: the limit follows it up, which
raises the load. So only samples admitted at low in-flight count, whoever wants more of them.
"""

from __future__ import annotations

import math

from shedproxy.core.series import DecayedMean, SampleMean
from shedproxy.core.units import Instant

__all__ = ["LOW_SHARE", "ROUTES_MAX", "BaselineTable", "RouteLatency", "low_in_flight"]

ROUTES_MAX = 256
"""Routes with a baseline of their own; the ones after them share one."""

LOW_SHARE = 0.3
"""In flight up to this share of the limit is low. Latency there is the true baseline or at most
this share of what the limit allows: below 1 / target, so that learning there cannot climb."""

_LOW_ALWAYS = 2
_TRUSTED_SAMPLES = 10
_TRUSTED_ERROR = 0.2
"""A mean of few, scattered samples is no baseline: its standard error must be below a fifth,"""
_TRUSTED_ANYWAY = 40
"""or the samples this many."""


def low_in_flight(limit: int) -> int:
    """Most in flight, with the request itself, that counts as low: at least 2."""
    return max(_LOW_ALWAYS, int(limit * LOW_SHARE))


class RouteLatency:
    """The latencies of one route: without load, and lately."""

    __slots__ = ("_former", "_low", "is_trusted", "recent")

    def __init__(self) -> None:
        self._low = SampleMean()
        self._former: SampleMean | None = None
        self.recent = DecayedMean()
        self.is_trusted = False

    @property
    def baseline_ns(self) -> int:
        """Mean latency at low in-flight, trusted or not; 0: no such sample yet."""
        if not self._low.count and self._former is not None:
            return self._former.value_ns
        return self._low.value_ns

    @property
    def low_count(self) -> int:
        """Samples the baseline is made of."""
        return self._low.count

    def add_low(self, rtt_ns: int) -> None:
        """A sample admitted at low in-flight."""
        low = self._low
        low.add(rtt_ns)
        if self.is_trusted or low.count < _TRUSTED_SAMPLES:
            return
        if low.count >= _TRUSTED_ANYWAY or low.error_ns() <= low.value_ns * _TRUSTED_ERROR:
            self.is_trusted = True
            self._settle()

    def distrust(self) -> None:
        """Learn the baseline again. The former serves until the first new sample."""
        if self.is_trusted:
            self.is_trusted = False
            self._former = self._low
            self._low = SampleMean()

    def _settle(self) -> None:
        # Both say the same within their errors: together they say it better.
        former, self._former = self._former, None
        if former is None:
            return
        error_ns = math.hypot(former.error_ns(), self._low.error_ns())
        if abs(former.value_ns - self._low.value_ns) <= 2 * error_ns:
            self._low.merge(former)


class BaselineTable:
    """Baselines and recent latencies by route: bounded, or given by calibration.

    A calibrated baseline wins over what is learnt, until `distrust`: the service was seen to have
    changed since.
    """

    __slots__ = ("_given_ns", "_is_overruled", "_overflow", "_routes", "is_seasoned")

    def __init__(self, given_ns: int | None = None) -> None:
        self._given_ns = given_ns
        self._is_overruled = False
        self._routes: dict[str, RouteLatency] = {}
        self._overflow = RouteLatency()
        self.is_seasoned = given_ns is not None
        """Whether any route has a trusted baseline."""

    def __len__(self) -> int:
        return len(self._routes)

    def calibrate(self, given_ns: int | None) -> None:
        """Take a calibrated baseline, or return to the learnt ones (None). No news: no change."""
        if given_ns == self._given_ns:
            return
        self._given_ns = given_ns
        self._is_overruled = False
        self.is_seasoned = given_ns is not None or self._has_trusted()

    def observe(self, route: str, rtt_ns: int, *, is_low: bool, now: Instant) -> int:
        """Take a sample and give the baseline to judge it by, as `judge` does."""
        latency = self._routes.get(route)
        if latency is None:
            latency = self._enter(route)
        latency.recent.add(rtt_ns, now=now)
        if is_low:
            latency.add_low(rtt_ns)
            if latency.is_trusted:
                self.is_seasoned = True
        return self._judge(latency)

    def judge(self, route: str) -> int:
        """Baseline of a route: negative when it is not trusted yet, 0 when there is none."""
        return self._judge(self._routes.get(route, self._overflow))

    def baseline_ns(self, route: str) -> int:
        """Trusted no-load latency of a route; 0: none yet."""
        return max(0, self.judge(route))

    def expected_ns(self, route: str) -> int:
        """Recent mean latency of a route, load included; 0: unknown."""
        return self._routes.get(route, self._overflow).recent.value_ns

    def typical_ns(self) -> int:
        """Trusted baseline of the route with the most samples at low in-flight; 0: none."""
        if self._given_ns is not None and not self._is_overruled:
            return self._given_ns
        busiest = max(
            (latency for latency in self._latencies() if latency.is_trusted),
            key=lambda latency: latency.low_count,
            default=None,
        )
        return busiest.baseline_ns if busiest is not None else 0

    def distrust(self) -> None:
        """The service changed: learn all baselines again. The former serve until there are new."""
        self.is_seasoned = False
        self._is_overruled = self._given_ns is not None
        for latency in self._latencies():
            latency.distrust()

    def _judge(self, latency: RouteLatency) -> int:
        if self._given_ns is not None:
            if not self._is_overruled:
                return self._given_ns
            if not latency.low_count:
                return -self._given_ns
        return latency.baseline_ns if latency.is_trusted else -latency.baseline_ns

    def _has_trusted(self) -> bool:
        return any(latency.is_trusted for latency in self._latencies())

    def _latencies(self) -> tuple[RouteLatency, ...]:
        return (*self._routes.values(), self._overflow)

    def _enter(self, route: str) -> RouteLatency:
        if len(self._routes) >= ROUTES_MAX:
            return self._overflow
        latency = self._routes[route] = RouteLatency()
        return latency
