"""A move in a world where hosts crash, boot from their disks, and are heard of late or twice.

The real `begin`, `advance` and `abort` decide. A host fetches, puts on its disk, then in force, as
the feed does; it begins requests where its table says, holds them where that says HELD, and may be
killed between any two steps, leaving work behind that nobody sees until it ends. It says what it
does; whoever decides may find anything that it ever said, or nothing. Whoever decides may be
killed anywhere: it has nothing but the book, which is compared when it is written, so that one who
read it long ago writes nothing. Snapshots are handed on late and in any order: hosts refuse only
what is older than what they had. Hosts join the fleet with nothing but what it hands out from then
on, and leave it when they are off for good.

A request is begun at one cell; one of each host at each cell stands for any number.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.explorer import Space, explore
from shedproxy.controlplane.move import (
    Move,
    MoveBook,
    MoveRefusedError,
    MoveRules,
    MoveStep,
    abort,
    advance,
    begin,
    missing,
)

__all__ = ["Bounds", "Host", "HostRules", "Told", "World", "walk"]

KEY, CELLS = "00000000000000ff", ("a", "b")
HELD = "held"
Advance = Callable[..., MoveBook]


class Told(NamedTuple):
    """A report."""

    table_version: int
    moving: int
    is_settled: bool
    moving_streams: int = 0


class Host(NamedTuple):
    """One proxy. Of versions, `running` is None when it is off."""

    running: int | None = 0
    disk: int = 0
    work: tuple[bool, bool] = (False, False)
    """Whether requests that it began are at work, by cell."""
    unseen: tuple[bool, bool] = (False, False)
    """As above, of its dead processes."""
    waits: bool = False
    said: frozenset[Told] = frozenset()
    """Reports of it that somebody may still read; of equal use, one."""
    is_gone: bool = False
    """It serves on, and is not in the fleet any more."""


class World(NamedTuple):
    """Everything that is anywhere."""

    book: MoveBook
    hosts: tuple[Host, ...]
    places: tuple[str, ...] = ("a",)
    """By version: what its table says, a cell or HELD."""
    memory: MoveBook | None = None
    """What one has read some time ago who does not compare."""
    begun: int = 0
    joined: int = 0

    def __str__(self) -> str:
        move = self.book.move
        state = "no move" if move is None else f"{move.owner} to {move.target} {move.step.label}"
        return f"version {self.book.version}: {state}; " + "; ".join(
            _shown(host, self.places) for host in self.hosts
        )


def _shown(host: Host, places: tuple[str, ...]) -> str:
    places = (*places, *"???")  # of a book that was written over
    runs = "off" if host.running is None else f"{host.running}={places[host.running]}"
    work = "".join(cell for cell, has in zip(CELLS, host.work, strict=True) if has)
    unseen = "".join(cell for cell, has in zip(CELLS, host.unseen, strict=True) if has)
    parts = [f"disk {host.disk}={places[host.disk]}"]
    parts += [f"works at {work}"] if work else []
    parts += [f"has left work at {unseen}"] if unseen else []
    parts += ["waits"] if host.waits else []
    return f"{runs} ({', '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How large the world is."""

    hosts: int = 2
    moves: int = 2
    """Begun in all: there, and back or again."""
    has_waiters: bool = True
    has_kills: bool = True
    joins: int = 0
    """Hosts that come later; without any nobody leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """What hosts do; other values than these are mistakes."""

    keeps_before_running: bool = True
    boots_from: str = "disk"
    refuses_older: bool = True
    counts_unseen: bool = True
    counts_running: bool = True
    holds: bool = True
    waiters_ask_again: bool = True
    says_what_disk_has: bool = True
    comes_with_nothing: bool = True
    is_off_when_it_leaves: bool = True


REAL = advance


def walk(
    bounds: Bounds | None = None,
    *,
    advance: Advance = advance,
    abort: Callable[[MoveBook, str], MoveBook] = abort,
    rules: HostRules | None = None,
    compares: bool = True,
    states_max: int = 400_000,
) -> Space[World]:
    """Explore it; what differs from the defaults is a mistake."""
    bounds = Bounds() if bounds is None else bounds
    how = HostRules() if rules is None else rules

    @functools.cache  # the same host in thousands of worlds
    def host_steps(host: Host, places: tuple[str, ...]) -> list[tuple[str, Host]]:
        return [
            (label, after)
            for label, after in _host_steps(host, places, how)
            if (bounds.has_waiters or not after.waits)
            and (bounds.has_kills or after.running is not None)
        ]

    def steps(world: World) -> Iterator[tuple[str, World]]:
        for index, host in enumerate(world.hosts):
            for label, after in host_steps(host, world.places):
                yield f"{index}: {label}", _with_host(world, index, after)
        yield from _control_steps(world, bounds, advance, abort, compares)
        yield from _coming_and_going(world, bounds, how)

    hosts = (Host(),) * bounds.hosts
    return explore(
        [World(book=MoveBook(), hosts=hosts)],
        steps,
        invariant=_wrong,
        goal=_is_over,
        canonical=_canonical if advance is REAL else _with_all_reports,
        states_max=states_max,
    )


def _is_over(world: World) -> bool:
    """Nothing is under way, and everybody serves at the owner."""
    newest = world.book.version
    return world.book.move is None and all(
        host.running == newest and not host.waits and not any(host.work) for host in world.hosts
    )


# --- hosts --------------------------------------------------------------------------------------


def _host_steps(host: Host, places: tuple[str, ...], how: HostRules) -> Iterator[tuple[str, Host]]:
    for cell, name in enumerate(CELLS):
        if host.work[cell]:
            yield f"work ends at {name}", host._replace(work=_put(host.work, cell, False))
        if host.unseen[cell]:
            yield (
                f"unseen work ends at {name}",
                host._replace(unseen=_put(host.unseen, cell, False)),
            )
    if host.running is None:
        version = host.disk if how.boots_from == "disk" else max(0, host.disk - 1)
        yield "boots", host._replace(running=version)
        return
    unseen = tuple(a or b for a, b in zip(host.work, host.unseen, strict=True))
    yield "is killed", host._replace(running=None, work=(False, False), unseen=unseen, waits=False)
    yield from _serving(host, places[host.running], how)
    for version in range(len(places)):
        yield from _taking(host, version, how)
    told = _report(host, places, how)
    if told not in host.said:
        yield "says so", host._replace(said=host.said | {told})


def _serving(host: Host, place: str, how: HostRules) -> Iterator[tuple[str, Host]]:
    if place == HELD and how.holds:
        if not host.waits:
            yield "holds a request", host._replace(waits=True)
        else:
            yield "tells a waiter no", host._replace(waits=False)
        return
    cell = CELLS.index("a" if place == HELD else place)
    if not host.work[cell]:
        yield f"begins at {CELLS[cell]}", host._replace(work=_put(host.work, cell, True))
    if host.waits and how.waiters_ask_again:
        work = _put(host.work, cell, True)
        yield f"a waiter begins at {CELLS[cell]}", host._replace(waits=False, work=work)


def _taking(host: Host, version: int, how: HostRules) -> Iterator[tuple[str, Host]]:
    """A snapshot that came: on the disk, then in force; one that is older is refused."""
    assert host.running is not None
    if version < host.disk and how.refuses_older:
        return
    if how.keeps_before_running:
        if version != host.disk:
            yield f"keeps {version}", host._replace(disk=version)
        elif host.running != version:
            yield f"turns to {version}", host._replace(running=version)
    elif host.running != version:
        yield f"turns to {version}", host._replace(running=version)
    elif host.disk != version:
        yield f"keeps {version}", host._replace(disk=version)


def _report(host: Host, places: tuple[str, ...], how: HostRules) -> Told:
    assert host.running is not None
    version = min(host.running, host.disk) if how.says_what_disk_has else host.running
    return Told(
        table_version=version,
        moving=int(any(host.work) and how.counts_running),
        is_settled=not any(host.unseen) or not how.counts_unseen,
    )


# --- who is in the fleet ------------------------------------------------------------------------


def _coming_and_going(world: World, bounds: Bounds, how: HostRules) -> Iterator[tuple[str, World]]:
    step = world.book.move.step if world.book.move is not None else None
    if world.joined < bounds.joins and step is not MoveStep.HELD:
        comes = Host(running=None, disk=world.book.version if how.comes_with_nothing else 0)
        hosts = (*world.hosts, comes)
        yield "a host joins", world._replace(hosts=hosts, joined=world.joined + 1)
    if not bounds.joins or step in {MoveStep.MARKED, MoveStep.HELD}:
        return
    for index, host in enumerate(world.hosts):
        if not how.is_off_when_it_leaves and not host.is_gone:
            yield f"{index}: leaves", _with_host(world, index, host._replace(is_gone=True))
        elif host.running is None and not any(host.unseen) and len(world.hosts) > 1:
            hosts = (*world.hosts[:index], *world.hosts[index + 1 :])
            yield f"{index}: leaves", world._replace(hosts=hosts)


# --- who decides --------------------------------------------------------------------------------


def _control_steps(
    world: World, bounds: Bounds, advance: Advance, abort: Callable[..., MoveBook], compares: bool
) -> Iterator[tuple[str, World]]:
    book = world.book
    if book.move is None and world.begun < bounds.moves:
        owner = dict(book.pins).get(KEY, "a")
        target = CELLS[1 - CELLS.index(owner)]
        after = begin(book, KEY, owner=owner, target=target, now_s=0.0, rules=MoveRules())
        yield "begin", _written(world, after)._replace(begun=world.begun + 1)
    deciders = [("", book)]
    if not compares:
        if world.memory != book:
            yield "the second reads", world._replace(memory=book)
        if world.memory is not None and world.memory != book:
            deciders.append(("second: ", world.memory))
    for who, known in deciders:
        if known.move is None:
            continue
        hosts = [str(index) for index, host in enumerate(world.hosts) if not host.is_gone]
        found = [(reports, 0.0) for reports in _found(world)]
        for reports, now_s in (*found, ({}, 1e9)):
            after = advance(known, hosts=hosts, reports=reports, now_s=now_s)
            if after is not known:
                label = after.move.step.label if after.move else after.ended and "give up" or "end"
                yield f"{who}{label}", _written(world, _timeless(after))
        with contextlib.suppress(MoveRefusedError):
            yield f"{who}abort", _written(world, _timeless(abort(known, "asked")))


def _found(world: World) -> list[dict[str, Told]]:
    """What may be read: of each host any of its reports."""
    choices: list[dict[str, Told]] = [{}]
    for index, host in enumerate(world.hosts):
        choices = [
            {**found, **({} if told is None else {str(index): told})}
            for found in choices
            for told in (None, *host.said)
        ]
    return choices


def _timeless(book: MoveBook) -> MoveBook:
    move = book.move
    if move is not None and move.since_s:
        move = replace(move, since_s=0.0)
    return replace(book, move=move, ended="")


def _written(world: World, book: MoveBook) -> World:
    places = world.places
    if book.version != world.book.version:
        places = (*places[: book.version], _place(book))
    return world._replace(book=book, places=places)


def _place(book: MoveBook) -> str:
    move = book.move
    if move is None:
        return dict(book.pins).get(KEY, "a")
    if move.step is MoveStep.HELD:
        return HELD
    return move.target if move.step is MoveStep.FLIPPED else move.owner


# --- what must hold -----------------------------------------------------------------------------


def _wrong(world: World) -> str | None:
    if any(host.disk >= len(world.places) for host in world.hosts):
        return "the book went back"
    at = {
        cell
        for host in world.hosts
        for works in (host.work, host.unseen)
        for cell, has in zip(CELLS, works, strict=True)
        if has
    }
    if len(at) > 1:
        return "work at two cells"
    owners = {
        world.places[version]
        for host in world.hosts
        for version in (host.running, host.disk)
        if version is not None and world.places[version] != HELD
    }
    if len(owners) > 1:
        return "two owners"
    return None


def _with_host(world: World, index: int, host: Host) -> World:
    return world._replace(hosts=(*world.hosts[:index], host, *world.hosts[index + 1 :]))


def _put(values: tuple[bool, bool], cell: int, value: bool) -> tuple[bool, bool]:
    return (value, values[1]) if cell == 0 else (values[0], value)


def _canonical(world: World) -> World:
    """Hosts are alike, and of a host's reports those count that the present step waits for: of the
    others `missing` makes as much as of none, now and later.
    """
    move = world.book.move
    hosts = [
        host if not host.said else host._replace(said=_useful(host.said, move))
        for host in world.hosts
    ]
    return world._replace(hosts=tuple(sorted(hosts, key=_order)))


def _useful(said: frozenset[Told], move: Move | None) -> frozenset[Told]:
    return frozenset(
        told for told in said if move is not None and not missing(move, "0", {"0": told})
    )


def _with_all_reports(world: World) -> World:
    """For those who decide in another way."""
    return world._replace(hosts=tuple(sorted(world.hosts, key=_order)))


def _order(host: Host) -> tuple[object, ...]:
    # None has no order among numbers, nor have sets.
    running = -1 if host.running is None else host.running
    return running, host.disk, host.work, host.unseen, host.waits, host.is_gone, sorted(host.said)
