"""A trace by another policy: who would have been refused, and who would have waited how long.

Clients do what they did: they come at the recorded instants, with what they brought. From there on
the policy decides. Work takes as long as it was recorded, counted from its admission, where about
as much is in flight as was then (to a factor of two); else, and where it was refused then, as long
as a recorded request of its route that had about as much, each in turn. The same trace and policy
give the same result for ever.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from shedproxy.core import (
    NS_PER_MS,
    Criticality,
    Instant,
    Lane,
    Nanos,
    Outcome,
    Permit,
    Policy,
    Rejected,
    RejectReason,
    Shedder,
    Ticket,
    TicketState,
    Verdict,
)
from shedproxy.simulator.history import Fate, History, Life, Result, Step, Work
from shedproxy.workload.results import percentile
from shedproxy.workload.trace import encode_end
from shedproxy.workload.traced_shedder import TracedShedder

__all__ = ["Comparison", "Side", "add_up", "what_if"]


_Key = TypeVar("_Key")
_LATE_NS = 5 * NS_PER_MS
"""What a timer of a busy loop is late. Where the replay goes as the recording went, the recorded
tick comes first."""


@dataclass(slots=True)
class Side:
    """What became of the data requests: as recorded, or as replayed."""

    fates: Counter[tuple[Criticality, Fate]] = field(default_factory=Counter)
    reasons: Counter[tuple[RejectReason, Criticality]] = field(default_factory=Counter)
    """Of refusals."""
    hidden: Counter[tuple[RejectReason, Criticality]] = field(default_factory=Counter)
    """Served in observe mode; enforce would have refused them."""
    waits_ns: list[int] = field(default_factory=list)
    """In the queue, of each that was served, in order of length; 0 for who did not wait."""

    def wait_ns(self, share: float) -> Nanos:
        """The wait that this share of the served did not exceed; 0 when none was served."""
        return Nanos(percentile(self.waits_ns, share) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Recorded beside replayed."""

    recorded: Side
    replayed: Side
    changed: Counter[tuple[Criticality, Fate, Fate]]
    """Requests by their fate then and now, where the two differ."""
    adjusted: int
    """Served here with the work of another request, because more or less was in flight then."""
    borrowed: int
    """Served here with the work of another request, because their own was not recorded."""
    borrowed_elsewhere: int
    """Of these, how many had to borrow from another route."""
    is_blind: bool
    """There was nothing to borrow, and what was not recorded took no time."""


def add_up(comparisons: Sequence[Comparison]) -> Comparison:
    """Of the traces of several workers, one comparison of all their requests."""
    return Comparison(
        recorded=_both([one.recorded for one in comparisons]),
        replayed=_both([one.replayed for one in comparisons]),
        changed=_sum(one.changed for one in comparisons),
        adjusted=sum(one.adjusted for one in comparisons),
        borrowed=sum(one.borrowed for one in comparisons),
        borrowed_elsewhere=sum(one.borrowed_elsewhere for one in comparisons),
        is_blind=any(one.is_blind for one in comparisons),
    )


def _both(sides: Sequence[Side]) -> Side:
    return Side(
        fates=_sum(side.fates for side in sides),
        reasons=_sum(side.reasons for side in sides),
        hidden=_sum(side.hidden for side in sides),
        waits_ns=sorted(wait_ns for side in sides for wait_ns in side.waits_ns),
    )


def _sum(counters: Iterable[Counter[_Key]]) -> Counter[_Key]:
    total: Counter[_Key] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def what_if(
    history: History, policy: Policy, *, write: Callable[[str], None] | None = None
) -> Comparison:
    """Replay a trace by a policy of choice.

    Args:
        history: what was recorded.
        policy: in force from start to end.
        write: takes the lines of the replay as a trace, behind its header, without their ends.

    Raises:
        ValueError: the policy cannot be run.
    """
    world = _World(history, policy, write)
    world.run()
    changed: Counter[tuple[Criticality, Fate, Fate]] = Counter()
    for play in world.plays:
        request, was, now = play.life.request, play.life.result.fate, play.result.fate
        if was is not now and request.lane is Lane.DATA:
            changed[request.criticality, was, now] += 1
    lenders = world.lenders
    return Comparison(
        recorded=_count((life, life.result) for life in history.lives),
        replayed=_count((play.life, play.result) for play in world.plays),
        changed=changed,
        adjusted=lenders.adjusted,
        borrowed=lenders.borrowed,
        borrowed_elsewhere=lenders.borrowed_elsewhere,
        is_blind=lenders.borrowed > 0 and not lenders.all,
    )


