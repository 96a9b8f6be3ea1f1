"""The gradient controller of Envoy's adaptive concurrency filter.

Every so often the latency without load is measured, with the limit held at the least. Between
measurements the limit follows its ratio to the present latency, with some room on top. Percentiles
are exact here; Envoy takes them from a histogram with bins of 1 to 10 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shedproxy.core import (
    NS_PER_MS,
    Instant,
    Nanos,
    Outcome,
    Permit,
    Verdict,
    milliseconds,
    seconds,
)
from shedproxy.simulator.controllers.fixed_limit import LimitControl
from shedproxy.simulator.controllers.ledger import NO_VERDICTS
from shedproxy.workload import RandomSource

__all__ = ["EnvoyGradientControl", "next_envoy_limit"]

_ABANDONED = Outcome.ABANDONED
_INTERVAL_NS = seconds(60)
_UPDATE_INTERVAL_NS = milliseconds(100)
_AT_FLOOR_MAX = 5
"""So many updates in a row that leave the limit at the least put the measurement in doubt."""


def next_envoy_limit(
    *,
    limit: int,
    rtt_min_ns: int,
    rtt_ns: int,
    buffer_ratio: float = 0.25,
    minimum: int = 3,
    maximum: int = 1000,
) -> int:
    """One update: g = clamp(0.5, 2, rtt_min x (1 + buffer) / rtt); limit x g + sqrt(limit x g)."""
    gradient = max(0.5, min(2.0, rtt_min_ns * (1 + buffer_ratio) / max(1, rtt_ns)))
    scaled = limit * gradient
    return max(minimum, min(maximum, int(scaled + math.sqrt(scaled))))


class EnvoyGradientControl(LimitControl):
    """Starts with a measurement; `baseline_ns` is the latest. `tick` must be called when due.

    Whatever is answered is a sample, failures and timeouts too: Envoy does not look at the status.
    Only what never was answered is none.
    """

    def __init__(
        self,
        *,
        rng: RandomSource,
        min_concurrency: int = 3,
        max_concurrency: int = 1000,
        request_count: int = 50,
        percentile: float = 0.5,
        buffer_ratio: float = 0.25,
        interval_ns: Nanos = _INTERVAL_NS,
        jitter_ratio: float = 0.15,
        update_interval_ns: Nanos = _UPDATE_INTERVAL_NS,
    ) -> None:
        """Envoy has no defaults for the two intervals; these are its examples'.

        Args:
            rng: draws by how much each interval between measurements is longer.
            min_concurrency: slots during a measurement, and the least at all times.
            max_concurrency: most slots.
            request_count: samples that make a measurement.
            percentile: of the samples, 0..1.
            buffer_ratio: latency above the measured one that is no queueing.
            interval_ns: from the end of a measurement to the next.
            jitter_ratio: most by which that is longer, 0..1.
            update_interval_ns: between updates of the limit.
        """
        super().__init__(min_concurrency)
        self._rng = rng
        self._min_concurrency = min_concurrency
        self._max_concurrency = max_concurrency
        self._request_count = request_count
        self._percentile = percentile
        self._buffer_ratio = buffer_ratio
        self._interval_ns = interval_ns
        self._jitter_range_ms = math.ceil(interval_ns / NS_PER_MS * jitter_ratio)
        self._update_interval_ns = update_interval_ns
        self.is_measuring = True
        """Whether the latency without load is being measured."""
        self._limit_after = min_concurrency
        """What the limit returns to when the measurement is over."""
        self._epoch = Instant(0)
        """When the latest measurement began: what was sent before is no sample."""
        self._rtts_ns: list[int] = []
        self._at_floor_count = 0
        self._update_at = Instant(0)
        self._measure_at = Instant(0)

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """An answer is a sample if it was asked for since the latest measurement began."""
        self.give_back(permit)
        if outcome is not _ABANDONED and permit.admitted_at >= self._epoch:
            self._rtts_ns.append(now - permit.admitted_at - stalled_ns)
            if self.is_measuring and len(self._rtts_ns) >= self._request_count:
                self._end_measurement(now)
        return NO_VERDICTS

    def next_tick_at(self) -> Instant | None:
        """The next update or measurement; None during a measurement, which samples end."""
        return None if self.is_measuring else min(self._update_at, self._measure_at)

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Update the limit, begin a measurement."""
        if not self.is_measuring:
            if now >= self._update_at:
                self._update(now)
            if now >= self._measure_at:
                self._begin_measurement(now)
        return NO_VERDICTS

    def _begin_measurement(self, now: Instant) -> None:
        self.is_measuring = True
        self._limit_after = self.limit
        self.limit = self._min_concurrency
        self._epoch = now
        self._rtts_ns.clear()

    def _end_measurement(self, now: Instant) -> None:
        self.is_measuring = False
        self.baseline_ns = self._take_percentile()
        self.limit = self._limit_after
        self._at_floor_count = 0
        jitter_ns = int(self._rng.random() * self._jitter_range_ms) * NS_PER_MS
        self._measure_at = Instant(now + self._interval_ns + jitter_ns)
        self._update_at = Instant(now + self._update_interval_ns)

    def _update(self, now: Instant) -> None:
        self._update_at = Instant(now + self._update_interval_ns)
        if not self._rtts_ns:
            return
        before = self.limit
        self.limit = next_envoy_limit(
            limit=before,
            rtt_min_ns=self.baseline_ns,
            rtt_ns=self._take_percentile(),
            buffer_ratio=self._buffer_ratio,
            minimum=self._min_concurrency,
            maximum=self._max_concurrency,
        )
        is_at_floor = before == self.limit == self._min_concurrency
        self._at_floor_count = self._at_floor_count + 1 if is_at_floor else 0
        if self._at_floor_count >= _AT_FLOOR_MAX:
            self._measure_at = now

    def _take_percentile(self) -> int:
        rtts_ns = sorted(self._rtts_ns)
        self._rtts_ns.clear()
        return rtts_ns[max(1, math.ceil(len(rtts_ns) * self._percentile)) - 1]
