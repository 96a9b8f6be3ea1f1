"""What is done about hosts that are bad: one step of a state machine over the ledger. Pure.

A step is told facts (who is bad, who has proven itself, how many hosts the demand takes) and
answers with the next ledger and what is to be done once that ledger is safe. It knows no time, so
that every order of facts can be walked (`tests/property/test_magazine_machine.py`).

A host costs its bullet once: taken out again while it proves itself, it costs no second one. Where
an orchestrator replaces hosts, it is asked for a new one first (surge) and told to end the old one
when that is up. A cell that is frozen takes nobody out, and gives back who was taken out for what
looks like the fault of the check.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from shedproxy.core.magazine import (
    GLOBAL,
    Bullet,
    BulletState,
    Errand,
    Ledger,
    OutlierReason,
    domains_of,
    magazine_cap,
    magazine_size,
)

__all__ = ["Act", "CellFacts", "Deed", "HostFacts", "decide", "has_room", "sizes_for"]


class Act(enum.IntEnum):
    """What is to be done, once the ledger that says so is safe."""

    EJECT = 0
    """Give the host no more requests."""
    RETURN = 1
    """Give it requests again, few at first."""
    FAIL_OPEN = 2
    """Give it requests again at once: the check is not believed any more."""
    RELOAD = 3
    """A bullet is back; nothing else changes."""
    ASK = 4
    """Ask the orchestrator for another host."""
    TELL = 5
    """Tell the orchestrator to end the old host."""
    SPARE = 6
    """A host is bad and stays: a magazine is empty. Nothing is done but to page somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What is known of a configured host."""

    host: str
    zone: str = ""
    reason: OutlierReason | None = None
    """Why it is bad, beyond doubt; None: it is not."""
    is_recent: bool = False
    """It became bad only a while ago."""
    may_return: bool = False
    """It is out, and nothing speaks against it any more."""
    is_up: bool = True
    """It can be used; a newcomer that cannot is no replacement yet."""
    is_proven: bool = False
    """It has been healthy under load for the whole of the bake."""
    is_drained: bool = False
    """Somebody took it out by hand: it is no capacity, and no business of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """What is known of a cell."""

    cell: str
    hosts: tuple[HostFacts, ...]
    needed: int | None = None
    """Hosts that the demand takes, head-room included; None: nobody knows what one can do."""
    needed_without_zone: int | None = None
    """Hosts that must be left when any one zone is lost; None: it need not be survived."""
    share_max: float = 0.1
    is_frozen: bool = False
    replaces: bool = False
    """An orchestrator is there to be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One act on one host. `bullet` as it stands afterwards, None when there is none."""

    act: Act
    cell: str
    host: str
    reason: OutlierReason
    bullet: Bullet | None = None


def has_room(ledger: Ledger, cell: CellFacts) -> bool:
    """Whether those who are beyond doubt are enough for the demand without one that is not.

    Beyond doubt: in service, not bad, no bullet to give back. Where nobody knows what a host can
    do, one is enough, and so only one is ever out.
    """
    sure = [host for host in cell.hosts if _is_sure(ledger, cell, host)]
    if not sure or (cell.needed is not None and len(sure) < cell.needed):
        return False
    needed = cell.needed_without_zone
    zones = {host.zone for host in cell.hosts if host.zone}
    return (
        needed is None
        or len(zones) < 2
        or all(sum(host.zone != lost for host in sure) >= needed for lost in zones)
    )


def sizes_for(
    ledger: Ledger, cells: Sequence[CellFacts], cell: CellFacts, zone: str
) -> dict[str, int]:
    """The magazines that a host of this cell and zone is in, as if it were the next to go."""
    out = ledger.out(f"cell:{cell.cell}")
    cap = magazine_cap(len(cell.hosts), cell.share_max)
    sure = sum(_is_sure(ledger, cell, host) for host in cell.hosts)
    if not has_room(ledger, cell):
        size = 0
    elif cell.needed is None:
        size = 1
    else:
        size = magazine_size(cap, sure + 1 + out, cell.needed)
    everybody = [host for each in cells for host in each.hosts]
    sizes = {
        f"cell:{cell.cell}": size,
        GLOBAL: magazine_cap(len(everybody), cell.share_max),
    }
    if zone:
        count = sum(host.zone == zone for host in everybody)
        sizes[f"zone:{zone}"] = magazine_cap(count, cell.share_max)
    return sizes


def decide(
    ledger: Ledger, cells: Sequence[CellFacts], *, reloadable: AbstractSet[str]
) -> tuple[Ledger, list[Deed]]:
    """One step.

    Args:
        ledger: what stands.
        cells: facts of every configured cell.
        reloadable: the domains that have not had a bullet back for long enough.

    Returns:
        The ledger to be kept, and what to do then.
    """
    step = _Step(ledger, cells, set(reloadable))
    step.take_stock()
    for cell in cells:
        step.give_back(cell)
        step.reload(cell)
        if not cell.is_frozen:
            step.take_out(cell)
            step.run_errands(cell)
    return step.ledger, step.deeds