def _count(results: Iterable[tuple[Life, Result]]) -> Side:
    side = Side()
    for life, result in results:
        request = life.request
        if request.lane is not Lane.DATA:
            continue
        side.fates[request.criticality, result.fate] += 1
        if result.reason is not None:
            side.reasons[result.reason, request.criticality] += 1
        if result.hidden is not None:
            side.hidden[result.hidden, request.criticality] += 1
        if result.fate is Fate.SERVED:
            side.waits_ns.append(result.waited_ns)
    side.waits_ns.sort()
    return side


class _Lenders:
    """Recorded work, for requests whose own is not known, or not with so much in flight."""

    def __init__(self, lives: Sequence[Life]) -> None:
        self.all: list[Work] = []
        self._by_route: dict[str, list[Work]] = defaultdict(list)
        self._by_load: dict[tuple[str, int], list[Work]] = defaultdict(list)
        self._turns: Counter[tuple[str, int]] = Counter()
        self.borrowed = self.borrowed_elsewhere = self.adjusted = 0
        for life in lives:
            work = life.work
            if work is not None and _is_lent(work):
                self.all.append(work)
                self._by_route[life.request.route].append(work)
                self._by_load[life.request.route, work.in_flight.bit_length()].append(work)

    def work_for(self, life: Life, in_flight: int) -> Work:
        """What the request does when it is admitted with so much in flight."""
        own, route, load = life.work, life.request.route, in_flight.bit_length()
        if own is not None and (own.in_flight.bit_length() == load or not _is_lent(own)):
            return own
        works = self._by_load.get((route, load))
        if own is not None:
            if not works:
                return own
            self.adjusted += 1
        else:
            self.borrowed += 1
            works = works or self._by_route.get(route)
            if not works:
                self.borrowed_elsewhere += 1
                works = self.all
        turn = self._turns[route, load]
        self._turns[route, load] = turn + 1
        if works:
            return works[turn % len(works)]
        nothing = Work()
        nothing.length_ns = 0
        return nothing


def _is_lent(work: Work) -> bool:
    """Whether its length is that of the work: clients' patience and streams are their own."""
    return (
        work.length_ns is not None
        and work.stream_ns is None
        and work.outcome is not Outcome.ABANDONED
    )


class _Play:
    """One request in the replay."""

    __slots__ = ("arrived_at", "decision", "life", "result", "work")

    def __init__(self, life: Life) -> None:
        self.life = life
        self.result = Result()
        self.arrived_at = Instant(0)
        self.decision: Permit | Ticket | None = None
        self.work: Work | None = None


