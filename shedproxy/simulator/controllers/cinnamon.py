"""Uber's Cinnamon: a PI-controlled rejector, a priority queue, a limit that tunes itself.

Source: three posts of Uber Engineering, November and December 2023 ("Cinnamon: Using Century Old
Tech to Build a Mean Load Shedder", "PID Controller for Cinnamon", "Cinnamon Auto-Tuner"). Priority
is a tier (0 best, of 6) and a cohort (of 128). Once the queue has not been empty for about 10 s, a
PI loop (0.1, 1.4) works on P = (in - (out + free in-flight)) / out; its output is the share to
refuse, turned into a priority by the distribution of the last 1 000. The limit follows Vegas on the
90th percentile of latency, through a median filter and smoothing, over intervals of 2 to 30 s with
at least 250 samples; the covariance of in-flight and throughput over 50 intervals overrules it.

Where the posts leave it open: free slots are subtracted (with a plus, as the formula is often
quoted, they would raise the share while threads idle; failsafe-go, which began with this rejector,
came to subtract them); the loop runs every 100 ms, integrates in seconds, is clamped to 0..1, and
ends when it would refuse nobody; median of 5 and smoothing by a third are failsafe-go's, alpha and
beta Netflix's.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from heapq import heappop, heappush

from shedproxy.core import (
    NS_PER_S,
    Decision,
    Instant,
    Nanos,
    Outcome,
    Permit,
    RejectReason,
    RequestInfo,
    Ticket,
    TicketState,
    Verdict,
    milliseconds,
    seconds,
)
from shedproxy.simulator.controllers.ledger import NO_VERDICTS, Ledger
from shedproxy.simulator.controllers.protocol import Reading

__all__ = ["AutoTuner", "CinnamonControl", "Rejector", "priority_of"]

_COHORTS = 128
_PRIORITIES = 6 * _COHORTS
_LOWEST = _PRIORITIES - 1
_BEST_CRITICALITY = 3
_RECENT = 1000
_KP = 0.1
_KI = 1.4
_PERIOD_NS = milliseconds(100)
_QUEUE_SHARE = 0.33
_INTERVAL_MIN_NS = seconds(2)
_INTERVAL_MAX_NS = seconds(30)
_INTERVAL_SAMPLES = 250
_MEDIAN_OF = 5
_SMOOTHING = 1 / 3
_HISTORY = 50
_TIMEOUT_NS = seconds(1)
_OVERLOAD_AFTER_NS = seconds(10)
_ALPHA = 3
_BETA = 6
_SHED_LEVEL = RejectReason.SHED_LEVEL
_QUEUE_TIMEOUT = RejectReason.QUEUE_TIMEOUT
_WAITING = TicketState.WAITING
_ABANDONED = TicketState.ABANDONED
_SUCCESS = Outcome.SUCCESS


def priority_of(request: RequestInfo, cohort: int) -> int:
    """Tier x 128 + cohort, 0 is best: the criticalities are tiers 0..3, tiers 4 and 5 are empty."""
    tier = _BEST_CRITICALITY - request.criticality
    return tier * _COHORTS + _COHORTS - 1 - (cohort >> 3)


class Rejector:
    """Turns the flow through the queue into a share to refuse, and that into a priority."""

    def __init__(self) -> None:
        self.share = 0.0
        """Share of arrivals to refuse, 0..1."""
        self.threshold = _LOWEST
        """Worst priority that is admitted; -1: none is."""
        self._integral = 0.0
        self._recent: deque[int] = deque()
        self._counts = [0] * _PRIORITIES

    def add(self, priority: int) -> None:
        """An arrival, whatever becomes of it."""
        recent = self._recent
        if len(recent) == _RECENT:
            self._counts[recent.popleft()] -= 1
        recent.append(priority)
        self._counts[priority] += 1

    def step(
        self, *, entered_count: int, left_count: int, free_count: int, elapsed_ns: int
    ) -> None:
        """One step of the loop.

        Args:
            entered_count: requests let into the queue since the last step.
            left_count: requests that left it to run.
            free_count: slots of the limit that are not taken.
            elapsed_ns: since the last step.
        """
        error = (entered_count - (left_count + free_count)) / max(left_count, 1)
        integral = self._integral + error * elapsed_ns / NS_PER_S
        self._integral = min(max(integral, 0.0), 1.0 / _KI)
        self.share = min(max(_KP * error + _KI * self._integral, 0.0), 1.0)
        self.threshold = self._threshold()

    def _threshold(self) -> int:
        """Refuse the worst priorities, as many as make up no more than the share."""
        allowed = self.share * len(self._recent)
        refused = 0
        for priority in range(_LOWEST, -1, -1):
            refused += self._counts[priority]
            if refused > allowed:
                return priority
        return -1

    def reset(self) -> None:
        """No overload: refuse nobody. What arrived lately is remembered."""
        self.share = self._integral = 0.0
        self.threshold = _LOWEST


class AutoTuner:
    """The in-flight limit, moved once per interval.

    Args:
        limit: slots to begin with, 1 or more.
        floor: least limit; in the publication the number of CPU cores.
    """

    def __init__(self, *, limit: float, floor: int = 1) -> None:
        self.limit = max(limit, float(floor))
        self.target_ns = 0.0
        """Latency to keep near; 0: none was captured yet."""
        self.latency_ns = 0.0
        """Smoothed 90th percentile."""
        self._floor = floor
        self._started_at: int | None = None
        self._latencies_ns: list[int] = []
        self._in_flight_sum = 0
        self._in_flight_max = 0
        self._p90s_ns: deque[int] = deque(maxlen=_MEDIAN_OF)
        self._history: deque[tuple[float, float]] = deque(maxlen=_HISTORY)
        self._captured_ago = 0

    def add(self, latency_ns: int, in_flight: int, *, now: Instant) -> bool:
        """A success and what was in flight with it when it began. Whether an interval ended."""
        if self._started_at is None:
            self._started_at = now
        self._latencies_ns.append(latency_ns)
        self._in_flight_sum += in_flight
        self._in_flight_max = max(self._in_flight_max, in_flight)
        elapsed_ns = now - self._started_at
        if elapsed_ns < _INTERVAL_MIN_NS:
            return False
        has_enough = len(self._latencies_ns) >= _INTERVAL_SAMPLES
        if has_enough:
            self._adjust()
        elif elapsed_ns < _INTERVAL_MAX_NS:
            return False
        self._started_at = now
        self._latencies_ns.clear()
        self._in_flight_sum = self._in_flight_max = 0
        return has_enough

    def _adjust(self) -> None:
        latencies_ns = sorted(self._latencies_ns)
        count = len(latencies_ns)
        self._p90s_ns.append(latencies_ns[int(0.9 * count)])
        median_ns = sorted(self._p90s_ns)[len(self._p90s_ns) // 2]
        if self.latency_ns:
            self.latency_ns += _SMOOTHING * (median_ns - self.latency_ns)
        else:
            self.latency_ns = float(median_ns)
        in_flight = self._in_flight_sum / count
        mean_ns = max(sum(latencies_ns) / count, 1.0)
        self._history.append((in_flight, in_flight * NS_PER_S / mean_ns))
        self._captured_ago += 1
        step = max(math.log10(self.limit), 1.0)
        if self._covariance() < 0:
            self.limit = max(self.limit - step, float(self._floor))
            return
        if not self.target_ns or self._captured_ago >= _HISTORY:
            self.target_ns = self.latency_ns
            self._captured_ago = 0
        queued = self.limit * (1.0 - self.target_ns / self.latency_ns)
        if queued > _BETA * step:
            self.limit = max(self.limit - step, float(self._floor))
        elif queued < _ALPHA * step and 2 * self._in_flight_max >= self.limit:
            self.limit += step

    def _covariance(self) -> float:
        """Of in-flight and throughput, by Little's law; 0 until there is a full history."""
        count = len(self._history)
        if count < _HISTORY:
            return 0.0
        in_flight_mean = sum(in_flight for in_flight, _ in self._history) / count
        rate_mean = sum(rate for _, rate in self._history) / count
        return math.fsum(
            (in_flight - in_flight_mean) * (rate - rate_mean) for in_flight, rate in self._history
        )


