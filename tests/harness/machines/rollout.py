"""Promotion in a world where instances take their time, alarms come when they like, and whoever
decides is killed, or is two.

The book in the store is what instances follow. A controller reads it, decides with the real
`advance`, and writes it over the revision that it read. Watched time and requests come in any order
and amount, one unit of each being enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from harness.explorer import Space, explore
from shedproxy.controlplane.rollout import (
    Book,
    Facts,
    Instance,
    Phase,
    RolloutRefusedError,
    RolloutRules,
    advance,
    assigned,
    plan_stages,
    promote,
    zones_in_flight,
)
from shedproxy.core import Nanos

__all__ = ["FLEET", "World", "walk"]

FLEET = (
    Instance(name="i1", cell="c", zone="p"),
    Instance(name="i2", cell="c", zone="p"),
    Instance(name="i3", cell="d", zone="p"),
    Instance(name="i4", cell="c", zone="q"),
    Instance(name="i5", cell="d", zone="r"),
)
ZONES = {one.name: one.zone for one in FLEET}
RULES = RolloutRules(
    bake_ns=(Nanos(1), Nanos(1), Nanos(1), Nanos(1)),
    requests_min=1,
    forward_share=0.05,
    back_share=0.33,
)
BASE, CANDIDATE = "old", "new"
Advance = Callable[[Book, Facts], Book]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The store, the instances, and two who could decide."""

    store: Book
    running: tuple[str, ...] = (BASE,) * len(FLEET)
    """By instance; "" is not heard of."""
    memories: tuple[Book | None, ...] = (None, None)
    """What each of them read last; None: it reads first."""
    has_seen_time: bool = False
    has_seen_requests: bool = False
    """Of the present stage, since it bakes."""
    was_refused: bool = False
    """The candidate has been rolled back at some time."""

    def __str__(self) -> str:
        rollout = self.store.rollout
        state = "no rollout" if rollout is None else (
            f"{rollout.phase.name.lower()} stage {rollout.stage}, {rollout.moved} assigned,"
            f" watched {rollout.watched_ns}, {rollout.requests} requests"
        )  # fmt: skip
        runs = " ".join(
            f"{one.name}={digest or '?'}" for one, digest in zip(FLEET, self.running, strict=True)
        )
        return f"revision {self.store.revision}, base {self.store.base}, {state}; {runs}"

    def heard(self) -> dict[str, str]:
        """Digest by instance, of those that are heard of."""
        return {one.name: digest for one, digest in zip(FLEET, self.running, strict=True) if digest}


def walk(
    *,
    advance: Advance = advance,
    promote: Callable[..., Book] = promote,
    compares: bool = True,
    fleet: tuple[Instance, ...] = FLEET,
    controllers: int = 2,
    stubborn: str = "",
    states_max: int = 400_000,
) -> Space[World]:
    """Explore it; what differs from the defaults is a mistake, or an instance that is `stubborn`:
    it never takes the candidate.
    """
    stages = plan_stages(fleet)

    def steps(world: World) -> Iterator[tuple[str, World]]:
        yield from _instance_steps(world, stubborn)
        if world.store.rollout is None:
            try:
                book = promote(world.store, CANDIDATE, stages, RULES)
            except RolloutRefusedError:
                pass
            else:
                yield "promote", replace(world, store=_small(book))
        for index in range(controllers):
            yield from _controller_steps(world, index, advance, compares)

    return explore(
        [World(store=Book(base=BASE), memories=(None,) * controllers)],
        steps,
        invariant=_wrong,
        step_invariant=_wrong_step,
        goal=lambda world: world.store.rollout is None,
        canonical=_canonical,
        states_max=states_max,
    )


def _small(book: Book) -> Book:
    """The same book; counts that only grow are kept where they mean the same."""
    rollout = book.rollout
    if rollout is not None:
        rollout = replace(
            rollout,
            watched_ns=Nanos(min(1, rollout.watched_ns)),
            requests=min(1, rollout.requests),
        )
    return replace(book, rollout=rollout)


def _canonical(world: World) -> World:
    """Of revisions only counts whether a memory is the store's."""
    now = world.store.revision
    memories = tuple(
        None if book is None else replace(book, revision=int(book.revision == now))
        for book in world.memories
    )
    # Which of the two it is makes no difference.
    ordered = sorted(memories, key=repr)
    return replace(world, store=replace(world.store, revision=1), memories=tuple(ordered))


