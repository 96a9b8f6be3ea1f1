"""What persons can ask of where a key is: pure, over what the settings of its hosts say of it.

What was moved stays where it was moved, whatever settings run: the fleet lays its moved keys over
the table of every release, older ones and held ones included. That holds only while all of them
hash keys alike and have the cells; who would change that is refused. Only keys that the settings of
all hosts pin to their cells themselves can be forgotten here: when they are to be hashed otherwise,
or are too many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.controlplane.fleet import Fleet, MovedKey
from shedproxy.controlplane.move import (
    Move,
    MoveBook,
    MoveRefusedError,
    MoveRules,
    MoveStep,
    abort,
    begin,
    cell_of,
    finder,
)
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.snapshot import CellRouting, cell_hash, written_key

__all__ = [
    "KEYS_HELP",
    "MOVED_MAX",
    "Asked",
    "Placing",
    "abort_move",
    "check_published",
    "forget_stated",
    "is_hashed_alike",
    "key_facts",
    "move_tenant",
    "why_not",
]

MOVED_MAX = 10_000
"""Keys that the fleet itself remembers: each is in every revision of the ledger."""
KEYS_HELP = (
    "pin moved keys in cells.pins of settings that hash keys as now, and promote those first;"
    " shedproxy control status --json names them"
)
"""What to do about settings that keys are in the way of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is to be moved, and where."""

    key: str
    """As requests have it."""
    to: str
    demand_rps: float = 0.0
    """What it asks for at its peak; 0: nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """What the settings of some hosts say of keys, and of the cells that they may be in."""

    routing: CellRouting
    cells: frozenset[str]
    most_rps: Mapping[str, float] = field(default_factory=dict)
    """The maximum of cells, as far as it is known."""
    placed_rps: Mapping[str, float] = field(default_factory=dict)
    """What they are to carry, as far as it is said."""
    is_believed: bool = True
    """Somebody is trusted to say the key."""
    upstreams: frozenset[tuple[str, str]] = frozenset()
    """URL and zone of each; empty: hosts have their own."""


def move_tenant(
    fleet: Fleet, asked: Asked, placings: Collection[Placing], *, rules: MoveRules, now_s: float
) -> tuple[Fleet, dict[str, Any]]:
    """Begin to move a key, and what the audit says of it.

    Args:
        fleet: as it is.
        asked: for what.
        placings: of all settings that a host runs, or may be given without another order.
        rules: how long it may take.
        now_s: seconds since the epoch.

    Raises:
        OrderRefusedError: it cannot be moved there.
    """
    _check_alone(fleet)
    routing = _common_routing(placings)
    key, name = _hashed(routing, asked.key)
    _check_target(fleet, asked.to, placings)
    owners = {cell_of(fleet.moves, each.routing, key) for each in placings}
    if len(owners) > 1:
        raise OrderRefusedError(
            "/key",
            f"settings that hosts run have it in different cells: {', '.join(sorted(owners))}",
            help_text="wait until all run the same (shedproxy control status)",
        )
    (owner,) = owners
    if len(fleet.moves.pins) >= MOVED_MAX:
        fleet = forget_stated(fleet, placings)
    if key not in dict(fleet.moves.pins) and len(fleet.moves.pins) >= MOVED_MAX:
        raise OrderRefusedError(
            "/key",
            f"{MOVED_MAX} keys were moved, and no more are remembered",
            help_text="say in cells.pins of the settings where they are now, and promote that",
        )
    if owner == asked.to:
        raise OrderRefusedError("/to", f"{name or key} is in cell {owner} already")
    if not asked.demand_rps:  # somebody may have said it before
        known_rps = [each.demand_rps for each in fleet.moved if each.key == key]
        asked = replace(asked, demand_rps=sum(known_rps))
    fleet = _with_moved(fleet, MovedKey(key=key, name=name, demand_rps=asked.demand_rps))
    book = begin(fleet.moves, key, owner=owner, target=asked.to, now_s=now_s, rules=rules)
    for placing in placings:
        _check_room(fleet, asked, placing, key)
    assert book.move is not None
    return replace(fleet, moves=book), key_facts(fleet, book.move)