class CinnamonControl(Ledger):
    """Rejector, priority queue and scheduler.

    Args:
        slots: in-flight limit to begin with, 1 or more. A wider request runs alone.
        floor: least limit.
        timeout_ns: of a request that announces no deadline; it may wait for 33 % of it.
        overload_after_ns: time without an empty queue after which the rejector starts.
    """

    def __init__(
        self,
        *,
        slots: int,
        floor: int = 1,
        timeout_ns: Nanos = _TIMEOUT_NS,
        overload_after_ns: Nanos = _OVERLOAD_AFTER_NS,
    ) -> None:
        super().__init__()
        self.tuner = AutoTuner(limit=slots, floor=floor)
        self.rejector = Rejector()
        self.is_overloaded = False
        """Whether the rejector is at work."""
        self._timeout_ns = timeout_ns
        self._overload_after_ns = overload_after_ns
        self._limit = int(self.tuner.limit)
        self._levels: dict[int, OrderedDict[int, Ticket]] = {}
        self._occupied = 0
        """Bit n is set while somebody of priority n waits."""
        self._queue_length = 0
        self._queued_since = 0
        self._expiries: list[tuple[int, int, Ticket]] = []
        self._stepped_at: int | None = None
        self._entered_count = 0
        self._left_count = 0

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """Worse than the threshold: no. Else run where a slot is free, or wait by priority."""
        if self._stepped_at is None:
            self._stepped_at = now
        priority = priority_of(request, cohort)
        self.rejector.add(priority)
        if priority > self.rejector.threshold:
            return self.reject(request, _SHED_LEVEL, now=now, limit=self._limit)
        self._entered_count += 1
        deadline_at = None
        wait_max_ns = self._timeout_ns
        if time_left_ns is not None:
            deadline_at = Instant(now + time_left_ns)
            wait_max_ns = Nanos(time_left_ns)
        if not self._queue_length:
            if self.fits(request.cost, self._limit):
                self._left_count += 1
                return self.admit(request, now=now, flow_hash=flow_hash, expires_at=deadline_at)
            self._queued_since = now
        ticket = self.ticket(
            request,
            now=now,
            expires_at=Instant(now + int(_QUEUE_SHARE * wait_max_ns)),
            flow_hash=flow_hash,
            cohort=cohort,
            deadline_at=deadline_at,
        )
        ticket.queue_slot = priority
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = OrderedDict()
        level[ticket.serial] = ticket
        self._occupied |= 1 << priority
        self._queue_length += 1
        heappush(self._expiries, (ticket.expires_at, ticket.serial, ticket))
        return ticket

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """A slot is free: it goes to the best waiter. A success is a sample for the limit."""
        self.give_back(permit)
        if outcome is _SUCCESS:
            latency_ns = now - permit.admitted_at - stalled_ns
            if self.tuner.add(latency_ns, permit.in_flight_before + permit.cost, now=now):
                self._limit = int(self.tuner.limit)
        return self._serve(now) if self._queue_length else NO_VERDICTS

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """A waiter went away; behind a wide one others may fit."""
        if not self.leaves(ticket):
            return NO_VERDICTS
        self._remove(ticket)
        return self._serve(now) if self._queue_length else NO_VERDICTS

    def _remove(self, ticket: Ticket) -> None:
        priority: int = ticket.queue_slot
        level = self._levels[priority]
        del level[ticket.serial]
        if not level:
            self._occupied ^= 1 << priority
        self._queue_length -= 1

    def _serve(self, now: Instant) -> Sequence[Verdict]:
        """Refuse who has waited too long, then give the free slots to the best."""
        verdicts: list[Verdict] = []
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            ticket = heappop(expiries)[2]
            if ticket.state is _WAITING:
                self._remove(ticket)
                verdicts.append(self.refuse_ticket(ticket, _QUEUE_TIMEOUT, now=now))
        while self._queue_length:
            best = (self._occupied & -self._occupied).bit_length() - 1
            ticket = next(iter(self._levels[best].values()))
            if not self.fits(ticket.cost, self._limit):
                break
            self._remove(ticket)
            self._left_count += 1
            verdicts.append(self.admit_ticket(ticket, now=now))
        return verdicts

    def next_tick_at(self) -> Instant | None:
        """When the loop has its next step or a waiter runs out of time."""
        if self._stepped_at is None:
            return None
        due = self._stepped_at + _PERIOD_NS
        expiries = self._expiries
        while expiries and expiries[0][2].state is not _WAITING:
            heappop(expiries)
        return Instant(min(due, expiries[0][0])) if expiries else Instant(due)

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Step the loop once its period is over, refuse who has waited too long."""
        if self._stepped_at is not None and now - self._stepped_at >= _PERIOD_NS:
            self._step(now - self._stepped_at, now)
        return self._serve(now) if self._queue_length else NO_VERDICTS

    def _step(self, elapsed_ns: int, now: Instant) -> None:
        if self._queue_length and now - self._queued_since > self._overload_after_ns:
            self.is_overloaded = True
        if self.is_overloaded:
            self.rejector.step(
                entered_count=self._entered_count,
                left_count=self._left_count,
                free_count=max(0, self._limit - self.in_flight),
                elapsed_ns=elapsed_ns,
            )
            if self.rejector.share == 0.0:
                self.is_overloaded = False
                self.rejector.reset()
        self._stepped_at = now
        self._entered_count = self._left_count = 0

    def reading(self) -> Reading:
        """The tuned limit, the queue, the share to refuse and the target latency."""
        return Reading(
            self.tuner.limit,
            self.in_flight,
            self._queue_length,
            self.rejector.share,
            round(self.tuner.target_ns),
        )
