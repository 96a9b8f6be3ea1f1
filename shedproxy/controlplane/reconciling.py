"""One step of a fleet towards what it is to be, pure: what was seen, and what follows from it.

Whoever watches collects what was seen (`Seen`) until a step is worth being written down: what is
lost when he is killed was then neither watched nor held against anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.controlplane.evidence import Watch, add_period, proof, verdict
from shedproxy.controlplane.fleet import Fleet
from shedproxy.controlplane.move import MoveStep, Said
from shedproxy.controlplane.move import advance as advance_move
from shedproxy.controlplane.orders import hold_quarantined
from shedproxy.controlplane.rollout import Book, Facts, Phase, Rollout, advance
from shedproxy.controlplane.sightings import Interval, Sightings, arm_of
from shedproxy.controlplane.tenants import key_facts
from shedproxy.core import Instant, Nanos

CONTROL_MAX = 32
"""Hosts that a candidate is compared with: more would not say more."""

__all__ = ["CONTROL_MAX", "Seen", "Step", "arms", "is_progress", "move_step", "step"]


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of a promotion since the last step that was written down."""

    elapsed_ns: Nanos = Nanos(0)  # noqa: RUF009 - an int
    requests: int = 0
    watch: Watch | None = None
    """What speaks against it by now; None: what the fleet says."""
    candidate: dict[str, Interval] = field(default_factory=dict)
    """By host, what is not compared yet, because nothing was seen on the other side."""
    control: dict[str, Interval] = field(default_factory=dict)

    def waiting(self) -> Seen:
        """Only what is not compared yet."""
        return Seen(candidate=dict(self.candidate), control=dict(self.control))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be written down."""

    fleet: Fleet
    verb: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    """What to go on collecting with, once it is written down."""


def arms(fleet: Fleet) -> tuple[frozenset[str], frozenset[str]]:
    """Who runs the candidate in the present scope, and who is compared with them.

    These are hosts that run what ran before, of the same zone if there are any; in the last scope,
    where there are none left, those in which the candidate has proven itself.
    """
    rollout = fleet.book.rollout
    if rollout is None or rollout.phase is Phase.ROLLING_BACK:
        return frozenset(), frozenset()
    stage = rollout.stages[rollout.stage]
    has_it = frozenset(rollout.order[: rollout.moved])
    candidate = has_it & frozenset(stage.instances)
    wanted = fleet.wanted()
    others = [host for host in fleet.hosts if wanted[host.name] == fleet.book.base]
    near = [host.name for host in others if host.zone == stage.zone]
    beside = near or [host.name for host in others] or sorted(has_it - candidate)
    return candidate, frozenset(beside[:CONTROL_MAX])


def note(fleet: Fleet, seen: Seen, intervals: list[Interval], elapsed_ns: Nanos) -> None:
    """Add what hosts did, and the time in which it was watched."""
    rollout = fleet.book.rollout
    candidate, control = arms(fleet)
    if rollout is None or not candidate:
        return
    seen.elapsed_ns = Nanos(seen.elapsed_ns + elapsed_ns)
    for interval in intervals:
        if interval.host in candidate and interval.release == rollout.digest:
            seen.requests += interval.requests
            _merge(seen.candidate, interval)
        elif interval.host in control and interval.release == fleet.wanted()[interval.host]:
            _merge(seen.control, interval)
    if seen.candidate and seen.control:
        seen.watch = add_period(
            fleet.watch if seen.watch is None else seen.watch,
            [arm_of(each) for each in seen.candidate.values()],
            {each.host: arm_of(each) for each in seen.control.values()},
        )
        seen.candidate.clear()
        seen.control.clear()


def step(
    fleet: Fleet,
    seen: Seen,
    sightings: Sightings,
    *,
    now: Instant,
    now_s: int,
    false_alarm: float,
) -> Step | None:
    """What follows; None: nothing.

    Args:
        fleet: as it is written down.
        seen: of the promotion, since then.
        sightings: of the hosts.
        now: for how long hosts are silent.
        now_s: seconds since the epoch.
        false_alarm: probability, at most, that a promotion is rolled back by chance.
    """
    over = tuple(each.zone for each in fleet.shifts if each.until_s <= now_s)
    if over:
        left = tuple(each for each in fleet.shifts if each.until_s > now_s)
        return Step(fleet=replace(fleet, shifts=left), verb="end shift", facts={"zones": [*over]})
    rollout = fleet.book.rollout
    if rollout is None:
        return _catch_up(hold_quarantined(fleet), fleet, sightings, now)
    apart = {each.host for each in fleet.held}
    running = sightings.running(fleet, now)
    if rollout.phase is Phase.ROLLING_BACK:
        # Who takes nothing must not keep what is bad on the others.
        apart |= {name for name in running if sightings.is_overdue(fleet, name, now)}
    watch = fleet.watch if seen.watch is None else seen.watch
    facts = Facts(
        running={name: release for name, release in running.items() if name not in apart},
        elapsed_ns=seen.elapsed_ns,
        requests=seen.requests,
        is_proven=_is_proven(rollout, seen, watch),
        alarm=_alarm(fleet, rollout, watch, sightings, now, false_alarm),
    )
    book = advance(fleet.book, facts)
    if book == fleet.book:
        return None
    after = book.rollout
    if after is None or after.phase is Phase.ROLLING_BACK:
        watch = Watch()
    elif after.stage != rollout.stage or not rollout.moved:
        watch = _begun(replace(fleet, book=book), after, sightings)
    changed = hold_quarantined(replace(fleet, book=book, watch=watch))
    verb, told = _told(fleet.book, book)
    # What waits for something beside it goes on waiting, as long as it is compared with the same.
    rest = seen.waiting() if arms(changed) == arms(fleet) else Seen()
    return Step(fleet=changed, verb=verb, facts=told, seen=rest)


def move_step(fleet: Fleet, votes: Mapping[str, Said], *, now_s: float) -> Step | None:
    """What follows for the key that changes its cell; None: nothing.

    Args:
        fleet: as it is written down.
        votes: what hosts said, however long ago.
        now_s: seconds since the epoch.
    """
    before, move = fleet.moves, fleet.moves.move
    if move is None:
        return None
    hosts = [host.name for host in fleet.hosts]
    after = advance_move(before, hosts=hosts, reports=votes, now_s=now_s)
    if after is before:
        return None
    facts = {**key_facts(fleet, move), "after_s": round(now_s - move.since_s, 3)}
    if after.move is not None:
        verb = "flip tenant" if after.move.step is MoveStep.FLIPPED else "hold tenant"
    elif after.ended:
        verb, facts = "tenant not moved", {**facts, "cause": after.ended}
    else:
        verb = "tenant moved"
    return Step(fleet=replace(fleet, moves=after), verb=verb, facts=facts)


def is_progress(before: Fleet, after: Fleet) -> bool:
    """Whether nothing changes but how long something was watched."""
    old, new = before.book.rollout, after.book.rollout
    if old is None or new is None or old.phase is not Phase.BAKING:
        return False
    counts = replace(new, watched_ns=old.watched_ns, requests=old.requests)
    book = replace(after.book, rollout=counts, revision=before.book.revision)
    return replace(after, book=book, watch=before.watch) == before


def _begun(fleet: Fleet, rollout: Rollout, sightings: Sightings) -> Watch:
    """Of a scope that nobody has got it in: what its hosts are like, beside the others."""
    stage, history = rollout.stages[rollout.stage], sightings.history
    moved = replace(rollout, moved=rollout.stage_end)
    beside = arms(replace(fleet, book=replace(fleet.book, rollout=moved)))[1]
    groups = {"": frozenset(stage.instances)}
    groups |= {host: frozenset((host,)) for host in sorted(beside)}
    like, *others = history.likenesses(groups, beside)
    return Watch(like=like, control_like=tuple(others))


def _is_proven(rollout: Rollout, seen: Seen, watch: Watch) -> bool:
    scope = rollout.stages[rollout.stage].scope
    if rollout.watched_ns + seen.elapsed_ns < rollout.rules.bake_ns[scope]:
        return False  # it is not asked yet
    return min(proof(watch, miss=rollout.rules.miss)) >= 1


def _alarm(
    fleet: Fleet,
    rollout: Rollout,
    watch: Watch,
    sightings: Sightings,
    now: Instant,
    false_alarm: float,
) -> str:
    if rollout.phase is Phase.ROLLING_BACK:
        return ""
    for host in rollout.order[: rollout.moved]:
        if trouble := sightings.trouble(fleet, host, now):
            return trouble
    return verdict(watch, false_alarm=false_alarm / len(rollout.stages))


def _catch_up(fleet: Fleet, before: Fleet, sightings: Sightings, now: Instant) -> Step | None:
    """With nothing under way: hosts that were held follow the others, one after the other."""
    if fleet != before:
        return Step(fleet=fleet, verb="hold", facts={"hosts": [e.host for e in fleet.held]})
    wanted = fleet.wanted()
    running = sightings.running(fleet, now)
    if any(release != wanted[name] for name, release in running.items()):
        return None
    for each in fleet.held:
        host = fleet.host(each.host)
        if host is not None and host.cell not in fleet.quarantined:
            left = tuple(other for other in fleet.held if other != each)
            return Step(fleet=replace(fleet, held=left), verb="catch up", facts={"host": each.host})
    return None


def _told(before: Book, after: Book) -> tuple[str, dict[str, Any]]:
    """How the audit calls it."""
    old, new = before.rollout, after.rollout
    assert old is not None
    facts: dict[str, Any] = {"digest": old.digest}
    if new is None:
        return ("promoted" if after.base == old.digest else "rolled back"), facts
    stage = new.stages[new.stage]
    facts |= {"scope": stage.scope.label, "zone": stage.zone, "hosts": new.moved}
    if new.phase is not old.phase and new.phase is Phase.ROLLING_BACK:
        return "alarm", {**facts, "cause": new.cause}
    if new.phase is Phase.BAKING:
        return ("bake" if old.phase is not Phase.BAKING else "watch"), facts
    return ("next scope" if new.stage != old.stage else "move"), facts


def _merge(intervals: dict[str, Interval], interval: Interval) -> None:
    before = intervals.get(interval.host)
    intervals[interval.host] = interval if before is None else before + interval
