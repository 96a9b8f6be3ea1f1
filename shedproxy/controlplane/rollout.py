"""How a digest comes to be everywhere, and how it goes away again: one state machine, pure.

A promotion widens by scope: one instance, the rest of its cell in that zone, the rest of the zone,
then every other zone, one after the other. Each scope bakes: it has to be watched for a time and to
have served a number of requests, because time without traffic proves nothing, and until it is known
that no harm is done there. An alarm of the scope
rolls back first and asks later, and a digest that was rolled back is never promoted again. Steps
forward are small and steps back are large (Amazon Builders' Library, "Automating safe, hands-off
deployments": 5 and 33 %).

The plan is one order of instances, and who has the new digest is a prefix of it, so that the whole
state is a number, and going back is the same way in the other direction. The next step is taken
when everybody who is heard of runs what he was assigned: so there is never a second zone in flight.
Only time that was watched counts, which makes it safe to be killed: whoever goes on with the book
goes on where it stood. A book is written only over the revision that it was made from.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shedproxy.core import Nanos, seconds
from shedproxy.errors import ShedproxyError

__all__ = [
    "Book",
    "Facts",
    "Instance",
    "Phase",
    "Rollout",
    "RolloutRefusedError",
    "RolloutRules",
    "Scope",
    "Stage",
    "advance",
    "assigned",
    "plan_stages",
    "promote",
    "roll_back",
    "zones_in_flight",
]


_NO_TIME = Nanos(0)


class RolloutRefusedError(ShedproxyError):
    """What was asked for is not done; the message says why."""


class Scope(enum.IntEnum):
    """How far a promotion has come."""

    INSTANCE = 0
    CELL = 1
    ZONE = 2
    ALL = 3

    @property
    def label(self) -> str:
        """The word used in settings, logs and answers."""
        return self.name.lower()


class Phase(enum.IntEnum):
    """What is being done with the candidate."""

    MOVING = 0
    """The scope gets it, step by step."""
    BAKING = 1
    """All of the scope run it, and are watched."""
    ROLLING_BACK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One proxy, and where it is."""

    name: str
    cell: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Instances that bake together; all in one zone."""

    scope: Scope
    zone: str
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRules:
    """How careful a promotion is."""

    bake_ns: tuple[Nanos, Nanos, Nanos, Nanos] = field(
        default_factory=lambda: (seconds(3600), seconds(3600), seconds(7200), seconds(7200))
    )
    """By scope: how long it must be watched."""
    requests_min: int = 1000
    """And how many requests it must serve meanwhile."""
    forward_share: float = 0.05
    """Most of all instances that get the new digest in one step; one at least."""
    back_share: float = 0.33
    """Most that get the old one back in one step."""
    miss: float = 0.05
    """Probability, about, that a scope is left although the digest does harm there; 1: time and
    requests are enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A promotion under way."""

    digest: str
    stages: tuple[Stage, ...]
    rules: RolloutRules = field(default_factory=RolloutRules)
    phase: Phase = Phase.MOVING
    stage: int = 0
    moved: int = 0
    """Instances, in the order of the stages, that are assigned the digest."""
    watched_ns: Nanos = _NO_TIME
    """How long the stage has baked."""
    requests: int = 0
    """And what it has served since."""
    cause: str = ""
    """Why it is rolled back."""

    @property
    def order(self) -> tuple[str, ...]:
        """The instances in the order in which they get the digest."""
        return tuple(name for stage in self.stages for name in stage.instances)

    @property
    def stage_end(self) -> int:
        """Instances up to the end of the present stage."""
        return sum(len(stage.instances) for stage in self.stages[: self.stage + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Everything that outlives whoever decides."""

    revision: int = 0
    """Grows with every change; a book may only replace the one before it."""
    base: str = ""
    """The digest that everybody runs who is not told otherwise."""
    refused: tuple[str, ...] = ()
    """Digests that were rolled back."""
    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen since the step before."""

    running: Mapping[str, str]
    """Digest by instance, of those that are heard of."""
    elapsed_ns: Nanos = _NO_TIME
    requests: int = 0
    """Served by the present stage."""
    is_proven: bool = True
    """Enough is known of the present scope to say that no harm is done there."""
    alarm: str = ""
    """What is wrong in the present scope; "" for nothing."""


def plan_stages(fleet: Sequence[Instance], *, first: str = "") -> tuple[Stage, ...]:
    """The order of a promotion.

    Args:
        fleet: every instance.
        first: the one to begin with, "" for the first of the fleet.

    Raises:
        RolloutRefusedError: there is nobody, or nobody of that name.
    """
    pilot = next((one for one in fleet if not first or one.name == first), None)
    if pilot is None:
        raise RolloutRefusedError(f"there is no instance {first}" if first else "no instances")
    others = [one for one in fleet if one.name != pilot.name]
    cell = [one for one in others if (one.cell, one.zone) == (pilot.cell, pilot.zone)]
    zone = [one for one in others if one.zone == pilot.zone and one.cell != pilot.cell]
    groups = [(Scope.INSTANCE, pilot.zone, [pilot]), (Scope.CELL, pilot.zone, cell)]
    groups.append((Scope.ZONE, pilot.zone, zone))
    groups += [
        (Scope.ALL, name, [one for one in others if one.zone == name])
        for name in dict.fromkeys(one.zone for one in others if one.zone != pilot.zone)
    ]
    return tuple(
        Stage(scope=scope, zone=name, instances=tuple(one.name for one in members))
        for scope, name, members in groups
        if members
    )


def promote(
    book: Book, digest: str, stages: tuple[Stage, ...], rules: RolloutRules | None = None
) -> Book:
    """Begin to promote a digest; of one that is being promoted, change the rules.

    Raises:
        RolloutRefusedError: it was rolled back before, it is what runs, or another is under way.
    """
    if digest in book.refused:
        raise RolloutRefusedError(f"{digest} was rolled back before: it is not promoted again")
    if book.rollout is not None and book.rollout.digest == digest:
        return _written(book, replace(book.rollout, rules=rules or book.rollout.rules))
    if book.rollout is not None:
        raise RolloutRefusedError(f"{book.rollout.digest} is being promoted")
    if digest == book.base:
        raise RolloutRefusedError(f"{digest} is what runs everywhere")
    if not stages:
        raise RolloutRefusedError("no instances")
    rollout = Rollout(
        digest=digest, stages=stages, rules=RolloutRules() if rules is None else rules
    )
    return _written(book, rollout)


def roll_back(book: Book, cause: str) -> Book:
    """Give back what a promotion under way has changed; its digest is refused from now on.

    Raises:
        RolloutRefusedError: nothing is under way.
    """
    rollout = book.rollout
    if rollout is None:
        raise RolloutRefusedError("nothing is being promoted")
    if rollout.phase is Phase.ROLLING_BACK:
        return book
    refused = tuple(dict.fromkeys((*book.refused, rollout.digest)))
    after = replace(rollout, phase=Phase.ROLLING_BACK, cause=cause)
    return _written(replace(book, refused=refused), after)


def advance(book: Book, facts: Facts) -> Book:
    """One step. The same book, when there is nothing to be done."""
    rollout = book.rollout
    if rollout is None:
        return book
    if facts.alarm and rollout.phase is not Phase.ROLLING_BACK:
        return roll_back(book, facts.alarm)
    want = assigned(book)
    late = [name for name, digest in facts.running.items() if digest != want(name)]
    if rollout.phase is Phase.ROLLING_BACK:
        # Who never took it, or something else, need not take it first to be given the old one.
        return book if any(want(name) == book.base for name in late) else _step_back(book, rollout)
    if late:
        return book
    match rollout.phase:
        case Phase.BAKING:
            return _bake(book, rollout, facts)
        case _:
            return _step_forward(book, rollout, facts)


class _Assigned:
    """Which digest an instance is to run."""

    __slots__ = ("_base", "_digest", "_has_it")

    def __init__(self, book: Book) -> None:
        rollout = book.rollout
        self._base = book.base
        self._digest = "" if rollout is None else rollout.digest
        self._has_it = frozenset(() if rollout is None else rollout.order[: rollout.moved])

    def __call__(self, name: str) -> str:
        return self._digest if name in self._has_it else self._base


def assigned(book: Book) -> _Assigned:
    """Which digest each instance is to run: `assigned(book)(name)`."""
    return _Assigned(book)


def zones_in_flight(
    book: Book, running: Mapping[str, str], zone_of: Mapping[str, str]
) -> frozenset[str]:
    """The zones in which something changes, or has changed and is not yet proven."""
    want = assigned(book)
    zones = {zone_of[name] for name, digest in running.items() if digest != want(name)}
    rollout = book.rollout
    if rollout is not None and rollout.phase is not Phase.ROLLING_BACK and rollout.moved:
        zones.add(rollout.stages[rollout.stage].zone)
    return frozenset(zones)


def _step_forward(book: Book, rollout: Rollout, facts: Facts) -> Book:
    if rollout.moved < rollout.stage_end:
        moved = min(rollout.stage_end, rollout.moved + _step(rollout, rollout.rules.forward_share))
        return _written(book, replace(rollout, moved=moved))
    stage = rollout.stages[rollout.stage]
    if not any(name in facts.running for name in stage.instances):
        return book  # nobody there to prove anything
    return _written(book, replace(rollout, phase=Phase.BAKING, watched_ns=_NO_TIME, requests=0))


def _bake(book: Book, rollout: Rollout, facts: Facts) -> Book:
    rules, stage = rollout.rules, rollout.stages[rollout.stage]
    watched = Nanos(rollout.watched_ns + facts.elapsed_ns)
    requests = rollout.requests + facts.requests
    is_long_enough = watched >= rules.bake_ns[stage.scope] and requests >= rules.requests_min
    if not (is_long_enough and facts.is_proven):
        if not (facts.elapsed_ns or facts.requests):
            return book
        return _written(book, replace(rollout, watched_ns=watched, requests=requests))
    if rollout.stage + 1 == len(rollout.stages):
        return _written(replace(book, base=rollout.digest), None)
    return _written(book, replace(rollout, phase=Phase.MOVING, stage=rollout.stage + 1))


def _step_back(book: Book, rollout: Rollout) -> Book:
    if not rollout.moved:
        return _written(book, None)
    moved = max(0, rollout.moved - _step(rollout, rollout.rules.back_share))
    # No further than the zone that is being given back.
    zone, floor = "", 0
    end = 0
    for stage in rollout.stages:
        if stage.zone != zone:
            zone, floor = stage.zone, end
        end += len(stage.instances)
        if rollout.moved <= end:
            break
    return _written(book, replace(rollout, moved=max(moved, floor)))


def _step(rollout: Rollout, share: float) -> int:
    return max(1, math.floor(round(share * len(rollout.order), 6)))


def _written(book: Book, rollout: Rollout | None) -> Book:
    return replace(book, revision=book.revision + 1, rollout=rollout)