class _World:
    """Recorded clients and recorded work around a Shedder with another policy."""

    def __init__(
        self, history: History, policy: Policy, write: Callable[[str], None] | None
    ) -> None:
        self._history = history
        self._now = started_at = history.header.started_at
        self._write = write
        self._shedder: Shedder = (
            Shedder(policy, now=started_at)
            if write is None
            else TracedShedder(policy, now=started_at, write=write)
        )
        self._events: list[tuple[Instant, int, Callable[[_Play], None], _Play]] = []
        self._serial = 0
        self.lenders = _Lenders(history.lives)
        self.plays = [_Play(life) for life in history.lives]

    def run(self) -> None:
        """From the first call to the end of the trace."""
        for step in self._history.steps:
            self._pass_time(step.at)
            self._do(step)
        self._pass_time(self._history.ended_at)
        if self._write is not None:
            self._write(encode_end(self._now - self._history.header.started_at, "closed"))

    def _pass_time(self, until: Instant) -> None:
        """Whatever comes first: what clients and work do, or a tick of the shedder."""
        events = self._events
        while True:
            due_at = self._shedder.next_tick_at()
            tick_at = None if due_at is None else Instant(due_at + _LATE_NS)
            event_at = events[0][0] if events else None
            if event_at is not None and event_at <= until and not _is_before(tick_at, event_at):
                self._now = max(event_at, self._now)
                _, _, happen, play = heapq.heappop(events)
                happen(play)
            elif tick_at is not None and tick_at <= until:
                self._now = max(tick_at, self._now)
                self._hear(self._shedder.tick_due(now=self._now))
            else:
                self._now = until
                return

    def _plan(self, after_ns: int, happen: Callable[[_Play], None], play: _Play) -> None:
        self._serial += 1
        heapq.heappush(self._events, (Instant(self._now + after_ns), self._serial, happen, play))

    # --- what does not depend on the policy -------------------------------------------------

    def _do(self, step: Step) -> None:
        shedder, life = self._shedder, step.life
        if step.name == "tick":
            self._hear(shedder.tick(now=self._now))
        elif step.name == "stall":
            shedder.on_stall(now=self._now)
        elif step.name == "drain":
            shedder.drain()
        elif step.memory is not None:
            shedder.remember(step.memory)
        elif life is not None:
            play = self.plays[life.number]
            if step.name == "screen":
                self._screen(play, step.time_left_ns)
            elif play.result.fate is not Fate.REFUSED:
                self._arrive(play, step.time_left_ns)

    def _screen(self, play: _Play, time_left_ns: int | None) -> None:
        life = play.life
        rejected = self._shedder.screen(
            life.request,
            now=self._now,
            flow_hash=life.flow_hash,
            cohort=life.cohort,
            time_left_ns=time_left_ns,
        )
        if rejected is not None:
            self._take(play, rejected)
        elif life.arrived_at is None and life.result.fate is Fate.REFUSED:
            # Nobody knows when its body would have come.
            self._arrive(play, time_left_ns)

    def _arrive(self, play: _Play, time_left_ns: int | None) -> None:
        life = play.life
        play.arrived_at = self._now
        decision = self._shedder.arrive(
            life.request,
            now=self._now,
            flow_hash=life.flow_hash,
            cohort=life.cohort,
            time_left_ns=time_left_ns,
        )
        self._take(play, decision)
        if isinstance(decision, Ticket) and decision.evicted is not None:
            self._hear((decision.evicted,))
        if life.left_at is not None and play.decision is not None:
            self._plan(life.left_at - self._now, self._leave, play)

    # --- what follows -----------------------------------------------------------------------

    def _take(self, play: _Play, decision: Permit | Ticket | Rejected) -> None:
        result, life = play.result, play.life
        if isinstance(decision, Rejected):
            result.fate, result.reason = Fate.REFUSED, decision.reason
            play.decision = None
            return
        play.decision = decision
        if isinstance(decision, Ticket):
            result.fate = Fate.WAITING
            decision.context = play
            return
        result.fate, result.waited_ns = Fate.SERVED, self._now - play.arrived_at
        if decision.would_reject is not None:
            result.hidden = decision.would_reject.reason
        play.work = work = self.lenders.work_for(life, decision.in_flight_before)
        if work.stream_ns is not None:
            self._plan(work.stream_ns, self._become_stream, play)
        if work.orphan_ns is not None:
            self._plan(work.orphan_ns, self._orphan, play)
        if work.length_ns is not None:
            self._plan(work.length_ns, self._end, play)

    def _hear(self, verdicts: Sequence[Verdict]) -> None:
        for ticket, decision in verdicts:
            self._take(ticket.context, decision)

    def _become_stream(self, play: _Play) -> None:
        permit = self._running(play)
        if permit is not None:
            self._hear(self._shedder.to_resident(permit, now=self._now))

    def _orphan(self, play: _Play) -> None:
        permit = self._running(play)
        if permit is not None:
            self._shedder.orphan(permit, now=self._now)

    def _end(self, play: _Play) -> None:
        permit, work = self._running(play), play.work
        if permit is None or work is None:
            return
        if work.is_zombie:
            verdicts = self._shedder.leave_zombie(permit, now=self._now, outcome=work.outcome)
        else:
            verdicts = self._shedder.release(
                permit, work.outcome, now=self._now, stalled_ns=work.stalled_ns
            )
        self._hear(verdicts)

    def _leave(self, play: _Play) -> None:
        """Its client's patience is over, as it was in the recording."""
        ticket = play.decision
        if isinstance(ticket, Ticket) and ticket.state is TicketState.WAITING:
            play.result.fate = Fate.LEFT
            self._hear(self._shedder.abandon(ticket, now=self._now))
            return
        permit = self._running(play)
        if permit is not None:
            self._hear(self._shedder.release(permit, Outcome.ABANDONED, now=self._now))

    def _running(self, play: _Play) -> Permit | None:
        """The permit, unless it was given back; told when the head of its answer came."""
        permit, work = play.decision, play.work
        if not isinstance(permit, Permit) or permit.is_released:
            return None
        if work is not None and work.head_ns is not None:
            head_at = Instant(permit.admitted_at + work.head_ns)
            if head_at <= self._now:
                self._shedder.respond(permit, now=head_at)
        return permit


def _is_before(tick_at: Instant | None, event_at: Instant) -> bool:
    return tick_at is not None and tick_at < event_at
