"""Busy, and more in flight than the best throughput times the best latency: shed.

The limiter of go-kratos/aegis, after Alibaba Sentinel and close to go-zero's. The bound is the
bandwidth-delay product of BBR (Cardwell et al. 2016), from whole buckets of a sliding window, in
milliseconds. It holds only while the host is busy, or once it was and something was shed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from shedproxy.core import (
    NS_PER_MS,
    NS_PER_S,
    Decision,
    Instant,
    Nanos,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Verdict,
    seconds,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["BbrControl", "PassBuckets", "SmoothedUse", "always_busy"]

_SUCCESS = Outcome.SUCCESS
_WINDOW_NS = seconds(10)
_COOL_OFF_NS = seconds(1)
_USE_PERIOD_NS = seconds(0.5)
_USE_KEPT = 0.95


def always_busy(_now: Instant) -> float:
    """The utilisation of a host that is never idle: the bound holds at all times."""
    return 1.0


class SmoothedUse:
    """How busy a host is by its processor: means of half a second, each for a twentieth.

    As aegis reads it from the system. It begins with the first of them. What is not asked for
    between two arrivals is taken to be as it was at the first.
    """

    def __init__(self, busy: Callable[[], float]) -> None:
        self._busy = busy
        self._value = -1.0
        self._area = 0.0
        self._last = 0.0
        self._at = self._began_at = Instant(0)

    def __call__(self, now: Instant) -> float:
        """0..1; asked at each arrival."""
        self._area += self._last * (now - self._at)
        self._at, self._last = now, self._busy()
        elapsed_ns = now - self._began_at
        if elapsed_ns >= _USE_PERIOD_NS:
            mean = self._area / elapsed_ns
            kept = _USE_KEPT ** (elapsed_ns // _USE_PERIOD_NS)
            self._value = mean if self._value < 0 else self._value * kept + mean * (1 - kept)
            self._area, self._began_at = 0.0, now
        return max(0.0, self._value)


class PassBuckets:
    """Passes and latencies of the last `count - 1` whole buckets, and of the one being filled."""

    __slots__ = ("_bucket_ns", "_count", "_index", "_passes", "_rtt_count", "_rtt_sum_ms", "_whole")

    def __init__(self, bucket_ns: int, count: int) -> None:
        self._bucket_ns = bucket_ns
        self._count = count
        self._whole: deque[tuple[int, int, float]] = deque()
        """Index in time, passes, mean latency in ms (inf: none)."""
        self._start(0)

    def _start(self, index: int) -> None:
        self._index = index
        self._passes = 0
        self._rtt_count = 0
        self._rtt_sum_ms = 0

    def _roll(self, now: Instant) -> None:
        index = now // self._bucket_ns
        if index == self._index:
            return
        if self._passes:
            mean_ms = self._rtt_sum_ms / self._rtt_count if self._rtt_count else math.inf
            self._whole.append((self._index, self._passes, mean_ms))
        self._start(index)
        while self._whole and self._whole[0][0] <= index - self._count:
            self._whole.popleft()

    def add(self, rtt_ns: int, *, now: Instant) -> None:
        """A pass. Its latency is rounded up to a millisecond; 0 is none."""
        self._roll(now)
        self._passes += 1
        if rtt_ns > 0:
            self._rtt_count += 1
            self._rtt_sum_ms += -(-rtt_ns // NS_PER_MS)

    def best(self, *, now: Instant) -> tuple[int, int]:
        """Most passes of a whole bucket, and least mean latency of one in ms; 1 when unknown."""
        self._roll(now)
        passes_max = max((passes for _, passes, _ in self._whole), default=1)
        rtt_min_ms = min((mean_ms for _, _, mean_ms in self._whole), default=math.inf)
        return passes_max, 1 if math.isinf(rtt_min_ms) else math.ceil(rtt_min_ms)


class BbrControl(Ledger):
    """Sheds if busy (or busy and shedding a moment ago) and in flight is above the bound."""

    def __init__(
        self,
        *,
        utilisation: Callable[[Instant], float] = always_busy,
        threshold: float = 0.8,
        window_ns: Nanos = _WINDOW_NS,
        bucket_count: int = 100,
        cool_off_ns: Nanos = _COOL_OFF_NS,
    ) -> None:
        """There is no CPU in the simulator: the caller says how busy the host is.

        Args:
            utilisation: of the host at an instant, 0..1; asked at each arrival.
            threshold: utilisation from which the host is busy.
            window_ns: how long ago the best throughput and latency may be.
            bucket_count: parts of the window.
            cool_off_ns: how long after the first refusal the bound holds although not busy.
        """
        super().__init__()
        self._utilisation = utilisation
        self._threshold = threshold
        self._cool_off_ns = cool_off_ns
        self._bucket_ns = window_ns // bucket_count
        self._buckets = PassBuckets(self._bucket_ns, bucket_count)
        self._buckets_per_s = NS_PER_S // self._bucket_ns
        self._bound = 0
        self._bound_old_at = 0
        """The bound is kept for as long as a bucket lasts."""
        self._rtt_min_ms = 0
        self._shed_since: Instant | None = None
        self._is_bounded = False
        """Whether the bound held at the last arrival."""

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run now, or no."""
        if self._is_shedding(now):
            return self.reject(request, RejectReason.QUEUE_FULL, now=now, limit=self._bound)
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        return self.admit(request, now=now, flow_hash=flow_hash, expires_at=expires_at)

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A success passes; the rest, as in go-zero, does not."""
        self.give_back(permit)
        if outcome is _SUCCESS:
            self._buckets.add(now - permit.admitted_at - stalled_ns, now=now)
        return NO_VERDICTS

    def reading(self) -> Reading:
        """The limit of the last arrival (infinite while not busy) and the best latency."""
        limit = max(1, self._bound) + 1 if self._is_bounded else math.inf
        return Reading(limit, self.in_flight, 0, 0.0, self._rtt_min_ms * NS_PER_MS)

    def _is_shedding(self, now: Instant) -> bool:
        is_busy = self._utilisation(now) >= self._threshold
        since = self._shed_since
        if not is_busy and since is not None and now - since > self._cool_off_ns:
            since = self._shed_since = None
        self._is_bounded = is_busy or since is not None
        if not self._is_bounded:
            return False
        if now >= self._bound_old_at:
            self._renew_bound(now)
        # The comparison is made before the request counts, and never refuses the second.
        is_over = self.in_flight > max(1, self._bound)
        if is_over and since is None:
            self._shed_since = now
        return is_over

    def _renew_bound(self, now: Instant) -> None:
        passes_max, self._rtt_min_ms = self._buckets.best(now=now)
        self._bound = passes_max * self._rtt_min_ms * self._buckets_per_s // 1000
        self._bound_old_at = now + self._bucket_ns