def _instance_steps(world: World, stubborn: str) -> Iterator[tuple[str, World]]:
    want = assigned(world.store)
    for index, one in enumerate(FLEET):
        running = world.running[index]
        if running != want(one.name) and (one.name, want(one.name)) != (stubborn, CANDIDATE):
            changed = list(world.running)
            changed[index] = want(one.name)
            yield f"{one.name} follows", replace(world, running=tuple(changed))


def _controller_steps(
    world: World, index: int, advance: Advance, compares: bool
) -> Iterator[tuple[str, World]]:
    memory = world.memories[index]

    def remembering(book: Book | None) -> tuple[Book | None, ...]:
        memories = list(world.memories)
        memories[index] = book
        return tuple(memories)

    who = f"controller {index + 1}"
    if memory is None:
        if world.store.rollout is not None:
            yield f"{who} reads", replace(world, memories=remembering(world.store))
        return
    yield f"{who} is killed", replace(world, memories=remembering(None))
    for elapsed, requests, alarm in ((1, 1, ""), (1, 0, ""), (0, 1, ""), (0, 0, "errors")):
        facts = Facts(
            running=world.heard(), elapsed_ns=Nanos(elapsed), requests=requests, alarm=alarm
        )
        book = _small(advance(memory, facts))
        if replace(book, revision=memory.revision) == memory:
            continue
        if compares and memory.revision != world.store.revision:
            yield f"{who} is too late", replace(world, memories=remembering(None))
            continue
        label = f"{who}: " + (alarm or f"time {elapsed}, requests {requests}")
        yield label, _after(world, book, elapsed, requests, remembering(None))


def _after(
    world: World, book: Book, elapsed: int, requests: int, memories: tuple[Book | None, ...]
) -> World:
    before, rollout = world.store.rollout, book.rollout
    bakes = before is not None and before.phase is Phase.BAKING
    is_same = bakes and rollout is not None and rollout.phase is Phase.BAKING
    return replace(
        world,
        store=book,
        memories=memories,
        has_seen_time=is_same and (world.has_seen_time or elapsed > 0),
        has_seen_requests=is_same and (world.has_seen_requests or requests > 0),
        was_refused=world.was_refused
        or (rollout is not None and rollout.phase is Phase.ROLLING_BACK),
    )


# --- what must hold ---------------------------------------------------------------------------


def _wrong(world: World) -> str | None:
    zones = zones_in_flight(world.store, world.heard(), ZONES)
    if len(zones) > 1:
        return f"zones {' and '.join(sorted(zones))} in flight"
    return None


def _wrong_step(before: World, label: str, after: World) -> str | None:
    if after.store.revision < before.store.revision:
        return "the book went back"
    if label == "promote" and before.was_refused:
        return "a digest is promoted again that was rolled back"
    old, new = before.store.rollout, after.store.rollout
    if after.store == before.store or old is None:
        return None
    if before.was_refused and after.store.base == CANDIDATE:
        return "a digest is everywhere that was rolled back"
    if (
        old.phase is not Phase.ROLLING_BACK
        and label.endswith("errors")
        and (new is None or new.phase is not Phase.ROLLING_BACK)
    ):
        return "an alarm does not roll back"
    if old.phase is Phase.ROLLING_BACK and new is not None and new.phase is not old.phase:
        return "a rollback turns round"
    is_end = new is None and after.store.base == CANDIDATE
    if is_end or (new is not None and new.stage > old.stage):
        if new is not None and new.stage > old.stage + 1:
            return "a scope was left out"
        if is_end and old.stage + 1 < len(old.stages):
            return "a scope was left out"
        if not (before.has_seen_time or "time 1" in label):
            return "a scope did not bake long enough"
        if not (before.has_seen_requests or "requests 1" in label):
            return "a scope has not served enough"
    if new is not None:
        if new.moved > old.moved + 1 or old.moved > new.moved + 1:
            return "a step was too large"
        if new.moved > old.moved and set(assigned_differs(before)):
            return "a step before the one before it was done"
    return None


def assigned_differs(world: World) -> Iterator[str]:
    """Instances that do not run yet what they are to run."""
    want = assigned(world.store)
    return (name for name, digest in world.heard().items() if digest != want(name))
