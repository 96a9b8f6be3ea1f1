"""How a key changes its cell with one owner at every instant: one state machine, pure.

    MARKED   the owner serves as before; every host says that it knows, and counts what runs
    HELD     nobody begins: requests of the key wait in every host, and what runs comes to its end
    FLIPPED  the target owns; waiters go on there, and hosts take the table one by one

This is two-phase commit (Gray, "Notes on data base operating systems", 1978): hosts vote, and what
the book says is the decision. The vote is an acknowledgement of HELD, and it stays true: nothing
of the key runs at that host, nothing can begin, and what is on its disk says HELD too, so that it
begins nothing after a crash either. So a report may be lost, late or repeated, and one that came
once is enough. The flip is written only when every host of the fleet has acknowledged; up to then
everything can be given back to the owner, which nobody else has replaced, by an abort. After it
nothing is: to go back is another move.

Hosts run whatever table they have, newer or older, whether they hear of us or not. What they run
or have on disk is at most one step behind the book until they acknowledge, so that two of them
never serve a key at two cells. That rests on: a host is in `hosts` before it serves, and leaves it
only when it is off for good, or comes back with an empty folder; disks keep what was flushed; work
does not outlive the time that a host waits before it calls itself settled.

Whoever holds cannot know whether somebody else has flipped, so that only the book ends a hold. It
does so after `hold_s`, and requests wait no longer than their own deadlines: while nobody decides
they are refused one by one, and never served twice.
"""

from __future__ import annotations

import bisect
import enum
import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from shedproxy.core import MovePhase, bucket_of, motion_place
from shedproxy.errors import ShedproxyError
from shedproxy.snapshot import CellRouting

__all__ = [
    "Move",
    "MoveBook",
    "MoveRefusedError",
    "MoveRules",
    "MoveStep",
    "Said",
    "abort",
    "advance",
    "begin",
    "cell_of",
    "finder",
    "missing",
    "placed",
]

_CELL_MASK = 0xFF
_OTHER_SHIFT = 8


class MoveRefusedError(ShedproxyError):
    """What was asked for is not done; the message says why."""


class MoveStep(enum.IntEnum):
    """How far a move has come. The first two are also what tables say of the key."""

    MARKED = MovePhase.MARKED
    HELD = MovePhase.HELD
    FLIPPED = 3

    @property
    def label(self) -> str:
        """The word used in logs and answers."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRules:
    """How long a move may take, in seconds."""

    mark_s: float = 300.0
    """Until every host has said that it can hold; longer than a host needs to be settled after a
    start (its drain and response timeouts together)."""
    hold_s: float = 4.0
    """Until nothing of the key runs anywhere; shorter than clients have patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move under way."""

    key: str
    """Hash of the key, 16 hex digits."""
    owner: str
    target: str
    step: MoveStep
    version: int
    """Of the first table that says so."""
    since_s: float
    """When the step began, seconds since the epoch. It bounds waiting, and decides nothing else."""
    rules: MoveRules = field(default_factory=MoveRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveBook:
    """Everything that outlives whoever decides. It may only replace the one it was made from."""

    version: int = 0
    """Of the table: grows with every change, and no two tables have the same."""
    pins: tuple[tuple[str, str], ...] = ()
    """(hash of a key, its cell): those that were moved, sorted."""
    move: Move | None = None
    ended: str = ""
    """What came of the last move: "" when all went well, else why it was aborted."""


class Said(Protocol):
    """What a host says of itself: `shedproxy.snapshot.StatusReport`, early, late or twice."""

    @property
    def table_version(self) -> int:
        """Of the table that all its workers look keys up in, and that its disk has; 0: none."""

    @property
    def moving(self) -> int:
        """Requests of keys in motion that may be at work, streams included."""

    @property
    def moving_streams(self) -> int:
        """Those of them that have no end of their own."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing may be at work that processes have left which are gone."""


def begin(
    book: MoveBook,
    key: str,
    *,
    owner: str,
    target: str,
    now_s: float,
    rules: MoveRules | None = None,
) -> MoveBook:
    """Mark a key.

    Args:
        book: as it is.
        key: hash of the key, 16 hex digits (`shedproxy.snapshot.cell_hash`).
        owner: the cell that it has now (`cell_of`).
        target: the cell that it is to have.
        now_s: seconds since the epoch.
        rules: how long it may take.

    Raises:
        MoveRefusedError: another move is under way, or there is nothing to move.
    """
    if book.move is not None:
        raise MoveRefusedError(
            f"key {book.move.key} is being moved to {book.move.target}: one move at a time"
        )
    if owner == target:
        raise MoveRefusedError(f"it is in cell {target} already")
    version = book.version + 1
    move = Move(
        key=key,
        owner=owner,
        target=target,
        step=MoveStep.MARKED,
        version=version,
        since_s=now_s,
        rules=MoveRules() if rules is None else rules,
    )
    return replace(book, version=version, move=move, ended="")


