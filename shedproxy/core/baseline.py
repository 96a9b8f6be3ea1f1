"""What each route costs without load, learnt only where there is none.

A baseline learnt under load climbs with the load it should reveal: the limit follows it up, which
raises the load. So only samples admitted at low in-flight count, whoever wants more of them.
"""

from __future__ import annotations

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

    __slots__ = ("_low", "is_trusted", "recent")

    def __init__(self) -> None:
        self._low = SampleMean()
        self.recent = DecayedMean()
        self.is_trusted = False

    @property
    def baseline_ns(self) -> int:
        """Mean latency at low in-flight, trusted or not; 0: no such sample yet."""
        return self._low.value_ns

    @property
    def low_count(self) -> int:
        """Samples the baseline is made of."""
        return self._low.count

    def add_low(self, rtt_ns: int) -> None:
        """A sample admitted at low in-flight."""
        low = self._low
        low.add(rtt_ns)
        if not self.is_trusted and low.count >= _TRUSTED_SAMPLES:
            self.is_trusted = low.count >= _TRUSTED_ANYWAY or low.relative_error() <= _TRUSTED_ERROR

    def rescale(self, factor: float) -> None:
        """Multiply the baseline."""
        if self._low.count:
            self._low.rescale(factor)


class BaselineTable:
    """Baselines and recent latencies by route: bounded, and by hand where calibration gave one.

    A calibrated baseline wins over what is learnt. Only `rescale` moves it: evidence that the
    service itself has become slower or faster.
    """

    __slots__ = ("_given_ns", "_overflow", "_routes", "_scale", "is_seasoned")

    def __init__(self, given_ns: int | None = None) -> None:
        self._given_ns = given_ns
        self._scale = 1.0
        self._routes: dict[str, RouteLatency] = {}
        self._overflow = RouteLatency()
        self.is_seasoned = given_ns is not None
        """Whether any route has a trusted baseline."""

    def __len__(self) -> int:
        return len(self._routes)

    def calibrate(self, given_ns: int | None) -> None:
        """Take a calibrated baseline, or return to the learnt ones (None)."""
        if given_ns != self._given_ns:
            self._given_ns = given_ns
            self._scale = 1.0
            self.is_seasoned = given_ns is not None or any(
                latency.is_trusted for latency in self._latencies()
            )

    def observe(self, route: str, rtt_ns: int, *, is_low: bool, now: Instant) -> int:
        """Take a sample and give the baseline to judge it by; see `judge`."""
        latency = self._routes.get(route)
        if latency is None:
            latency = self._enter(route)
        latency.recent.add(rtt_ns, now=now)
        if is_low:
            latency.add_low(rtt_ns)
            if latency.is_trusted:
                self.is_seasoned = True
        if self._given_ns is not None:
            return round(self._given_ns * self._scale)
        return latency.baseline_ns if latency.is_trusted else -latency.baseline_ns

    def judge(self, route: str) -> int:
        """Baseline of a route: negative when it is not trusted yet, 0 when there is none."""
        if self._given_ns is not None:
            return round(self._given_ns * self._scale)
        latency = self._routes.get(route, self._overflow)
        return latency.baseline_ns if latency.is_trusted else -latency.baseline_ns

    def baseline_ns(self, route: str) -> int:
        """Trusted no-load latency of a route; 0: none yet."""
        return max(0, self.judge(route))

    def expected_ns(self, route: str) -> int:
        """Recent mean latency of a route, load included; 0: unknown."""
        latency = self._routes.get(route)
        return latency.recent.value_ns if latency is not None else self._overflow.recent.value_ns

    def typical_ns(self) -> int:
        """The baseline most samples were taken for: of the route with the most; 0: none."""
        if self._given_ns is not None:
            return round(self._given_ns * self._scale)
        busiest = max(
            (latency for latency in self._latencies() if latency.is_trusted),
            key=lambda latency: latency.low_count,
            default=None,
        )
        return busiest.baseline_ns if busiest is not None else 0

    def rescale(self, factor: float) -> None:
        """All baselines times `factor`: the service itself changed."""
        if self._given_ns is not None:
            self._scale *= factor
            return
        for latency in self._latencies():
            latency.rescale(factor)

    def _latencies(self) -> tuple[RouteLatency, ...]:
        return (*self._routes.values(), self._overflow)

    def _enter(self, route: str) -> RouteLatency:
        if len(self._routes) >= ROUTES_MAX:
            return self._overflow
        latency = self._routes[route] = RouteLatency()
        return latency
