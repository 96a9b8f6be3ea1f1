"""One cell's admission: one limit, one queue, one shed level. Admits, queues or rejects.

Order of an arrival: control lane, route and class bounds, residents, deadline, fair share, shed
level, a free slot, the queue. Each refusal carries the numbers that were compared. Knows nothing of
other cells, HTTP or clocks; the Shedder is its only caller.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from shedproxy.core.decision import Decision, Outcome, Permit, Verdict
from shedproxy.core.policy import CellPolicy
from shedproxy.core.request import Measure, RequestInfo, rank_of
from shedproxy.core.screening import CONTROL
from shedproxy.core.sharding import NO_PLACE, place_of
from shedproxy.core.share import LOOK_NS, CellShare
from shedproxy.core.spill import GUEST_PLACE
from shedproxy.core.spilling import Spilling
from shedproxy.core.stats import CellStats
from shedproxy.core.units import NS_PER_S, Instant, Nanos
from shedproxy.core.waiting import NO_VERDICTS

__all__ = ["NO_VERDICTS", "AdmissionController"]

# Before Python 3.12 a look-up of an enum's member costs more than a call: these are hot.
_SUCCESS: Final = Outcome.SUCCESS
_HEAD: Final = Measure.HEAD


class AdmissionController(Spilling):
    """One cell. `now` never runs backwards; nothing here sleeps, logs or calls back."""

    __slots__ = ()

    def arrive(
        self,
        request: RequestInfo,
        now: Instant,
        flow_hash: int,
        cohort: int,
        time_left_ns: int | None,
    ) -> Decision:
        """Enforce mode: run now (Permit), wait (Ticket) or no (Rejected)."""
        rank = request.rank_min + (cohort >> 2)  # as `rank_of`, without the call
        place = place_of(flow_hash) if flow_hash else NO_PLACE
        if time_left_ns is None:
            time_left_ns = self._default_timeout_ns
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        level = self._level
        if self._queue.length or level.is_overloaded:
            rank = self._rank_now(rank, cohort, now)
        # What nobody has bounded, and nothing can refuse before the queue, is not asked about.
        if (
            expires_at is not None
            or level.is_overloaded
            or now >= level.due_at
            or self._has_class_limits
            or not request.is_plain
        ):
            refused = self._refusal(request, rank, place, time_left_ns, now)
            if refused is not None:
                return refused
            if request.is_aside:
                return self._admit_aside(request, flow_hash, now)
        cost = request.cost
        self._demand.on_arrival(rank, cost)
        if self._share is not None:
            return self._arrive_shared(
                self._share, request, rank, flow_hash, place, cohort, time_left_ns, now
            )
        # As `has_room`, without the call.
        if (self.in_flight + cost <= self._limits.limit or not self.in_flight) and (
            not self._queue.length or self._queue.is_outranked_by(rank)
        ):
            self._count(request, place)
            return self._start(request, flow_hash, place, now, now, expires_at, cohort=cohort)
        self._limits.on_limit_reached()
        return self._enqueue(request, rank, flow_hash, place, cohort, time_left_ns, now)

    def _arrive_shared(
        self,
        share: CellShare,
        request: RequestInfo,
        rank: int,
        flow_hash: int,
        place: int,
        cohort: int,
        time_left_ns: int | None,
        now: Instant,
    ) -> Decision:
        """The end of `arrive` where other workers have slots of the same limit."""
        queue = self._queue
        had_waiters = queue.length > 0
        if not had_waiters or queue.is_outranked_by(rank):
            before = share.room(request.cost, self._limits.limit, now)
            if before >= 0:
                permit = self._admit_shared(
                    request, flow_hash, place, cohort, time_left_ns, now, before
                )
                if had_waiters:
                    share.pass_on(self._limits.limit)
                return permit
        if not had_waiters:
            # Said before a last look at the slots: who frees one after it, wakes us.
            share.claim(now)
            before = share.room(request.cost, self._limits.limit, now)
            if before >= 0:
                share.claim(0)
                permit = self._admit_shared(
                    request, flow_hash, place, cohort, time_left_ns, now, before
                )
                # Who looked meanwhile may have left us a slot that we did not need.
                share.pass_on(self._limits.limit)
                return permit
        self._limits.on_limit_reached()
        decision = self._enqueue(request, rank, flow_hash, place, cohort, time_left_ns, now)
        if not queue.length:
            share.claim(0)
        elif not had_waiters:
            self._look_at = Instant(now + LOOK_NS)
        return decision

    def _admit_shared(
        self,
        request: RequestInfo,
        flow_hash: int,
        place: int,
        cohort: int,
        time_left_ns: int | None,
        now: Instant,
        before: int,
    ) -> Permit:
        self._count(request, place)
        expires_at = None if time_left_ns is None else Instant(now + time_left_ns)
        return self._start(request, flow_hash, place, now, now, expires_at, before, cohort)

    def join(self, share: CellShare) -> None:
        """Share the limit with other workers from now on."""
        if self._share is None:
            self._share = self._limits.share = share
            share.put(self.in_flight)

    def leave(self, parts: int, *, now: Instant) -> None:
        """Share the limit no more: one of so many equal parts of it is ours."""
        self._share = None
        self._limits.leave(parts, now=now)

    def observe(
        self,
        request: RequestInfo,
        now: Instant,
        flow_hash: int,
        cohort: int,
        time_left_ns: int | None,
    ) -> Permit:
        """Observe mode: a permit; `would_reject` says what enforce would have answered.

        What is in flight above the limit stands for the queue of enforce mode.
        """
        self._is_shadowing = True
        rank = self._rank_now(rank_of(request, cohort), cohort, now)
        place = place_of(flow_hash) if flow_hash else NO_PLACE
        timeout_ns = self._default_timeout_ns if time_left_ns is None else time_left_ns
        refused = self._refusal(request, rank, place, timeout_ns, now)
        expires_at = None if timeout_ns is None else Instant(now + timeout_ns)
        if request.is_aside:
            permit = self._admit_aside(request, flow_hash, now)
            permit.would_reject = refused
            return permit
        if refused is None:
            self._demand.on_arrival(rank, request.cost)
            if not self.has_room(request.cost):
                self._limits.on_limit_reached()
                refused = self._shadow_queue_refusal(request, rank, now)
                if refused is None:
                    self._demand.saturate(now)
        self._count(request, place)
        permit = self._start(request, flow_hash, place, now, now, expires_at, cohort=cohort)
        if refused is not None:
            permit.would_reject = refused
            self._shadow_refused += permit.cost
        return permit

    def force(self, request: RequestInfo, *, now: Instant, flow_hash: int) -> Permit:
        """Off mode: a permit that is counted and decides nothing."""
        if request.is_aside:
            return self._admit_aside(request, flow_hash, now)
        place = place_of(flow_hash) if flow_hash else NO_PLACE
        self._count(request, place)
        return self._start(request, flow_hash, place, now, now, None)

    def to_resident(self, permit: Permit, *, now: Instant) -> Sequence[Verdict]:
        """The answer is a stream: it frees its slot, unless the residents are at their bound."""
        if permit.is_resident or permit.is_released or permit.is_zombie or not permit.cost:
            return NO_VERDICTS
        # A stream's head comes at once: no baseline for the whole answers of the same route.
        if permit.request.measure is Measure.HEAD and permit.place != GUEST_PLACE:
            self._sample(permit, Outcome.SUCCESS, now, 0)
        permit.is_sampled = True
        if self._residents >= self._policy.resident_limit:
            return NO_VERDICTS
        self._free(permit)
        permit.is_resident = True
        self._residents += 1
        self._count(permit.request, NO_PLACE)
        self._limits.update(self._host_in_flight(), now, self._level.is_overloaded)
        if now >= self._level.due_at:
            self._move_level(now)
        return self._dispatch(now)

    def release(
        self, permit: Permit, outcome: Outcome, now: Instant, stalled_ns: int
    ) -> Sequence[Verdict]:
        """The upstream's work is done. The caller has marked the permit as released."""
        if permit.is_resident:
            self._residents -= 1
            self._uncount(permit.request, NO_PLACE)
            return NO_VERDICTS
        if permit.request.lane is CONTROL:
            self._control_in_flight -= 1
            return NO_VERDICTS
        if permit.is_zombie:
            self._orphans -= 1
        self._free(permit)
        level = self._level
        if self._sample(permit, outcome, now, stalled_ns):
            limits = self._limits
            if limits.stood_still:
                limits.stood_still = False
                self._demand.stand_still(limits.standstill.since, limits.standstill.until)
            limits.update(self._host_in_flight(), now, level.is_overloaded)
        permit.is_zombie = False
        if now >= level.due_at:
            self._move_level(now)
        if self._queue.length or self._is_shadowing or self._share is not None:
            return self._dispatch(now)
        if self.in_flight < level.full_from:
            self._demand.starve(now)
        return NO_VERDICTS

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """Nobody waits, and the caller will see the work end."""
        permit.is_zombie = True
        self._orphans += 1
        if permit.place != GUEST_PLACE:
            self._limits.on_left(permit.request.route, now - permit.admitted_at, now=now)
            self._leave(permit, now)

    def leave_zombie(self, permit: Permit, outcome: Outcome, *, now: Instant) -> Sequence[Verdict]:
        """Nobody waits, the work may go on: keep the slot for the expected rest of it."""
        expected_ns = self._limits.expected_ns(permit.request.route)
        elapsed_ns = now - permit.admitted_at
        # Unknown work is given as much again as it had, a long one a quarter of the mean.
        rest_ns = max(expected_ns - elapsed_ns, expected_ns // 4)
        if not expected_ns:
            rest_ns = min(elapsed_ns, NS_PER_S)
        if permit.place == GUEST_PLACE:
            permit.is_sampled = True
        if permit.is_zombie:
            self._orphans -= 1
        elif outcome is Outcome.ABANDONED:
            self._leave(permit, now)
        self._sample(permit, outcome, now, 0)
        permit.is_zombie = True
        heapq.heappush(self._zombies, (Instant(now + rest_ns), permit.serial, permit))
        return NO_VERDICTS

    def _free(self, permit: Permit) -> None:
        cost = permit.cost
        self.in_flight -= cost
        if self._share is not None:
            self._share.put(self.in_flight)
        demand = self._demand
        if demand.busy_since >= 0:
            demand.ended += cost
        if permit.would_reject is not None:
            self._shadow_refused -= cost
        place = permit.place
        if place >= 0:
            self._running.leave(place, cost)
        elif place == GUEST_PLACE:
            self._end_guest(permit)
        self._uncount(permit.request, place)

    def _sample(self, permit: Permit, outcome: Outcome, now: Instant, stalled_ns: int) -> bool:
        """Tell what the end of this work teaches; False: no need to look at the limit for it."""
        if permit.is_sampled:
            if permit.place == GUEST_PLACE:
                self._learn_of_guest(outcome, now)
            return True
        request = permit.request
        if outcome is _SUCCESS:
            admitted_at = permit.admitted_at
            rtt_ns = now - admitted_at - stalled_ns
            if request.measure is _HEAD and permit.responded_at is not None:
                rtt_ns = permit.responded_at - admitted_at
            if rtt_ns < 0:  # noqa: PLR1730  # no call
                rtt_ns = 0
            before = permit.in_flight_before
            is_served = not permit.is_zombie
            if is_served:
                self._progress.answer(permit.cohort, now)
                if self._patience.is_asked:
                    self._patience.stay(now - permit.arrived_at)
            return self._limits.on_sample(
                request.route, rtt_ns, before, admitted_at, now, is_served, permit.place
            )
        if outcome is Outcome.OVERLOAD:
            self._limits.on_overload(request.route, now - permit.admitted_at, now=now)
        elif outcome is Outcome.ABANDONED:
            elapsed_ns = now - permit.admitted_at
            self._limits.on_censored(request.route, elapsed_ns, now=now)
            if not permit.is_zombie:
                self._limits.on_left(request.route, elapsed_ns, now=now)
        else:
            self._limits.standstill.end(now)
        return True

    def next_tick_at(self) -> Instant | None:
        """When `tick` has something to do, or None."""
        due = self._queue.next_expiry_at()
        if self._zombies and (due is None or self._zombies[0][0] < due):
            due = self._zombies[0][0]
        at = self._limits.opens_at if self._share is None else self._look_at
        if at is not None and self._queue.length and (due is None or at < due):
            return at
        return due

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """Expire waiters, let go of zombies whose work must be over, move the loops."""
        if self._share is not None:
            self._share.elect(self._limits.limit, now)
            self._look_at = Instant(now + LOOK_NS)
        self.look_for_room(now)
        while self._zombies and self._zombies[0][0] <= now:
            permit = heapq.heappop(self._zombies)[2]
            permit.is_zombie = False
            self._free(permit)
        self._limits.update(self._host_in_flight(), now, self._level.is_overloaded)
        if now >= self._level.due_at:
            self._move_level(now)
        return self._dispatch(now)

    def on_stall(self, *, now: Instant) -> None:
        """The event loop stood still until now: not the upstream's latency."""
        self._limits.on_stall(now=now)

    def apply(self, policy: CellPolicy, *, now: Instant) -> Sequence[Verdict]:
        """Take a new policy. What is in flight, waiting or learnt stays."""
        self._is_shadowing = False
        self._set_policy(policy)
        self._limits.apply(policy.limit, now=now)
        self._fair.apply(policy.fairness)
        self._level.apply(policy.shed_level)
        self._move_level(now)
        verdicts = self._shrink_queue(policy, now)
        verdicts.extend(self._dispatch(now))
        return verdicts

    @property
    def is_idle(self) -> bool:
        """Nothing in flight, waiting or resident: a removed cell may be forgotten."""
        aside = self._residents + self._control_in_flight
        return not (self.in_flight or aside or self._queue.length)

    @property
    def waiting(self) -> int:
        """Requests in the queue; of those that wait in other workers, one of each."""
        return self._queue.length + (0 if self._share is None else self._share.claims())

    def stats(self) -> CellStats:
        """A read-out of the cell."""
        level, demand, limit, book = self._level, self._demand, self._limits.limit, self.spill
        sheddable, sheddable_plus, critical, critical_plus = self._class_count
        return CellStats(
            name=self._policy.name,
            in_flight=self.in_flight,
            class_in_flight=(sheddable, sheddable_plus, critical, critical_plus),
            limit=limit if self._share is None else self._share.part_of(limit),
            host_limit=limit,
            host_in_flight=self._host_in_flight(),
            queue_length=self._queue.length,
            residents=self._residents,
            zombies=len(self._zombies) + self._orphans,
            control_in_flight=self._control_in_flight,
            shed_rank=level.cut_rank,
            shed_share=level.share,
            pressure=self.pressure(),
            baseline_ns=Nanos(self._limits.baselines.typical_ns()),
            offered_rps=demand.offered_rps,
            capacity_rps=demand.capacity_rps,
            last_change=self._limits.last_change,
            guests=0 if book is None else book.guests,
            guest_room=0 if book is None else book.room(limit, self._guests(book)),
            sent_count=0 if book is None else book.sent_count,
            taken_count=0 if book is None else book.taken_count,
        )