class _Step:
    """The ledger while it is worked on."""

    __slots__ = ("cells", "deeds", "ledger", "reloadable")

    def __init__(self, ledger: Ledger, cells: Sequence[CellFacts], reloadable: set[str]) -> None:
        self.ledger = ledger
        self.cells = cells
        self.reloadable = reloadable
        self.deeds: list[Deed] = []

    def take_stock(self) -> None:
        """Who is configured no more, and who is new."""
        present = {(cell.cell, host.host) for cell in self.cells for host in cell.hosts}
        for bullet in self.ledger.bullets:
            after = bullet
            if (bullet.cell, bullet.host) not in present:
                after = replace(after, state=BulletState.GONE)
            elif bullet.state is BulletState.GONE and not self._holds_another(bullet):
                after = replace(after, state=BulletState.BACK)
            if bullet.newcomer and (bullet.cell, bullet.newcomer) not in present:
                after = replace(after, newcomer="")
            self._put(bullet, after)
        known = set(self.ledger.known)
        if known:
            for cell, host in sorted(present - known):
                self._welcome(cell, host)
        if present != known:
            self.ledger = replace(self.ledger, known=tuple(sorted(present)))

    def _holds_another(self, bullet: Bullet) -> bool:
        return self.ledger.bullet_of(bullet.cell, bullet.host) is not None

    def _welcome(self, cell: str, newcomer: str) -> None:
        """A new host takes the place of who is gone, else of who is out, else of who is on trial.

        It may have come before the old one left, and nobody need have asked for it.
        """
        if self.ledger.bullet_of(cell, newcomer) is not None:
            return  # it was here before, and has its own to give back
        vacant = [b for b in self.ledger.bullets if b.cell == cell and not b.newcomer]
        for state in (BulletState.GONE, BulletState.OUT, BulletState.BACK):
            for bullet in vacant:
                if bullet.state is state:
                    self.ledger = self.ledger.put(replace(bullet, newcomer=newcomer))
                    return

    def give_back(self, cell: CellFacts) -> None:
        """Put into service who may be, or who should not have been taken out."""
        for host in cell.hosts:
            bullet = self.ledger.bullet_of(cell.cell, host.host)
            if bullet is None or bullet.state is not BulletState.OUT:
                continue
            if cell.is_frozen and host.is_recent:
                self._turn(bullet, BulletState.BACK, Act.FAIL_OPEN)
            elif host.may_return:
                self._turn(bullet, BulletState.BACK, Act.RETURN)

    def reload(self, cell: CellFacts) -> None:
        """Give back the bullets whose hosts, or those in their place, have proven themselves."""
        proven = {host.host for host in cell.hosts if host.is_proven and host.reason is None}
        for bullet in self.ledger.bullets:
            if bullet.cell != cell.cell or bullet.state is BulletState.OUT:
                continue
            who = bullet.host if bullet.state is BulletState.BACK else bullet.newcomer
            domains = domains_of(bullet.cell, bullet.zone)
            if who in proven and self.reloadable.issuperset(domains):
                self.reloadable.difference_update(domains)
                self.ledger = self.ledger.reload(bullet)
                self._do(Act.RELOAD, bullet)

    def take_out(self, cell: CellFacts) -> None:
        """Take out who is bad, as far as the magazines go."""
        for host in cell.hosts:
            reason = host.reason
            if reason is None or host.is_drained:
                continue
            held = self.ledger.bullet_of(cell.cell, host.host)
            if held is not None and held.state is BulletState.OUT:
                continue
            if held is not None:
                # Its bullet is spent.
                if has_room(self.ledger, cell):
                    # Whoever was asked for another host and sent none is asked again, under the
                    # same key: who heard of it does it once.
                    is_missed = held.errand is Errand.ASKED and not held.newcomer
                    errand = Errand.NONE if is_missed else held.errand
                    held = replace(held, reason=reason, errand=errand)
                    self._turn(held, BulletState.OUT, Act.EJECT)
                else:
                    self._spare(cell, host, reason)
                continue
            sizes = sizes_for(self.ledger, self.cells, cell, host.zone)
            after = self.ledger.spend(cell.cell, host.host, host.zone, reason, sizes)
            if after is None:
                self._spare(cell, host, reason)
                continue
            self.ledger = after
            self._do(Act.EJECT, after.bullets[-1])

    def run_errands(self, cell: CellFacts) -> None:
        """Ask for another host; when it is up, have the old one ended."""
        up = {host.host for host in cell.hosts if host.is_up and host.reason is None}
        for bullet in self.ledger.bullets:
            if bullet.cell != cell.cell or bullet.state is not BulletState.OUT:
                continue
            if bullet.errand is Errand.NONE and cell.replaces:
                self._put(bullet, after := replace(bullet, errand=Errand.ASKED))
                self._do(Act.ASK, after)
            elif bullet.errand is Errand.ASKED and bullet.newcomer in up:
                self._put(bullet, after := replace(bullet, errand=Errand.TOLD))
                self._do(Act.TELL, after)

    def _spare(self, cell: CellFacts, host: HostFacts, reason: OutlierReason) -> None:
        self.deeds.append(Deed(act=Act.SPARE, cell=cell.cell, host=host.host, reason=reason))

    def _turn(self, bullet: Bullet, state: BulletState, act: Act) -> None:
        self._put(bullet, after := replace(bullet, state=state))
        self._do(act, after)

    def _put(self, before: Bullet, after: Bullet) -> None:
        if after != before:
            self.ledger = self.ledger.put(after)

    def _do(self, act: Act, bullet: Bullet) -> None:
        self.deeds.append(
            Deed(act=act, cell=bullet.cell, host=bullet.host, reason=bullet.reason, bullet=bullet)
        )


def _is_sure(ledger: Ledger, cell: CellFacts, host: HostFacts) -> bool:
    return (
        host.reason is None
        and host.is_up
        and not host.is_drained
        and ledger.bullet_of(cell.cell, host.host) is None
    )
