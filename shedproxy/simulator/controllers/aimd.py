"""Additive increase, multiplicative decrease: `AIMDLimit` of Netflix concurrency-limits.

Behind its `SimpleLimiter`, without a window: each answer is a sample. Its latency counts only above
the timeout, which makes it a drop, as the upstream's refusals and timeouts are.
"""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import Instant, Nanos, Outcome, Permit, Verdict, next_aimd_limit, seconds
from shedproxy.simulator.controllers.fixed_limit import LimitControl
from shedproxy.simulator.controllers.ledger import NO_VERDICTS

__all__ = ["AimdControl"]

_SUCCESS = Outcome.SUCCESS
_OVERLOAD = Outcome.OVERLOAD
_ABANDONED = Outcome.ABANDONED
_TIMEOUT_NS = seconds(5)


class AimdControl(LimitControl):
    """Plus 1 per sample that half of the limit was in flight for; times a ratio per drop."""

    def __init__(
        self,
        *,
        initial: int = 20,
        minimum: int = 20,
        maximum: int = 200,
        backoff_ratio: float = 0.9,
        timeout_ns: Nanos = _TIMEOUT_NS,
    ) -> None:
        """Bounds in slots; `backoff_ratio` is in 0.5..1, and never 1."""
        super().__init__(initial)
        self._minimum = minimum
        self._maximum = maximum
        self._backoff_ratio = backoff_ratio
        self._timeout_ns = timeout_ns

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A success is a sample, an overload a drop, and so is who left when its time was up; the
        rest teaches nothing.
        """
        self.give_back(permit)
        rtt_ns = now - permit.admitted_at - stalled_ns
        is_late = outcome is _ABANDONED and rtt_ns >= self._timeout_ns
        if outcome is _SUCCESS or outcome is _OVERLOAD or is_late:
            in_flight = permit.in_flight_before + permit.cost
            self.on_sample(rtt_ns, in_flight, did_drop=outcome is not _SUCCESS)
        return NO_VERDICTS

    def on_sample(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        """A latency in ns, and what was in flight with the request when it began."""
        limit, _ = next_aimd_limit(
            limit=self.limit,
            rtt_ns=rtt_ns,
            in_flight=in_flight,
            did_drop=did_drop,
            backoff_ratio=self._backoff_ratio,
            timeout_ns=self._timeout_ns,
        )
        self.limit = min(self._maximum, max(self._minimum, limit))