def abort(book: MoveBook, cause: str) -> MoveBook:
    """Give the key back to its owner.

    Raises:
        MoveRefusedError: nothing is being moved, or the target owns it already.
    """
    move = book.move
    if move is None:
        raise MoveRefusedError("nothing is being moved")
    if move.step is MoveStep.FLIPPED:
        raise MoveRefusedError(
            f"cell {move.target} owns it already: to go back, move it to {move.owner}"
        )
    return replace(book, version=book.version + 1, move=None, ended=cause or "aborted")


def advance(
    book: MoveBook, *, hosts: Collection[str], reports: Mapping[str, Said], now_s: float
) -> MoveBook:
    """One step. The same book, when there is nothing to be done.

    Args:
        book: as it is.
        hosts: every host of the fleet, heard of or not.
        reports: what is known of each, however old it is.
        now_s: seconds since the epoch.
    """
    move = book.move
    if move is None:
        return book
    waits_for = missing(move, hosts, reports)
    if not waits_for:
        return _done(book, move, now_s)
    rules = move.rules
    bound_s = rules.hold_s if move.step is MoveStep.HELD else rules.mark_s
    # Before its beginning, by so much: a clock was set back, and nobody can say how long it lasts.
    if move.step is not MoveStep.FLIPPED and abs(now_s - move.since_s) > bound_s:
        causes = "; ".join(f"{host}: {why}" for host, why in list(waits_for.items())[:5])
        return abort(book, f"after {bound_s:g} s {move.step.label}: {causes}")
    return book


def missing(move: Move, hosts: Collection[str], reports: Mapping[str, Said]) -> dict[str, str]:
    """The hosts that the present step waits for, and why."""
    found = ((host, _missing(move, reports.get(host))) for host in hosts)
    return {host: why for host, why in found if why}


def _missing(move: Move, said: Said | None) -> str:
    if said is None or said.table_version < move.version:
        return f"has not taken table {move.version} yet"
    if move.step is MoveStep.FLIPPED:
        return ""
    if not said.is_settled:
        return "work of processes that are gone may go on"
    if move.step is MoveStep.MARKED:
        # Streams would not end by being held: nobody is made to wait for that.
        return f"{said.moving_streams} streams are open" if said.moving_streams else ""
    return f"{said.moving} requests are at work" if said.moving else ""


def _done(book: MoveBook, move: Move, now_s: float) -> MoveBook:
    """The book after a step that every host has taken."""
    if move.step is MoveStep.FLIPPED:
        return replace(book, move=None)
    version = book.version + 1
    after = replace(move, step=MoveStep(move.step + 1), version=version, since_s=now_s)
    pins = dict(book.pins)
    if after.step is MoveStep.FLIPPED:
        pins[move.key] = move.target
    return replace(book, version=version, move=after, pins=tuple(sorted(pins.items())))


# --- what tables say ----------------------------------------------------------------------------


def placed(book: MoveBook, routing: CellRouting) -> CellRouting:
    """The routing of a document with what the book says: moved keys, and the one that moves. It is
    the same for every document of the fleet, older and held ones included.

    Cells that the routing does not name are added to it; the document must have them.
    """
    if not routing.key:
        return routing
    cells = list(routing.cells)

    def number(cell: str) -> int:
        if cell not in cells:
            cells.append(cell)
        return cells.index(cell)

    pins = dict(routing.pins)
    pins.update((key, number(cell)) for key, cell in book.pins)
    move = book.move
    if move is not None and move.step is not MoveStep.FLIPPED:
        pins[move.key] = motion_place(number(move.owner), number(move.target), int(move.step))
    return replace(
        routing, cells=tuple(cells), pins=tuple(sorted(pins.items())), version=book.version
    )


def cell_of(book: MoveBook, routing: CellRouting, key: str) -> str:
    """The cell that owns a key (hash, 16 hex digits)."""
    return finder(book, routing)(key)


def finder(book: MoveBook, routing: CellRouting) -> Callable[[str], str]:
    """`cell_of` for many keys of the same book and routing."""
    move, moved, pins = book.move, dict(book.pins), dict(routing.pins)
    ends = list(itertools.accumulate(count for _, count in routing.buckets))

    def find(key: str) -> str:
        if move is not None and move.key == key:
            return move.target if move.step is MoveStep.FLIPPED else move.owner
        cell = moved.get(key)
        if cell is not None:
            return cell
        place = pins.get(key)
        if place is None:
            place = routing.buckets[bisect.bisect_right(ends, bucket_of(int(key, 16)))][0]
        return routing.cells[place & _CELL_MASK]

    return find