def abort_move(fleet: Fleet, *, why: str) -> tuple[Fleet, dict[str, Any]]:
    """Give the key that moves back to its cell, and what the audit says of it.

    Raises:
        OrderRefusedError: none moves, or the other cell has it already.
    """
    move = fleet.moves.move
    try:
        book = abort(fleet.moves, why or "by order")
    except MoveRefusedError as error:
        raise OrderRefusedError("", str(error)) from None
    assert move is not None
    return replace(fleet, moves=book), key_facts(fleet, move)


def key_facts(fleet: Fleet, move: Move) -> dict[str, Any]:
    """What the audit says of a move."""
    name = next((each.name for each in fleet.moved if each.key == move.key), "")
    return {"key": move.key, "name": name, "from": move.owner, "to": move.target}


def check_published(fleet: Fleet, new: Placing, before: Placing) -> None:
    """Refuse settings that do not go with the keys that were moved, or move.

    Args:
        fleet: as it is.
        new: what the new settings say.
        before: what those say that the same hosts run now.

    Raises:
        OrderRefusedError: they do not.
    """
    if fleet.moves.move is not None and new.routing != before.routing:
        raise OrderRefusedError(
            "/texts",
            f"these settings change [cells] while {_moving(fleet)}",
            help_text=_way_out(fleet),
        )
    if why := why_not(fleet, new, before.routing):
        raise OrderRefusedError("/texts", f"these settings {why}", help_text=KEYS_HELP)
    names = new.routing.cells
    stated = {key: names[place] for key, place in new.routing.pins}
    for key, cell in fleet.moves.pins:
        if stated.get(key, cell) != cell:
            raise OrderRefusedError(
                "/texts",
                f"these settings pin {fleet.key_name(key)} to cell {stated[key]}, and it was moved"
                f" to {cell}",
                help_text=f'say "{cell}" in cells.pins, or move it: shedproxy control move-tenant',
            )


def why_not(fleet: Fleet, placing: Placing, like: CellRouting) -> str:
    """Why hosts with these settings could not have moved keys where they are; "": they can.

    Args:
        fleet: as it is.
        placing: what the settings say.
        like: what other hosts of the fleet say of keys.
    """
    book, routing = fleet.moves, placing.routing
    count = len(book.pins) + (book.move is not None)
    if not count:
        return ""
    known = f"{count} moved key{'s' if count > 1 else ''}"
    if not is_hashed_alike(routing, like):
        return f"have another cells.key or cells.secret, by which {known} would not be found"
    missing = sorted(set(_cells_needed(book)) - placing.cells)
    if missing:
        return f"have no cell {missing[0]}, and {known} need it"
    move = book.move
    if move is not None and move.step is not MoveStep.FLIPPED:
        place = cell_of(replace(book, move=None), routing, move.key)
        if place != move.owner:
            return f"have {fleet.key_name(move.key)} in cell {place}, and it moves from another"
    return ""


def is_hashed_alike(one: CellRouting, other: CellRouting) -> bool:
    """Whether a key has the same hash in both."""
    return (one.key, one.secret) == (other.key, other.secret)


def forget_stated(fleet: Fleet, placings: Collection[Placing]) -> Fleet:
    """Without the keys that all these settings pin to the very cell by themselves. No table is
    another one by that.
    """
    book = fleet.moves
    if book.move is not None or not book.pins or not placings:
        return fleet
    stated = set.intersection(
        *(
            {(key, each.routing.cells[place]) for key, place in each.routing.pins}
            for each in placings
        )
    )
    pins = tuple(pin for pin in book.pins if pin not in stated)
    kept = {key for key, _ in pins}
    moved = tuple(each for each in fleet.moved if each.key in kept)
    return replace(fleet, moves=replace(book, pins=pins), moved=moved)


# --- inside -------------------------------------------------------------------------------------


def _moving(fleet: Fleet) -> str:
    move = fleet.moves.move
    assert move is not None
    return f"{fleet.key_name(move.key)} is being moved to cell {move.target}"


def _way_out(fleet: Fleet) -> str:
    move = fleet.moves.move
    assert move is not None
    if move.step is MoveStep.FLIPPED:
        return (
            "it ends when all hosts know (shedproxy control status); one that is off for good does"
            " not: shedproxy control remove-host"
        )
    return "wait for its end (shedproxy control status), or: shedproxy control abort-move"


def _check_alone(fleet: Fleet) -> None:
    if fleet.moves.move is not None:
        raise OrderRefusedError(
            "/key",
            f"{_moving(fleet)}: one move at a time",
            help_text=_way_out(fleet),
        )


