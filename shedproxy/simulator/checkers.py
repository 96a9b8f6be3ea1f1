"""What must hold at every instant of a run, whoever decides: checked after every event when on.

Calls are conserved and each ends once; nothing is let in above the limit; each waiter is answered
once; counts are never negative. Of the product's own controller more is asked: no waiter is passed
over for a lesser one, the queue keeps its bound, and every refusal follows from its numbers.

A breach is written down with its time, not raised, so that a run shows all of them. Nothing here
costs anything while it is off: a watched controller stands in front of the real one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from shedproxy.core import (
    COHORTS,
    NS_PER_S,
    Decision,
    Instant,
    Outcome,
    Permit,
    Policy,
    Rejected,
    RequestInfo,
    Shedder,
    Ticket,
    Verdict,
    rank_of,
    refusal_holds,
)
from shedproxy.simulator.controllers.protocol import Controller, Reading
from shedproxy.simulator.engine import Engine
from shedproxy.simulator.tally import Tally

__all__ = ["Checkers", "Run", "WatchedController"]

_KEPT_MAX = 20
_RANKS_PER_LEVEL = COHORTS // 2
"""First tries and retries of each class: the levels of the queue."""


class Inside(Protocol):
    """A backend, as far as it is looked at."""

    @property
    def inside(self) -> int:
        """Calls at the machines."""


class Run(Protocol):
    """A world, as far as it is looked at."""

    @property
    def engine(self) -> Engine:
        """Its clock."""

    @property
    def tally(self) -> Tally:
        """Its counts."""

    @property
    def backend(self) -> Inside:
        """What its calls go to."""


class Checkers:
    """Watches one world; `World(make_checkers=Checkers)`."""

    def __init__(self, world: Run) -> None:
        self._world = world
        self._watched: list[WatchedController] = []
        self._kept: list[str] = []
        self.count = 0

    @property
    def violations(self) -> list[str]:
        """The first ones in words, and how many there were besides."""
        more = self.count - len(self._kept)
        return [*self._kept, f"and {more} more"] if more else list(self._kept)

    def report(self, words: str) -> None:
        """Something that must not be is so now."""
        self.count += 1
        if len(self._kept) < _KEPT_MAX:
            self._kept.append(f"{words} at {self._world.engine.now / NS_PER_S:.6f} s")

    def watch(self, controller: Controller) -> WatchedController:
        """The controller as the proxy shall see it; one that several share is watched as one."""
        for watched in self._watched:
            if watched.inner is controller:
                return watched
        self._watched.append(WatchedController(controller, self))
        return self._watched[-1]

    def after_event(self) -> None:
        """Calls begun are those that ended and those that are somewhere."""
        world = self._world
        begun, ended = world.tally.calls_begun, world.tally.calls_ended
        waiting = sum(len(watched.waiting) for watched in self._watched)
        running = sum(len(watched.held) for watched in self._watched)
        unread, orphaned = world.tally.calls_unread, world.tally.calls_orphaned
        # Who has left has ended, and may hold a permit until his work has, too.
        if begun != ended + waiting + running - orphaned + unread:
            self.report(
                f"{begun} calls begun, but {ended} ended, {waiting} waiting, {running} running"
                f" ({orphaned} for nobody) and {unread} unread"
            )
        if world.backend.inside < 0:
            self.report(f"{world.backend.inside} calls inside the backend")


class WatchedController:
    """Passes every call on to a controller and compares what comes back with what may."""

    def __init__(self, inner: Controller, checkers: Checkers) -> None:
        self.inner = inner
        self._checkers = checkers
        self._is_ours = isinstance(inner, Shedder)
        self.held: dict[tuple[str, int], Permit] = {}
        """Permits that were not given back, by cell and serial."""
        self._held_cost = 0
        """Of all of them: without control there are tens of thousands."""
        self.waiting: dict[tuple[str, int], Ticket] = {}
        self._levels: Counter[tuple[str, int]] = Counter()
        """Waiters by cell and level."""

    def __getattr__(self, name: str) -> Any:
        # What only some controllers have: `on_stall`, `memory`, `remember`.
        return getattr(self.inner, name)

    def arrive(
        self,
        request: RequestInfo,
        *,
        now: Instant,
        flow_hash: int = 0,
        cohort: int = 0,
        time_left_ns: int | None = None,
    ) -> Decision:
        """See `Controller`."""
        limit = self._limit(request)
        decision = self.inner.arrive(
            request, now=now, flow_hash=flow_hash, cohort=cohort, time_left_ns=time_left_ns
        )
        if isinstance(decision, Permit):
            self._admitted(decision, rank_of(request, cohort), limit)
        elif isinstance(decision, Ticket):
            if decision.evicted is not None:
                self._answered((decision.evicted,), limit)
            self.waiting[_key(decision)] = decision
            self._levels[_place(decision)] += 1
            self._check_queue(request.cell)
        else:
            self._refused(decision)
        self._check_reading()
        return decision

    def release(
        self, permit: Permit, outcome: Outcome, *, now: Instant, stalled_ns: int = 0
    ) -> Sequence[Verdict]:
        """See `Controller`."""
        limit = self._give_back(permit)
        verdicts = self.inner.release(permit, outcome, now=now, stalled_ns=stalled_ns)
        return self._after(verdicts, limit)

    def orphan(self, permit: Permit, *, now: Instant) -> None:
        """See `Controller`."""
        self.inner.orphan(permit, now=now)

    def leave_zombie(
        self, permit: Permit, *, now: Instant, outcome: Outcome = Outcome.ABANDONED
    ) -> Sequence[Verdict]:
        """See `Controller`."""
        limit = self._give_back(permit)
        return self._after(self.inner.leave_zombie(permit, now=now, outcome=outcome), limit)

    def abandon(self, ticket: Ticket, *, now: Instant) -> Sequence[Verdict]:
        """See `Controller`."""
        limit = self._limit(ticket.request)
        self._count_out(ticket)
        return self._after(self.inner.abandon(ticket, now=now), limit)

    def next_tick_at(self) -> Instant | None:
        """See `Controller`."""
        return self.inner.next_tick_at()

    def tick(self, *, now: Instant) -> Sequence[Verdict]:
        """See `Controller`."""
        limit = self._limit(None)
        return self._after(self.inner.tick(now=now), limit)

    def tick_due(self, *, now: Instant) -> Sequence[Verdict]:
        """See `Shedder`; what knows no cells has its tick."""
        limit = self._limit(None)
        tick_due = getattr(self.inner, "tick_due", self.inner.tick)
        return self._after(tick_due(now=now), limit)

    def apply(self, policy: Policy, *, now: Instant) -> Sequence[Verdict]:
        """See `Shedder`."""
        assert isinstance(self.inner, Shedder)
        limit = self._limit(None)
        return self._after(self.inner.apply(policy, now=now), limit)

    def reading(self) -> Reading:
        """See `Controller`."""
        return self.inner.reading()

    # --- what is compared -------------------------------------------------------------------

    def _limit(self, request: RequestInfo | None) -> float:
        """The limit that binds a request now; of several cells the greatest for none."""
        if not isinstance(self.inner, Shedder):
            return self.inner.reading().limit
        limits = {cell.name: cell.limit for cell in self.inner.stats().cells}
        if request is None:
            return max(limits.values())
        return limits.get(request.cell, next(iter(limits.values())))

    def _give_back(self, permit: Permit) -> float:
        if self.held.pop(_key(permit), None) is None:
            self._checkers.report(f"permit {permit.serial} was given back and not held")
        else:
            self._held_cost -= permit.cost
        return self._limit(permit.request)

    def _after(self, verdicts: Sequence[Verdict], limit: float) -> Sequence[Verdict]:
        self._answered(verdicts, limit)
        self._check_reading()
        return verdicts

    def _answered(self, verdicts: Iterable[Verdict], limit: float) -> None:
        for ticket, decision in verdicts:
            self._count_out(ticket)
            if isinstance(decision, Permit):
                self._admitted(decision, ticket.rank, limit)
            else:
                self._refused(decision)

    def _count_out(self, ticket: Ticket) -> None:
        if self.waiting.pop(_key(ticket), None) is None:
            self._checkers.report(f"ticket {ticket.serial} was answered and did not wait")
        else:
            self._levels[_place(ticket)] -= 1

    def _admitted(self, permit: Permit, rank: int, limit_before: float) -> None:
        request = permit.request
        if _key(permit) in self.held:
            self._checkers.report(f"permit {permit.serial} was given twice")
        else:
            self._held_cost += permit.cost
        self.held[_key(permit)] = permit
        # The call that admitted it may have moved the limit, before or after.
        limit = max(limit_before, self._limit(request))
        before = permit.in_flight_before
        # References ask, as their originals do, whether there is room for one.
        cost = permit.cost if self._is_ours else 1
        if before and before + cost > (math.ceil(limit) if limit < math.inf else limit):
            self._checkers.report(f"{before + cost} in flight above the limit {limit:g}")
        if self._is_ours:
            level = rank // _RANKS_PER_LEVEL
            better = max(
                (
                    place[1]
                    for place, count in self._levels.items()
                    if count and place[0] == request.cell
                ),
                default=level,
            )
            if better > level:
                self._checkers.report(f"one of level {level} passed a waiter of level {better}")

    def _refused(self, rejected: Rejected) -> None:
        if self._is_ours and not refusal_holds(rejected):
            self._checkers.report(f"{rejected} does not follow from its numbers")

    def _check_queue(self, cell: str) -> None:
        if not isinstance(self.inner, Shedder):
            return
        length = sum(count for place, count in self._levels.items() if place[0] == cell)
        for policy in self.inner.policy.cells:
            if policy.name == cell and length > policy.queue.length_max:
                self._checkers.report(f"{length} wait in a queue for {policy.queue.length_max}")

    def _check_reading(self) -> None:
        reading = self.inner.reading()
        held = self._held_cost
        if reading.in_flight < held:
            self._checkers.report(f"{held} in flight, but {reading.in_flight} counted")
        if reading.queue_length != len(self.waiting):
            self._checkers.report(f"{len(self.waiting)} wait, but {reading.queue_length} counted")
        if not 0 <= reading.refused_share <= 1 or reading.limit < 0 or reading.baseline_ns < 0:
            self._checkers.report(f"{reading} has a figure out of range")


def _key(one: Permit | Ticket) -> tuple[str, int]:
    """Of all permits and tickets: each cell has serials of its own."""
    return one.request.cell, one.serial


def _place(ticket: Ticket) -> tuple[str, int]:
    return ticket.request.cell, ticket.rank // _RANKS_PER_LEVEL
