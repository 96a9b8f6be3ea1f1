"""Three cells in a ring that lend each other room, in every order of what can happen.

A cell's books are the real ones (`SpillBook`); what the Shedder does with them is short, and
written down here. Time passes in steps of `WATCH_NS`, in which everybody is looked at twice a
second; between two steps anything may happen, in any order, at one instant.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.explorer import Space, explore
from shedproxy.core import LENT_SHARE, NS_PER_S, WATCH_NS, Instant, SpillBar, SpillBook

__all__ = ["Order", "World", "walk"]

NAMES = "abc"
LIMITS = (1, 2, 2)
_NOW = Instant(10 * WATCH_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked before a request goes to another cell; other values than these are mistakes."""

    asks_sender: bool = True
    asks_whether_taker_sends: bool = True
    keeps_peak: bool = True
    keeps_half: bool = True
    remembers_guests: bool = True
    heeds_failure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: what it runs, its books, and what an observer knows of it."""

    own: int = 0
    guests: int = 0
    peak: int = 0
    former_peak: int = 0
    sends: bool = False
    hosts: bool = False
    failed: bool = False
    own_before: int = 0
    """Of its own, when time passed last."""
    sent_lately: bool = False
    hosted_lately: bool = False
    """In this step, or guests were there when time passed."""
    failed_lately: bool = False


World = tuple[Cell, Cell, Cell]


def walk(order: Order | None = None) -> Space[World]:
    """Explore it."""
    how = Order() if order is None else order
    wrong: dict[tuple[World, str, World], str] = {}

    def steps(world: World) -> Iterator[tuple[str, World]]:
        for label, after, what in _steps(world, how):
            if what:
                wrong[world, label, after] = what
            yield label, after

    return explore(
        [(Cell(), Cell(), Cell())],
        steps,
        step_invariant=lambda before, label, after: wrong.get((before, label, after)),
        canonical=lambda world: tuple(map(_plain, world, LIMITS)),
        goal=lambda world: world == (Cell(), Cell(), Cell()),
    )


def _steps(world: World, how: Order) -> Iterator[tuple[str, World, str]]:
    yield "time passes", tuple(_pass_time(cell, how) for cell in world), ""
    for index, cell in enumerate(world):
        name = NAMES[index]
        if cell.own:
            yield f"one of {name}'s own ends", _put(world, index, own=cell.own - 1), ""
        if cell.guests:
            gone = _put(world, index, guests=cell.guests - 1)
            yield f"a guest of {name} ends", gone, ""
            failed = _put(gone, index, failed=how.heeds_failure, failed_lately=True)
            yield f"{name}'s service fails a guest", failed, ""
        if cell.own + cell.guests < LIMITS[index]:
            yield f"one comes to {name}", _put(world, index, own=cell.own + 1), ""
        else:
            yield _send(world, index, how)


def _send(world: World, index: int, how: Order) -> tuple[str, World, str]:
    """A cell is full: its neighbour is asked, and takes it or does not."""
    cell, other = world[index], (index + 1) % 3
    host, limit = world[other], LIMITS[other]
    name, its = NAMES[index], NAMES[other]
    if how.asks_sender and not _may_send(cell):
        return f"{name} refuses one", world, _refused(cell, LIMITS[index])
    takes, peak = _look(host, limit if how.keeps_half else 2 * limit)
    looked = _put(world, other, peak=peak if how.keeps_peak else 0)
    if not takes:
        return f"{name} refuses one", looked, _refused(cell, LIMITS[index])
    after = _put(_put(looked, index, sends=how.asks_whether_taker_sends, sent_lately=True),
                 other, guests=host.guests + 1, hosts=how.remembers_guests,
                 hosted_lately=True)  # fmt: skip
    return f"{name} sends one to {its}", after, _sent(cell, host, limit)


@functools.cache
def _plain(cell: Cell, limit: int) -> Cell:
    """The same as far as anything depends on it: a peak that leaves no room leaves none."""
    half = int(limit * LENT_SHARE)
    return replace(
        cell,
        peak=min(cell.peak, half),
        former_peak=min(cell.former_peak, half),
        own_before=min(cell.own_before, half),
        failed_lately=cell.failed_lately and half > 0,
        failed=cell.failed and half > 0,
    )


@functools.cache
def _may_send(cell: Cell) -> bool:
    return not _book(cell).bar_to_send(guests=cell.guests, now=_NOW)


@functools.cache
def _look(host: Cell, limit: int) -> tuple[bool, int]:
    """Whether it takes one, and the peak that it knows of after having been looked at."""
    book = _book(host)
    bar = book.bar_to_take(limit=limit, own=host.own, guests=host.guests, cost=1, now=_NOW)
    return not bar, book._peak


def _refused(cell: Cell, limit: int) -> str:
    if cell.guests and 2 * cell.own < limit:
        return "guests keep a cell's own out below half of its limit"
    return ""


def _sent(cell: Cell, host: Cell, limit: int) -> str:
    if cell.guests or cell.hosted_lately:
        return "a host sends one on"
    if host.sent_lately:
        return "who sends takes one"
    if host.failed_lately:
        return "a service that has just failed one gets another"
    half = int(limit * LENT_SHARE)
    if host.own + host.guests + 1 > half or host.own_before + host.guests + 1 > half:
        return "more than half is lent, or what its own had"
    return ""


@functools.cache
def _pass_time(cell: Cell, how: Order) -> Cell:
    """Everything stays as it is for a while, and is looked at."""
    book = _book(cell)
    now = _NOW
    while now < _NOW + WATCH_NS:
        now = Instant(now + NS_PER_S // 2)
        book.look(cell.own, now)
    return replace(
        cell,
        peak=book._peak if how.keeps_peak else 0,
        former_peak=book._former_peak if how.keeps_peak else 0,
        sends=False,
        failed=False,
        hosts=how.remembers_guests and bool(cell.guests),
        own_before=cell.own,
        sent_lately=False,
        failed_lately=False,
        hosted_lately=bool(cell.guests),
    )


def _book(cell: Cell) -> SpillBook:
    """The books of a cell that has been watched for long."""
    book = SpillBook(now=Instant(0))
    book.guests = cell.guests
    book._looked_at = book._turned_at = _NOW
    book._peak, book._former_peak = cell.peak, cell.former_peak
    for is_so, act in ((cell.sends, book.send), (cell.failed, book.fail)):
        if is_so:
            act(_NOW)
    if cell.hosts:
        book.take(0, _NOW)
    assert book.bar_to_send(guests=cell.guests, now=Instant(_NOW + WATCH_NS)) is (
        SpillBar.IS_HOST if cell.guests else SpillBar.NONE
    )
    return book


def _put(world: World, index: int, **values: object) -> World:
    cells = list(world)
    cells[index] = replace(cells[index], **values)
    return cells[0], cells[1], cells[2]
