"""Adaptive request concurrency of Vector's sinks: AIMD on the trend of the mean latency.

Vector is a client. Its limiter refuses nothing: what is above the limit waits in the source.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from shedproxy.core import (
    Decision,
    Instant,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
    Verdict,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["EwmaVariance", "VectorArcControl"]

_SUCCESS = Outcome.SUCCESS
_OVERLOAD = Outcome.OVERLOAD
_NEVER = Instant(1 << 62)


class EwmaVariance:
    """Exponentially weighted mean, None before the first point, and variance (West 1979)."""

    __slots__ = ("_alpha", "mean", "variance")

    def __init__(self, alpha: float) -> None:
        """`alpha` is the weight of the newest point, 0..1."""
        self._alpha = alpha
        self.mean: float | None = None
        self.variance = 0.0

    def update(self, point: float) -> float:
        """Take a point, give the mean."""
        if self.mean is None:
            self.mean = point
        else:
            difference = point - self.mean
            increment = self._alpha * difference
            self.mean += increment
            self.variance = (1 - self._alpha) * (self.variance + difference * increment)
        return self.mean


class VectorArcControl(Ledger):
    """Once per past mean latency: one slot more, a share of them less, or neither.

    More if the limit was reached, nothing pushed back and latency was not above its past mean; less
    if something did push back or latency was well above.
    """

    def __init__(
        self,
        *,
        initial: int = 1,
        maximum: int = 200,
        decrease_ratio: float = 0.9,
        ewma_alpha: float = 0.4,
        rtt_deviation_scale: float = 2.5,
        is_client: bool = True,
    ) -> None:
        """Bounds in slots. With `maximum` = `initial` and `decrease_ratio` 1 nothing moves.

        Args:
            initial: slots at first, 1 or more.
            maximum: most slots.
            decrease_ratio: what a decrease leaves, 0..1.
            ewma_alpha: weight of the newest mean in the past one, 0..1.
            rtt_deviation_scale: standard deviations above the past mean that are a decrease.
            is_client: True, as in Vector: what is above the limit waits in order, without bound.
                False: it is refused, as a proxy would.
        """
        super().__init__()
        self._limit = initial
        self._maximum = maximum
        self._decrease_ratio = decrease_ratio
        self._rtt_deviation_scale = rtt_deviation_scale
        self._is_client = is_client
        self._queue: OrderedDict[int, Ticket] = OrderedDict()
        self._past = EwmaVariance(ewma_alpha)
        """Of the mean latencies, in ns."""
        self.averaged_ns: list[tuple[Instant, float]] = []
        """When it judged, and the mean latency it judged by."""
        self._judge_at = 0.0
        self._rtt_sum_ns = 0
        self._rtt_count = 0
        self._was_pushed_back = False
        self._was_reached = False

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Run now, or wait (as a proxy: or no)."""
        deadline_at = None if time_left_ns is None else Instant(now + time_left_ns)
        if self.in_flight < self._limit:
            permit = self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
            self._note_reached()
            return permit
        if not self._is_client:
            return self.reject(request, RejectReason.QUEUE_FULL, now=now, limit=self._limit)
        ticket = self.ticket(
            request,
            now=now,
            expires_at=_NEVER,
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )
        self._queue[ticket.serial] = ticket
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A success is a sample, an overload pushes back, the rest only lets time pass."""
        self.give_back(permit)
        if outcome is _SUCCESS:
            self._rtt_sum_ns += now - permit.admitted_at - stalled_ns
            self._rtt_count += 1
        elif outcome is _OVERLOAD:
            self._was_pushed_back = True
        if now >= self._judge_at:
            self._judge(now)
        return self._start_waiters(now) if self._queue else NO_VERDICTS

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away."""
        if self._queue.pop(ticket.serial, None) is not None:
            ticket.state = TicketState.ABANDONED
        return NO_VERDICTS

    def reading(self) -> Reading:
        """The limit, the queue, and the past mean latency as the baseline."""
        baseline_ns = int(self._past.mean or 0)
        return Reading(self._limit, self.in_flight, len(self._queue), 0.0, baseline_ns)

    def _note_reached(self) -> None:
        if self.in_flight >= self._limit:
            self._was_reached = True

    def _start_waiters(self, now: Instant) -> Sequence[Verdict]:
        verdicts = []
        while self._queue and self.in_flight < self._limit:
            _, ticket = self._queue.popitem(last=False)
            verdicts.append(self.admit_ticket(ticket, now=now))
            self._note_reached()
        return verdicts

    def _judge(self, now: Instant) -> None:
        rtt_ns = self._rtt_sum_ns / self._rtt_count if self._rtt_count else None
        past_ns = self._past.mean
        if past_ns is None:
            # The first latency becomes the past one, and counts again in the first interval.
            if rtt_ns is not None:
                self._judge_at = now + self._past.update(rtt_ns)
            return
        if rtt_ns is not None:
            self.averaged_ns.append((now, rtt_ns))
        self._move(rtt_ns, past_ns)
        self._judge_at = now + (past_ns if rtt_ns is None else self._past.update(rtt_ns))
        self._rtt_sum_ns = self._rtt_count = 0
        self._was_pushed_back = self._was_reached = False

    def _move(self, rtt_ns: float | None, past_ns: float) -> None:
        high_ns = past_ns + self._rtt_deviation_scale * math.sqrt(self._past.variance)
        is_needed = self._was_reached and self._limit < self._maximum
        is_quick = rtt_ns is not None and rtt_ns <= past_ns
        if is_needed and is_quick and not self._was_pushed_back:
            self._limit += 1
        elif self._was_pushed_back or (rtt_ns is not None and rtt_ns >= high_ns):
            self._limit = max(1, int(self._limit * self._decrease_ratio))