def _common_routing(placings: Collection[Placing]) -> CellRouting:
    """What all settings of the fleet have in common: how a key is found, and hashed."""
    routings = [each.routing for each in placings]
    if not routings:
        raise OrderRefusedError("", "the fleet has no hosts")
    if not all(each.key for each in routings):
        where = "settings" if not any(each.key for each in routings) else "settings of some hosts"
        raise OrderRefusedError(
            "/key",
            f"{where} spread requests over cells by no key",
            help_text="set [cells] key, and promote that",
        )
    if not all(each.is_believed for each in placings):
        name = routings[0].key.partition(":")[2]
        raise OrderRefusedError(
            "/key",
            f"cells.key has no effect: nobody is trusted to send {name}",
            help_text="set server.trusted_proxies, and promote that",
        )
    if not all(is_hashed_alike(routings[0], each) for each in routings):
        raise OrderRefusedError(
            "/key",
            "settings that hosts run differ in cells.key or cells.secret",
            help_text="a key can be moved when all of them hash it alike",
        )
    return routings[0]


def _hashed(routing: CellRouting, key: str) -> tuple[str, str]:
    """The hash of a key, and its name, unless that is a credential."""
    kind = routing.key.partition(":")[0]
    try:
        found = written_key(kind, key)
    except ValueError as error:
        raise OrderRefusedError("/key", str(error), is_conflict=False) from None
    name = key.strip() if kind == "@client" else found.decode()
    return f"{cell_hash(routing.secret)(found):016x}", "" if kind == "api-key" else name


def _check_target(fleet: Fleet, target: str, placings: Collection[Placing]) -> None:
    common = frozenset.intersection(*(each.cells for each in placings))
    if target not in common:
        is_known = any(target in each.cells for each in placings)
        raise OrderRefusedError(
            "/to",
            f"not all settings that hosts run have a cell {target}"
            if is_known
            else f"there is no cell {target} in the settings",
            help_text=f"cells: {', '.join(sorted(common))}",
            is_conflict=is_known,
        )
    if target in fleet.quarantined:
        raise OrderRefusedError(
            "/to",
            f"cell {target} is in quarantine",
            help_text=f"shedproxy control quarantine-cell {target} --end",
        )


def _check_room(fleet: Fleet, asked: Asked, placing: Placing, key: str) -> None:
    """A cell has a fixed maximum, and nobody is placed beyond it."""
    most_rps, placed_rps = placing.most_rps.get(asked.to), placing.placed_rps.get(asked.to)
    if most_rps is None or (placed_rps is None and not asked.demand_rps):
        return
    if not asked.demand_rps:
        raise OrderRefusedError(
            "/demand",
            f"cell {asked.to} carries {most_rps:.4g}/s at most, and nobody says what would come",
            help_text="--demand RPS: what the key asks for at its peak",
            is_conflict=False,
        )
    home = finder(MoveBook(), placing.routing)
    placed_rps = (placed_rps or 0.0) + sum(_moved_rps(fleet, home, asked.to, but=key))
    wanted_rps = placed_rps + (0.0 if home(key) == asked.to else asked.demand_rps)
    if wanted_rps > most_rps:
        raise OrderRefusedError(
            "/to",
            f"cell {asked.to} has no room: {placed_rps:.4g}/s are placed on it,"
            f" {asked.demand_rps:.4g}/s would come, and its maximum is {most_rps:.4g}/s",
            help_text="take another cell, or give this one upstreams and promote that",
        )


def _moved_rps(fleet: Fleet, home: Callable[[str], str], cell: str, *, but: str) -> Iterator[float]:
    """What moved keys add to what settings place on a cell, and take away from it."""
    pins = dict(fleet.moves.pins)
    for each in fleet.moved:
        now = pins.get(each.key)
        if now is None or each.key == but:
            continue
        yield each.demand_rps * ((now == cell) - (home(each.key) == cell))


def _with_moved(fleet: Fleet, new: MovedKey) -> Fleet:
    """The fleet that knows of a key more, and of none that is where settings have it."""
    kept = {key for key, _ in fleet.moves.pins} - {new.key}
    others = tuple(each for each in fleet.moved if each.key in kept)
    return replace(fleet, moved=(*others, new))


def _cells_needed(book: MoveBook) -> Iterator[str]:
    for _, cell in book.pins:
        yield cell
    if (move := book.move) is not None:
        yield from (move.owner, move.target)
