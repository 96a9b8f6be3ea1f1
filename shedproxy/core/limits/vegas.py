"""Queue estimation from the lowest latency seen: the delay-based reference.

After `VegasLimit` of Netflix concurrency-limits (TCP Vegas, Brakmo and Peterson 1994). Its no-load
latency is overwritten on a schedule whatever the load is, and one lucky sample looks like a queue
for ever; here for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from shedproxy.core.baseline import low_in_flight
from shedproxy.core.limits.protocol import LimitCause, LimitChange, clamp_limit, rescaled_limit
from shedproxy.core.policy import LimitPolicy
from shedproxy.core.units import Instant
from shedproxy.core.window import WindowSummary

__all__ = ["VegasLimit", "log10_step", "next_vegas_limit"]

_GOLDEN: Final = 0.6180339887498949
"""Multiples of it, modulo 1, fill the unit interval evenly: jitter without chance."""


def log10_step(limit: float) -> int:
    """Integer part of the decimal logarithm, at least 1."""
    return max(1, int(math.log10(max(1, int(limit)))))


def next_vegas_limit(
    *,
    limit: float,
    rtt_ns: int,
    rtt_noload_ns: int,
    in_flight: int,
    did_drop: bool,
    maximum: int,
    smoothing: float = 1.0,
    alpha: int | None = None,
    beta: int | None = None,
    decrease: Callable[[float], float] | None = None,
) -> tuple[float, LimitCause]:
    """One sample. Queue q = ceil(limit * (1 - noload/rtt)); s = log10 of the limit.

    q <= s: + beta; q < alpha: + s; q > beta: - s (or `decrease`); a drop: the same decrease.
    Default alpha = 3 s and beta = 6 s. With less than half in flight nothing moves.
    """
    step = log10_step(limit)
    alpha = 3 * step if alpha is None else alpha
    beta = 6 * step if beta is None else beta
    queued = math.ceil(limit * (1 - rtt_noload_ns / rtt_ns))
    decreased = limit - step if decrease is None else decrease(limit)
    if did_drop:
        wanted, cause = decreased, LimitCause.OVERLOAD
    elif in_flight * 2 < limit:
        return limit, LimitCause.APP_LIMITED
    elif queued <= step:
        wanted, cause = limit + beta, LimitCause.HEADROOM
    elif queued < alpha:
        wanted, cause = limit + step, LimitCause.HEADROOM
    elif queued > beta:
        wanted, cause = decreased, LimitCause.QUEUEING
    else:
        return limit, LimitCause.STEADY
    bounded = max(1.0, min(float(maximum), wanted))
    if bounded != wanted:
        cause = LimitCause.CLAMPED
    return (1 - smoothing) * limit + smoothing * bounded, cause


class VegasLimit:
    """Remembers the limit, the no-load latency and when to probe it again.

    Every 30 x limit samples, times a jitter in 0.5..1, the no-load latency is replaced by the
    current one. The reference draws that jitter; here it is a fixed sequence.
    """

    def __init__(
        self,
        policy: LimitPolicy,
        *,
        smoothing: float = 1.0,
        alpha: int | None = None,
        beta: int | None = None,
        decrease: Callable[[float], float] | None = None,
        probe_multiplier: int = 30,
    ) -> None:
        self._policy = policy
        self._smoothing = smoothing
        self._alpha = alpha
        self._beta = beta
        self._decrease = decrease
        self._probe_multiplier = probe_multiplier
        self._limit = float(clamp_limit(policy.initial, policy))
        self._rtt_noload_ns = 0
        self._samples_since_probe = 0
        self._probes = 0

    @property
    def limit(self) -> int:
        """Slots."""
        return int(self._limit)

    @property
    def rtt_noload_ns(self) -> int:
        """The latency taken for that of an idle service; 0 before the first sample."""
        return self._rtt_noload_ns

    @property
    def low_in_flight(self) -> int:
        """A share of the limit."""
        return low_in_flight(self.limit)

    def on_window(self, window: WindowSummary, *, now: Instant) -> LimitChange:
        """A window is one sample: its mean latency, its highest in-flight, any overload."""
        before = self.limit
        cause = self._judge(window)
        self._limit = float(clamp_limit(self._limit, self._policy))
        return LimitChange(before, self.limit, cause, now, window.rtt_ratio)

    def _judge(self, window: WindowSummary) -> LimitCause:
        rtt_ns = window.rtt_mean_ns
        self._samples_since_probe += 1
        if rtt_ns and self._is_probe_due():
            self._probes += 1
            self._samples_since_probe = 0
            self._rtt_noload_ns = rtt_ns
            return LimitCause.STEADY
        if rtt_ns and (self._rtt_noload_ns == 0 or rtt_ns < self._rtt_noload_ns):
            self._rtt_noload_ns = rtt_ns
            return LimitCause.STEADY
        # A window of nothing but drops has no latency of its own.
        rtt_ns = rtt_ns or self._rtt_noload_ns or 1
        self._limit, cause = next_vegas_limit(
            limit=self._limit,
            rtt_ns=rtt_ns,
            rtt_noload_ns=self._rtt_noload_ns,
            in_flight=window.in_flight_max,
            did_drop=window.overload_count > 0,
            maximum=self._policy.maximum,
            smoothing=self._smoothing,
            alpha=self._alpha,
            beta=self._beta,
            decrease=self._decrease,
        )
        return cause

    def _is_probe_due(self) -> bool:
        jitter = 0.5 + (self._probes * _GOLDEN) % 1.0 / 2
        return jitter * self._probe_multiplier * self._limit <= self._samples_since_probe

    def apply(self, policy: LimitPolicy) -> None:
        """Take new bounds."""
        self._limit = float(rescaled_limit(self._limit, self._policy, policy))
        self._policy = policy
