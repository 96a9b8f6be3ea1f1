"""Adaptive admission of a SEDA stage: a token bucket steered by the 90th percentile.

Source: Welsh and Culler, "Adaptive Overload Control for Busy Internet Servers" (USITS 2003); the
constants are those of its code (Sandstorm, `ResponseTimeControllerMulticlass`), for services of
hundreds of requests a second; Breakwater's port of it (breakwater/src/sd_client.c) sets some anew
for each workload. After 100 responses, or a second, the 90th percentile of their times is smoothed
and compared with the target: above it the rate is divided by 1.2, below half of it the rate grows
by at most 1.8 requests per second. It waits behind nothing: what the bucket lets through goes to
the backend and its queue, whose time is part of the response time.
"""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import (
    NS_PER_S,
    Decision,
    Instant,
    Nanos,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Verdict,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["INCREASE_RPS", "RATE_MAX_RPS", "SedaControl"]

_SAMPLES = 100
_TIMEOUT_NS = NS_PER_S
_SMOOTHING = 0.7
"""Weight of the former value."""
_ERROR_DECREASE = 0.0
_ERROR_INCREASE = -0.5
_DECREASE = 1.2
INCREASE_RPS = 2.0
_INCREASE_OFFSET = -0.1
_RATE_MIN_RPS = 0.05
RATE_MAX_RPS = 5000.0
_SHED_LEVEL = RejectReason.SHED_LEVEL


class SedaControl(Ledger):
    """Lets a rate through, and moves it.

    Args:
        target_ns: 90th percentile of the response time to steer to, above 0.
        rate_rps: what it begins with, 0.05..`rate_max_rps`; the published code begins with 100.
        burst: tokens the bucket holds, 1 or more; in the published code 10, or 1 with classes.
        increase_rps: times how far the percentile lies below the target, what a step adds.
        rate_max_rps: most that it lets through.
    """

    def __init__(
        self,
        *,
        target_ns: Nanos,
        rate_rps: float = 100.0,
        burst: float = 10.0,
        increase_rps: float = INCREASE_RPS,
        rate_max_rps: float = RATE_MAX_RPS,
    ) -> None:
        super().__init__()
        self._increase_rps = increase_rps
        self._rate_max_rps = rate_max_rps
        self.rate_rps = rate_rps
        """Requests per second it lets through now."""
        self.p90_ns = 0.0
        """Smoothed 90th percentile of response times. It begins at 0, as published."""
        self._target_ns = target_ns
        self._burst = burst
        self._tokens = burst
        self._filled_at = 0
        self._adjusted_at = 0
        self._times_ns: list[int] = []

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run where there is a token for each slot it takes, else no."""
        tokens = self._tokens + (now - self._filled_at) * self.rate_rps / NS_PER_S
        tokens = min(tokens, self._burst)
        self._filled_at = now
        if tokens < request.cost:
            self._tokens = tokens
            return self.reject(request, _SHED_LEVEL, now=now)
        self._tokens = tokens - request.cost
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        return self.admit(request, now=now, flow_hash=flow_hash, expires_at=expires_at)

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A response, however it ended: its time is a sample."""
        self.give_back(permit)
        times_ns = self._times_ns
        times_ns.append(now - permit.arrived_at - stalled_ns)
        if len(times_ns) == _SAMPLES or now - self._adjusted_at >= _TIMEOUT_NS:
            self._adjust(now)
        return NO_VERDICTS

    def _adjust(self, now: Instant) -> None:
        """One step of the controller. The tokens of the time before are of the former rate."""
        times_ns = sorted(self._times_ns)
        self._times_ns.clear()
        self._adjusted_at = now
        sample_ns = times_ns[int(0.9 * len(times_ns))]
        self.p90_ns = _SMOOTHING * self.p90_ns + (1.0 - _SMOOTHING) * sample_ns
        error = (self.p90_ns - self._target_ns) / self._target_ns
        if error > _ERROR_DECREASE:
            rate_rps = self.rate_rps / _DECREASE
        elif error < _ERROR_INCREASE:
            rate_rps = self.rate_rps + self._increase_rps * (_INCREASE_OFFSET - error)
        else:
            return
        self._tokens += (now - self._filled_at) * self.rate_rps / NS_PER_S
        self._filled_at = now
        self.rate_rps = min(max(rate_rps, _RATE_MIN_RPS), self._rate_max_rps)

    def reading(self) -> Reading:
        """What is in flight; it limits a rate, and knows no latency without load."""
        return Reading(float("inf"), self.in_flight, 0, 0.0, 0)
