"""WeChat's DAGOR: an admission level over priorities, moved by the time requests wait.

Source: Zhou et al., "Overload Control for Scaling WeChat Microservices" (SoCC 2018, arXiv
1806.04075). Two-level priorities, business first and user second, are counted per window of 1 s or
2 000 requests. A window whose requests waited over 20 ms on average is overloaded: the next is to
admit 5 % less than this one admitted, else as many and 1 % of what arrived more. The histogram's
prefix sum, best first, turns that number into the level. Callers that learn the level refuse on
their own; here every refusal is that cheap.
"""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import (
    Criticality,
    Decision,
    Instant,
    Nanos,
    RejectReason,
    RequestInfo,
    TicketState,
    Verdict,
    milliseconds,
    seconds,
)
from shedproxy.simulator.controllers.ledger import QueueLedger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["DagorControl", "admission_level", "priority_of"]

_USERS = 128
_LEVELS = len(Criticality) * _USERS
_WAIT_LIMIT_NS = milliseconds(20)
_WINDOW_NS = seconds(1)
_WINDOW_REQUESTS = 2000
_TASK_TIMEOUT_NS = milliseconds(500)
_DECREASE = 0.05
_INCREASE = 0.01
_SHED_LEVEL = RejectReason.SHED_LEVEL
_QUEUE_TIMEOUT = RejectReason.QUEUE_TIMEOUT
_WAITING = TicketState.WAITING
_ABANDONED = TicketState.ABANDONED


def priority_of(request: RequestInfo, cohort: int) -> int:
    """Business (criticality) then user (128 levels of the cohort): 0..511, high is important."""
    return request.criticality * _USERS + (cohort >> 3)


def admission_level(histogram: Sequence[int], expected: float) -> int:
    """The lowest priority to admit, so that at most `expected` of those counted would pass.

    `histogram` counts arrivals by priority. The best priority passes whatever its number.
    """
    level = len(histogram) - 1
    passed = histogram[level]
    while level:
        passed += histogram[level - 1]
        if passed > expected:
            break
        level -= 1
    return level


class DagorControl(QueueLedger):
    """An admission level, and behind it a queue in front of `slots` threads, oldest first.

    Args:
        slots: threads of the server, 1 or more. A request wider than all of them runs alone.
        wait_limit_ns: mean wait from which a window is overloaded.
        window_ns: longest window.
        window_requests: most arrivals in a window.
        timeout_ns: of a task: how long one waits at most.
    """

    def __init__(
        self,
        *,
        slots: int,
        wait_limit_ns: Nanos = _WAIT_LIMIT_NS,
        window_ns: Nanos = _WINDOW_NS,
        window_requests: int = _WINDOW_REQUESTS,
        timeout_ns: Nanos = _TASK_TIMEOUT_NS,
    ) -> None:
        super().__init__(slots)
        self.level = 0
        """Lowest priority that is admitted, 0..511."""
        self._wait_limit_ns = wait_limit_ns
        self._window_ns = window_ns
        self._window_requests = window_requests
        self._timeout_ns = timeout_ns
        self._window_ends_at = 0
        self._histogram = [0] * _LEVELS
        self._arrived = 0
        self._admitted = 0
        self._wait_sum_ns = 0
        self._wait_count = 0
        self._refused_share = 0.0

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Below the level: no. Else run where a thread is free and nobody waits, or wait."""
        if now >= self._window_ends_at or self._arrived >= self._window_requests:
            self._close_window(now)
        priority = priority_of(request, cohort)
        self._histogram[priority] += 1
        self._arrived += 1
        if priority < self.level:
            return self.reject(request, _SHED_LEVEL, now=now, limit=self._slots)
        self._admitted += 1
        deadline_at = None if time_left_ns is None else Instant(now + time_left_ns)
        if not self._queue and self.fits(request.cost, self._slots):
            self._wait_count += 1
            return self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
        return self.join(
            request,
            now=now,
            expires_at=Instant(now + self._timeout_ns),
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )

    def _close_window(self, now: Instant) -> None:
        """Set the level from what the window saw, and begin the next one."""
        expected = float(self._admitted)
        if self._wait_sum_ns > self._wait_limit_ns * self._wait_count:
            expected *= 1.0 - _DECREASE
        else:
            expected += _INCREASE * self._arrived
        self.level = level = admission_level(self._histogram, expected)
        self._refused_share = sum(self._histogram[:level]) / (self._arrived or 1)
        self._histogram = [0] * _LEVELS
        self._arrived = self._admitted = 0
        self._wait_sum_ns = self._wait_count = 0
        self._window_ends_at = now + self._window_ns

    def next_tick_at(self) -> Instant | None:
        """When the oldest waiter runs out of time."""
        return next(iter(self._queue.values())).expires_at if self._queue else None

    def serve(self, now: Instant) -> Sequence[Verdict]:
        """From the oldest on: refuse who ran out of time, start who fits."""
        verdicts: list[Verdict] = []
        queue = self._queue
        while queue:
            ticket = next(iter(queue.values()))
            has_expired = ticket.expires_at <= now
            if not has_expired and not self.fits(ticket.cost, self._slots):
                break
            del queue[ticket.serial]
            self._wait_sum_ns += now - ticket.arrived_at
            self._wait_count += 1
            if has_expired:
                verdicts.append(self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now))
            else:
                verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts

    def reading(self) -> Reading:
        """The threads, who waits, and the share of the last window below the level."""
        return Reading(self._slots, self.in_flight, len(self._queue), self._refused_share, 0)
