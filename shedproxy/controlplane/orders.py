"""What persons can ask of a fleet: each verb a pure function of the fleet that there is.

An order is done whole or refused whole, and a refusal says what is in the way and how to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shedproxy.controlplane.evidence import Watch
from shedproxy.controlplane.fleet import Cell, Fleet, Held, Host, Release, Shift, with_release
from shedproxy.controlplane.move import MoveStep
from shedproxy.controlplane.rollout import (
    Phase,
    RolloutRefusedError,
    RolloutRules,
    plan_stages,
)
from shedproxy.controlplane.rollout import promote as promote_book
from shedproxy.controlplane.rollout import roll_back as roll_back_book
from shedproxy.core import Nanos, to_seconds
from shedproxy.errors import ShedproxyError

__all__ = [
    "HOSTS_MAX",
    "OrderRefusedError",
    "add_host",
    "clone_cell",
    "hold_quarantined",
    "promote",
    "publish",
    "quarantine_cell",
    "remove_host",
    "return_zone",
    "roll_back",
    "shift_zone",
]

HOSTS_MAX = 1000
"""Of one fleet; beyond, another one beside it."""


class OrderRefusedError(ShedproxyError):
    """An order that is not done, as it stands.

    Args:
        place: which part of it is in the way, like "/host"; "" for the whole.
        message: what is in the way.
        help_text: how to go on.
        is_conflict: the fleet is in the way, not the order itself.
    """

    def __init__(
        self, place: str, message: str, *, help_text: str = "", is_conflict: bool = True
    ) -> None:
        self.place = place
        self.help = help_text
        self.is_conflict = is_conflict
        super().__init__(message)


def publish(fleet: Fleet, release: Release) -> Fleet:
    """Let a release be promoted. Nobody runs it by that."""
    if release.digest in fleet.book.refused:
        raise OrderRefusedError(
            "/texts",
            f"these settings are {release.digest}, which was rolled back: they run nowhere again",
            help_text="mend what was wrong with them; any change makes them another release",
        )
    known = fleet.release(release.digest)
    if known is not None and release.digest in fleet.in_use:
        release = known  # its snapshots would be others: nobody is told of one by publishing
    return with_release(fleet, release)


def promote(fleet: Fleet, digest: str, *, first: str = "", rules: RolloutRules) -> Fleet:
    """Begin to give a release to host after host, beginning with `first`; with one that is under
    way, go on by these rules.
    """
    release = _release(fleet, digest)
    instances = fleet.instances
    if first and first not in {each.name for each in instances}:
        _host(fleet, first, "/first")
        raise OrderRefusedError(
            "/first", f"host {first} is held or in quarantine: nothing is promoted to it"
        )
    try:
        stages = plan_stages(instances, first=first)
        book = promote_book(fleet.book, release.digest, stages, rules)
    except RolloutRefusedError as error:
        raise OrderRefusedError("/digest", str(error), help_text=_way_out(fleet)) from None
    is_under_way = fleet.book.rollout is not None
    return replace(fleet, book=book, watch=fleet.watch if is_under_way else Watch())


def roll_back(fleet: Fleet, *, why: str) -> Fleet:
    """Take back what is being promoted; its digest is refused from then on."""
    rollout = fleet.book.rollout
    if rollout is not None and rollout.phase is Phase.ROLLING_BACK:
        raise OrderRefusedError("", f"{rollout.digest} is being rolled back: {rollout.cause}")
    try:
        return replace(fleet, book=roll_back_book(fleet.book, why))
    except RolloutRefusedError as error:
        raise OrderRefusedError(
            "", str(error), help_text="to go back to a release that ran before, promote that one"
        ) from None


def quarantine_cell(fleet: Fleet, cell: str, *, is_over: bool = False) -> Fleet:
    """Let no change reach the hosts of a cell, and nobody be moved there; or end that.

    What is being promoted is rolled back when it has reached them. When the quarantine is over,
    its hosts are brought to what the others run, one after the other.
    """
    known = _cell(fleet, cell, "/cell")
    if known.is_quarantined is not is_over:
        word = "is not" if is_over else "is already"
        raise OrderRefusedError("/cell", f"cell {cell} {word} in quarantine")
    cells = _with_cell(fleet, replace(known, is_quarantined=not is_over))
    if is_over:
        return replace(fleet, cells=cells)
    inside = {host.name for host in fleet.hosts if host.cell == cell}
    book, rollout = fleet.book, fleet.book.rollout
    if rollout is not None and inside & set(rollout.order):
        if rollout.phase is not Phase.ROLLING_BACK:
            book = roll_back_book(book, f"cell {cell} is in quarantine")
        return replace(fleet, cells=cells, book=book)  # they are held when they are back
    return hold_quarantined(replace(fleet, cells=cells))


def hold_quarantined(fleet: Fleet) -> Fleet:
    """The hosts of cells in quarantine keep what they have, unless it is being rolled back."""
    if fleet.book.rollout is not None:
        return fleet
    held, wanted = {each.host for each in fleet.held}, fleet.wanted()
    new = tuple(
        Held(host=host.name, release=wanted[host.name])
        for host in fleet.hosts
        if host.cell in fleet.quarantined and host.name not in held
    )
    return replace(fleet, held=(*fleet.held, *new)) if new else fleet


def clone_cell(fleet: Fleet, source: str, cell: str, hosts: Sequence[Host]) -> Fleet:
    """Another cell with the settings of `source`, on hosts that are in no cell yet."""
    if _cell(fleet, source, "/source").is_quarantined:
        raise OrderRefusedError("/source", f"cell {source} is in quarantine")
    if fleet.cell(cell) is not None:
        raise OrderRefusedError("/cell", f"there is a cell {cell} already")
    if not hosts:
        raise OrderRefusedError(
            "/hosts", "a cell needs a host", help_text="--host NAME@ZONE", is_conflict=False
        )
    fleet = replace(fleet, cells=_with_cell(fleet, Cell(name=cell, like=source)))
    for host in hosts:
        fleet = add_host(fleet, replace(host, cell=cell))
    return fleet


def add_host(fleet: Fleet, host: Host) -> Fleet:
    """A host more: it runs what everybody runs who is not told otherwise. While something is being
    promoted it is held there, and follows when that is over. A key that moves waits for it, too.
    """
    if fleet.host(host.name) is not None:
        raise OrderRefusedError("/host", f"there is a host {host.name} already")
    if len(fleet.hosts) >= HOSTS_MAX:
        raise OrderRefusedError("/host", f"a fleet has {HOSTS_MAX} hosts at most")
    if host.cell in fleet.quarantined:
        raise OrderRefusedError("/cell", f"cell {host.cell} is in quarantine")
    move = fleet.moves.move
    if move is not None and move.step is MoveStep.HELD:
        raise OrderRefusedError(
            "/host",
            f"requests of {fleet.key_name(move.key)} are held just now, and would wait for it",
            help_text="send it again in some seconds",
        )
    held = fleet.held
    if fleet.book.rollout is not None:
        held = (*held, Held(host=host.name, release=fleet.book.base))
    return replace(fleet, hosts=(*fleet.hosts, host), held=held)


def remove_host(fleet: Fleet, name: str) -> Fleet:
    """A host less. It is to be off: what it runs it runs on, and nobody tells it anything any more,
    not even that a key has moved. So none leaves while one is about to.
    """
    _host(fleet, name, "/host")
    move = fleet.moves.move
    if move is not None and move.step is not MoveStep.FLIPPED:
        raise OrderRefusedError(
            "/host",
            f"{fleet.key_name(move.key)} is being moved to cell {move.target}, and {name} has a"
            " say in that",
            help_text="wait for its end (shedproxy control status), or: shedproxy control"
            " abort-move",
        )
    rollout = fleet.book.rollout
    if rollout is not None and name in rollout.order:
        raise OrderRefusedError(
            "/host",
            f"{rollout.digest} is being promoted to {name}",
            help_text=_way_out(fleet),
        )
    return replace(
        fleet,
        hosts=tuple(each for each in fleet.hosts if each.name != name),
        held=tuple(each for each in fleet.held if each.host != name),
        editions=tuple(each for each in fleet.editions if each.host != name),
    )


def shift_zone(fleet: Fleet, zone: str, length: Nanos, *, now_s: int) -> Fleet:
    """Weigh a zone away from now on. One at a time: no fleet is built to lose two."""
    for shift in fleet.shifts:
        if shift.zone != zone and shift.until_s > now_s:
            raise OrderRefusedError(
                "/zone",
                f"zone {shift.zone} is away, and the others carry its load",
                help_text=f"shedproxy control shift-zone {shift.zone} --back",
            )
    until_s = now_s + max(1, round(to_seconds(length)))
    return replace(fleet, shifts=(Shift(zone=zone, until_s=until_s),))


def return_zone(fleet: Fleet, zone: str) -> Fleet:
    """Take a zone back before its time."""
    if zone not in {each.zone for each in fleet.shifts}:
        raise OrderRefusedError("/zone", f"zone {zone} is not away")
    return replace(fleet, shifts=tuple(each for each in fleet.shifts if each.zone != zone))


def _host(fleet: Fleet, name: str, place: str) -> Host:
    host = fleet.host(name)
    if host is None:
        raise OrderRefusedError(
            place, f"there is no host {name}", help_text=_names(fleet), is_conflict=False
        )
    return host


def _names(fleet: Fleet) -> str:
    names = [host.name for host in fleet.hosts]
    return f"hosts: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"


def _cell(fleet: Fleet, name: str, place: str) -> Cell:
    cell = fleet.cell(name)
    if cell is None:
        known = ", ".join(fleet.cell_names)
        raise OrderRefusedError(
            place, f"there is no cell {name}", help_text=f"cells: {known}", is_conflict=False
        )
    return cell


def _with_cell(fleet: Fleet, cell: Cell) -> tuple[Cell, ...]:
    return (*(each for each in fleet.cells if each.name != cell.name), cell)


def _release(fleet: Fleet, digest: str) -> Release:
    """The release of a digest, or of one that begins so."""
    begin = f"sha256:{digest.removeprefix('sha256:')}"
    if any(each.startswith(begin) for each in fleet.book.refused):
        raise OrderRefusedError(
            "/digest", f"{digest} was rolled back before: it is not promoted again"
        )
    found = [each for each in fleet.releases if each.digest.startswith(begin)]
    if len(found) == 1:
        return found[0]
    several = "several releases begin with" if found else "there is no release"
    raise OrderRefusedError(
        "/digest",
        f"{several} {digest}",
        help_text="publish it first: shedproxy control publish FILE",
        is_conflict=False,
    )


def _way_out(fleet: Fleet) -> str:
    if fleet.book.rollout is None:
        return ""
    return "wait for its end (shedproxy control status), or: shedproxy control roll-back --why ..."
