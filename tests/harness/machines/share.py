"""Workers that share a limit, one call of `CellShare` after the other, in every order.

A request goes the way that it goes in the core: look whether there is room, write what is then in
flight; without room say since when somebody waits, and look a last time. Whoever frees a slot, and
whoever has taken one after it said that it waits, wakes who is first in line. Between any two of
these calls every other worker may do its next one. There is no timer here that looks again, so that
a wake-up that is lost is lost for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.explorer import Space, explore
from shedproxy.core import SHARE_FIELDS, SHARE_WORDS, CellShare

__all__ = ["Order", "World", "walk"]

IDLE, LOOKED, FULL, CLAIMED, WAITS, FREED = "idle", "looked", "full", "claimed", "waits", "freed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is done in which order; other values than these are mistakes."""

    claims_before_last_look: bool = True
    writes_before_waking: bool = True
    wakes: bool = True
    looks_at_others: bool = True
    unclaims: bool = True
    looks_when_woken: bool = True
    passes_on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The words, and where each worker is."""

    words: tuple[int, ...]
    at: tuple[str, ...]
    bells: tuple[bool, ...]
    running: tuple[int, ...]
    """Requests that each really runs."""

    def __str__(self) -> str:
        workers = len(self.at)
        rows = zip(
            self.at, self.running, self.words, self.words[workers : 2 * workers], self.bells,
            strict=False,
        )  # fmt: skip
        return "; ".join(
            f"{at}, runs {run}, says {said}" + (", claims" if claim else "") + (" *" * bell)
            for at, run, said, claim, bell in rows
        )


def walk(
    *, workers: int = 2, limit: int = 1, most: int = 2, order: Order | None = None
) -> Space[World]:
    """Explore it: `most` requests run in one worker at once."""
    how = Order() if order is None else order
    start = World(
        words=(0,) * (SHARE_FIELDS * workers),
        at=(IDLE,) * workers,
        bells=(False,) * workers,
        running=(0,) * workers,
    )

    def wrong(world: World) -> str | None:
        total = sum(world.running)
        if total > limit + workers - 1:
            return f"{total} run of {limit}, by {workers} workers"
        is_quiet = all(at in {IDLE, WAITS} for at in world.at) and not any(world.bells)
        if is_quiet and world.words[:workers] != world.running:
            return "what is said is not what runs"
        if is_quiet and WAITS in world.at and total < limit:
            return "somebody waits beside a free slot, and nobody will wake it"
        return None

    return explore(
        [start],
        lambda world: _steps(world, limit, most, how),
        invariant=wrong,
        goal=lambda world: not sum(world.running) and all(at == IDLE for at in world.at),
    )


def _steps(world: World, limit: int, most: int, how: Order) -> Iterator[tuple[str, World]]:
    for own in range(len(world.at)):
        for label, after in _step(world, own, limit, most, how):
            yield f"{own}: {label}", after


class _Turn:
    """One alternative: a worker on its own copy of the page."""

    def __init__(self, world: World, own: int) -> None:
        self._world, self._own = world, own
        workers = len(world.at)
        words = bytearray(SHARE_WORDS * workers * 8)
        self._page = memoryview(words).cast("q")
        self._said = self._page[: len(world.words)]
        for word, value in enumerate(world.words):
            self._said[word] = value
        self.bells = list(world.bells)
        self.share = CellShare(
            self._page, workers=workers, own=own, parts=workers, part=own, wake=self._wake
        )

    def _wake(self, worker: int) -> None:
        self.bells[worker] = True

    def then(self, at: str, running: int) -> World:
        return replace(
            self._world,
            words=tuple(self._said),
            at=_put(self._world.at, self._own, at),
            bells=tuple(self.bells),
            running=_put(self._world.running, self._own, running),
        )

    def take(self, running: int, how: Order) -> World:
        """It has its slot; there may be one more that nobody else has seen."""
        self.share.put(running + 1)
        if how.unclaims:
            self.share.claim(0)
        return self.then(FREED if how.passes_on else IDLE, running + 1)


def _step(world: World, own: int, limit: int, most: int, how: Order) -> Iterator[tuple[str, World]]:
    turn, running = _Turn(world, own), world.running[own]
    share = turn.share
    has_room = (share.total() if how.looks_at_others else running) < limit
    match world.at[own]:
        case "idle":
            if running < most:
                yield "a request comes, and looks", turn.then(LOOKED if has_room else FULL, running)
            if running:
                yield "one ends", _end(_Turn(world, own), running, limit, how)
        case "looked":
            # It has not said that it waits, so that nobody can have left it a slot too many.
            share.put(running + 1)
            yield "takes it", turn.then(IDLE, running + 1)
        case "full" if how.claims_before_last_look:
            share.claim(1 + own)
            yield "says that it waits", turn.then(CLAIMED, running)
        case "full":
            yield "looks a last time", turn.then(LOOKED if has_room else CLAIMED, running)
        case "claimed" if not how.claims_before_last_look:
            share.claim(1 + own)
            yield "says that it waits", turn.then(WAITS, running)
        case "claimed":
            after = turn.take(running, how) if has_room else turn.then(WAITS, running)
            yield "looks a last time", after
        case "waits":
            if turn.bells[own]:
                turn.bells[own] = False
                looks = how.looks_when_woken and has_room
                after = turn.take(running, how) if looks else turn.then(WAITS, running)
                yield "is woken, and looks", after
            if running:
                mine = _Turn(world, own)
                mine.share.put(running - 1)
                mine.share.pass_on(limit)
                # It waits itself, and looks at what it frees.
                mine.bells[own] = True
                yield "one of its own ends", mine.then(WAITS, running - 1)
        case _:
            if not how.writes_before_waking:
                share.put(running)
            elif how.wakes:
                share.pass_on(limit)
            yield "wakes who is first", turn.then(IDLE, running)


def _end(turn: _Turn, running: int, limit: int, how: Order) -> World:
    if how.writes_before_waking:
        turn.share.put(running - 1)
    else:
        turn.share.pass_on(limit)
    return turn.then(FREED, running - 1)


def _put(values: tuple, own: int, value: object) -> tuple:
    return (*values[:own], value, *values[own + 1 :])
