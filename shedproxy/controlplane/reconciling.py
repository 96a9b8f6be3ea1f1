"""One step of a fleet towards what it is to be, pure: what was seen, and what follows from it.

Whoever watches collects what was seen (`Seen`) until a step is worth being written down: what is
lost when he is killed was then neither watched nor held against anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.controlplane.evidence import Arm, Watch, add_period, verdict
from shedproxy.controlplane.fleet import Fleet
from shedproxy.controlplane.move import MoveStep, Said
from shedproxy.controlplane.move import advance as advance_move
from shedproxy.controlplane.orders import hold_quarantined
from shedproxy.controlplane.rollout import Book, Facts, Phase, Rollout, advance
from shedproxy.controlplane.sightings import Interval, Sightings
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be written down."""

    fleet: Fleet
    verb: str
    facts: Mapping[str, Any] = field(default_factory=dict)


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
        watch = fleet.watch if seen.watch is None else seen.watch
        places = watch.slow_from
        watch = add_period(
            watch,
            [_arm(each, places) for each in seen.candidate.values()],
            {each.host: _arm(each, places) for each in seen.control.values()},
        )
        for each in seen.control.values():
            watch = replace(watch, durations=_sum(watch.durations, each.durations))
        seen.watch = watch
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
    held = {each.host for each in fleet.held}
    running = sightings.running(fleet, now)
    facts = Facts(
        running={name: release for name, release in running.items() if name not in held},
        elapsed_ns=seen.elapsed_ns,
        requests=seen.requests,
        alarm=_alarm(fleet, rollout, seen, sightings, now, false_alarm),
    )
    book = advance(fleet.book, facts)
    watch = fleet.watch if seen.watch is None else seen.watch
    if book == fleet.book:
        return None
    after = book.rollout
    if after is None or after.stage != rollout.stage or after.phase is Phase.ROLLING_BACK:
        watch = Watch()
    changed = hold_quarantined(replace(fleet, book=book, watch=watch))
    verb, told = _told(fleet.book, book)
    return Step(fleet=changed, verb=verb, facts=told)


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


def _alarm(
    fleet: Fleet,
    rollout: Rollout,
    seen: Seen,
    sightings: Sightings,
    now: Instant,
    false_alarm: float,
) -> str:
    if rollout.phase is Phase.ROLLING_BACK:
        return ""
    for host in rollout.order[: rollout.moved]:
        if trouble := sightings.trouble(fleet, host, now):
            return trouble
    watch = fleet.watch if seen.watch is None else seen.watch
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


def _arm(interval: Interval, slow_from: tuple[int | None, ...]) -> Arm:
    finished = sum(interval.durations)
    slow = [0 if place is None else sum(interval.durations[place:]) for place in slow_from]
    # Without a bound nothing could have been slow.
    timed = [0 if place is None else finished for place in slow_from]
    return Arm(
        trials=(finished, *timed, interval.requests),
        events=(
            min(interval.errors, finished),
            *slow,
            min(interval.sheds, interval.requests),
        ),
    )


def _sum(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return other if len(one) != len(other) else tuple(map(sum, zip(one, other, strict=True)))
