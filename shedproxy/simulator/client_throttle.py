"""Throttles at the sender: a client that is refused much asks less, before it sends.

`SreThrottle`: "Client-Side Throttling" (Beyer et al., Site Reliability Engineering, 2016, chapter
21): of its last requests a client lets (1 + K x accepted) / (1 + requests) through, never less than
a floor, so that recovery is seen (Envoy's admission control keeps 20 %). `CubicThrottle`: the
adaptive mode of the AWS SDKs (botocore `retries/throttling.py` and `bucket.py`): a token bucket,
enabled by the first refusal, whose rate falls to 0.7 and grows again by CUBIC, at most to twice
what was sent. In botocore a client waits for its token; here it is told no.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shedproxy.core import NS_PER_S, Instant, Nanos, seconds
from shedproxy.workload import RandomSource

__all__ = ["CubicThrottle", "NoThrottle", "SreThrottle", "Throttle"]

_SLOTS = 10
_WINDOW_NS = seconds(120)
_BETA = 0.7
_SCALE = 0.4
_RATE_MIN_RPS = 0.5
_SMOOTHING = 0.8
"""Weight of the newest half second in the measured rate."""
_BUCKET_NS = NS_PER_S // 2


class Throttle(Protocol):
    """Of one client."""

    def may_send(self, now: Instant) -> bool:
        """Whether the next request is sent; False: it is refused here."""

    def note(self, now: Instant, *, is_accepted: bool) -> None:
        """The answer to one that was sent."""


class NoThrottle:
    """Sends everything."""

    def may_send(self, now: Instant) -> bool:
        """Always."""
        return True

    def note(self, now: Instant, *, is_accepted: bool) -> None:
        """Learns nothing."""


class SreThrottle:
    """Sends K times what is accepted.

    Args:
        rng: one draw per request.
        multiplier: K, above 1.
        window_ns: what is remembered. The book has two minutes, and then takes about as long to
            believe in a recovery.
        reject_max: most that is refused here, 0..1.
    """

    def __init__(
        self,
        *,
        rng: RandomSource,
        multiplier: float = 2.0,
        window_ns: Nanos = _WINDOW_NS,
        reject_max: float = 1.0,
    ) -> None:
        self._rng = rng
        self._multiplier = multiplier
        self._slot_ns = max(1, window_ns // _SLOTS)
        self._reject_max = reject_max
        self._requests = [0] * _SLOTS
        self._accepts = [0] * _SLOTS
        self._request_count = 0
        self._accept_count = 0
        self._slot = 0

    def may_send(self, now: Instant) -> bool:
        """By lot."""
        self._turn(now)
        requests = self._request_count
        excess = (requests - self._multiplier * self._accept_count) / (requests + 1)
        self._requests[self._slot % _SLOTS] += 1
        self._request_count += 1
        return excess <= 0 or self._rng.random() >= min(excess, self._reject_max)

    def note(self, now: Instant, *, is_accepted: bool) -> None:
        """Only what was accepted counts."""
        self._turn(now)
        if is_accepted:
            self._accepts[self._slot % _SLOTS] += 1
            self._accept_count += 1

    def _turn(self, now: Instant) -> None:
        slot = now // self._slot_ns
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            place = passed % _SLOTS
            self._request_count -= self._requests[place]
            self._accept_count -= self._accepts[place]
            self._requests[place] = self._accepts[place] = 0
        self._slot = slot


class CubicThrottle:
    """A rate that is found like a congestion window. Until the first refusal there is none."""

    def __init__(self, *, now: Instant) -> None:
        self.rate_rps = 0.0
        """What it sends at most; 0: all."""
        self._tokens = 0.0
        self._filled_at = now
        self._w_max = 0.0
        self._lowered_at = now
        self._measured_rps = 0.0
        self._bucket_at = now
        self._bucket_count = 0

    def may_send(self, now: Instant) -> bool:
        """Where there is a token."""
        if self.rate_rps:
            grown = self._tokens + (now - self._filled_at) * self.rate_rps / NS_PER_S
            self._tokens = min(grown, max(1.0, self.rate_rps))
            self._filled_at = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
        return True

    def note(self, now: Instant, *, is_accepted: bool) -> None:
        """A refusal lowers the rate, everything else lets it grow."""
        self._measure(now)
        if is_accepted:
            if not self.rate_rps:
                return
            rate_rps = self._cubic(now)
        else:
            used = min(self._measured_rps, self.rate_rps) if self.rate_rps else self._measured_rps
            self._w_max = used
            self._lowered_at = now
            rate_rps = _BETA * used
            if not self.rate_rps:
                self._filled_at = now
        self.rate_rps = max(_RATE_MIN_RPS, min(rate_rps, 2 * self._measured_rps))

    def _cubic(self, now: Instant) -> float:
        back_s = (self._w_max * (1 - _BETA) / _SCALE) ** (1 / 3)
        return float(_SCALE * ((now - self._lowered_at) / NS_PER_S - back_s) ** 3 + self._w_max)

    def _measure(self, now: Instant) -> None:
        self._bucket_count += 1
        passed_ns = now - self._bucket_at
        if passed_ns >= _BUCKET_NS:
            rate_rps = self._bucket_count * NS_PER_S / passed_ns
            self._measured_rps += _SMOOTHING * (rate_rps - self._measured_rps)
            self._bucket_count = 0
            self._bucket_at = now


MakeThrottle = Callable[[RandomSource, Instant], Throttle]
