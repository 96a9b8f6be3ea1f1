"""How many hosts automation may have taken out at once, and what gives it another: bullets.

There is a magazine per fault domain: of a cell, of a zone, of all hosts. Taking a host out costs a
bullet of every magazine that it is in. The host, or whatever came in its place, gives it back
once it has been healthy under load for a while; time alone gives nothing back, and an empty
magazine means that nothing more is done to anybody. This is what keeps a broken health check from
taking a service down (Amazon Builders' Library, "Implementing health checks"; Envoy's
`max_ejection_percent` is a cap without capacity, demand or proof).

Values never change: a step makes a new ledger, which its owner puts on disk before it acts on it.
Counts only grow, so that a ledger that was read tells whether it is older than another, and what
is out is said twice, as counts and as bullets, so that one that is damaged shows it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = [
    "GLOBAL",
    "Bullet",
    "BulletState",
    "Errand",
    "Ledger",
    "Magazine",
    "OutlierReason",
    "domains_of",
    "magazine_cap",
    "magazine_size",
    "needed_hosts",
]

GLOBAL = "all"
"""The domain of every host."""


class OutlierReason(enum.IntEnum):
    """Why a host was taken out."""

    FAILING = 0
    """It fails more of its requests than its peers do."""
    SLOW = 1
    """It takes much longer for them than its peers do."""
    UNREACHABLE = 2
    """No worker can get an answer of it."""
    CHECK = 3
    """Its health check fails."""

    @property
    def label(self) -> str:
        """The word used in logs and on the status page."""
        return self.name.lower()


class BulletState(enum.IntEnum):
    """Where the host is that a bullet was spent on."""

    OUT = 0
    """It gets no requests."""
    BACK = 1
    """It is in service again, and has to prove itself."""
    GONE = 2
    """It is configured no more."""


class Errand(enum.IntEnum):
    """What the orchestrator was asked for: a new host first, then the end of the old one."""

    NONE = 0
    ASKED = 1
    """To start another host."""
    TOLD = 2
    """The new host is up: to end the old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullet:
    """One that was spent and not given back."""

    serial: int
    """Of all that were ever spent; the key under which an orchestrator hears of it."""
    cell: str
    host: str
    zone: str = ""
    reason: OutlierReason = OutlierReason.FAILING
    state: BulletState = BulletState.OUT
    errand: Errand = Errand.NONE
    newcomer: str = ""
    """The host that came in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Magazine:
    """The counts of one domain; both only grow."""

    domain: str
    spent: int = 0
    reloaded: int = 0


def domains_of(cell: str, zone: str) -> tuple[str, ...]:
    """The magazines that a host is in; a zone without a name has none."""
    return (f"cell:{cell}", f"zone:{zone}", GLOBAL) if zone else (f"cell:{cell}", GLOBAL)


def needed_hosts(demand_rps: float, host_capacity_rps: float, headroom: float) -> int:
    """Hosts that the offered demand takes, with some head-room (a share of the demand)."""
    # What floats add in their last place is no host.
    return math.ceil(round(demand_rps * (1 + headroom) / host_capacity_rps, 6))


def magazine_cap(fleet: int, share_max: float) -> int:
    """Most bullets of a domain of so many hosts, whatever its capacity: one at least."""
    return max(1, math.floor(round(share_max * fleet, 6)))


def magazine_size(cap: int, healthy: int, needed: int) -> int:
    """Bullets of a domain: hosts that are more than what demand takes, up to the cap."""
    return max(0, min(cap, healthy - needed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All magazines, and every bullet that is out."""

    serial: int = 0
    """Of the last bullet spent."""
    magazines: tuple[Magazine, ...] = ()
    bullets: tuple[Bullet, ...] = ()
    """By serial."""
    known: tuple[tuple[str, str], ...] = ()
    """Hosts (cell, host) that have been seen: another one is a newcomer."""

    def out(self, domain: str) -> int:
        """Bullets spent and not given back."""
        magazine = self._magazine(domain)
        return magazine.spent - magazine.reloaded

    def bullet_of(self, cell: str, host: str) -> Bullet | None:
        """The bullet that a configured host holds."""
        for bullet in self.bullets:
            if bullet.host == host and bullet.cell == cell and bullet.state != BulletState.GONE:
                return bullet
        return None

    def spend(
        self, cell: str, host: str, zone: str, reason: OutlierReason, sizes: Mapping[str, int]
    ) -> Ledger | None:
        """The ledger with one more host out; None when a magazine it is in is empty.

        Args:
            cell: of the host, which holds no bullet yet.
            host: its name in the cell.
            zone: where it is, "" where nobody says.
            reason: why.
            sizes: of the magazines it is in, as they are now.
        """
        domains = domains_of(cell, zone)
        if any(self.out(domain) >= sizes[domain] for domain in domains):
            return None
        bullet = Bullet(serial=self.serial + 1, cell=cell, host=host, zone=zone, reason=reason)
        return replace(
            self,
            serial=bullet.serial,
            magazines=self._counted(domains, spent=1),
            bullets=(*self.bullets, bullet),
        )

    def put(self, bullet: Bullet) -> Ledger:
        """The ledger in which a bullet that is out stands as given."""
        return replace(
            self,
            bullets=tuple(
                bullet if each.serial == bullet.serial else each for each in self.bullets
            ),
        )

    def reload(self, bullet: Bullet) -> Ledger:
        """The ledger in which it is given back."""
        return replace(
            self,
            magazines=self._counted(domains_of(bullet.cell, bullet.zone), reloaded=1),
            bullets=tuple(each for each in self.bullets if each.serial != bullet.serial),
        )

    def contradiction(self) -> str:
        """What does not agree in it, "" for nothing: only damage or a mistake does that."""
        holders: dict[str, int] = {}
        for bullet in self.bullets:
            for domain in domains_of(bullet.cell, bullet.zone):
                holders[domain] = holders.get(domain, 0) + 1
        for domain in sorted({*holders, *(each.domain for each in self.magazines)}):
            if self.out(domain) != holders.get(domain, 0):
                return f"{domain} has {self.out(domain)} out, and {holders.get(domain, 0)} bullets"
        serials = [bullet.serial for bullet in self.bullets]
        if serials != sorted(set(serials)) or (serials and serials[-1] > self.serial):
            return f"bullets {serials} of {self.serial} spent"
        if self._magazine(GLOBAL).spent != self.serial:
            return f"{self._magazine(GLOBAL).spent} spent in all, the last was {self.serial}"
        return ""

    def _magazine(self, domain: str) -> Magazine:
        for magazine in self.magazines:
            if magazine.domain == domain:
                return magazine
        return Magazine(domain=domain)

    def _counted(
        self, domains: tuple[str, ...], *, spent: int = 0, reloaded: int = 0
    ) -> tuple[Magazine, ...]:
        counted = {magazine.domain: magazine for magazine in self.magazines}
        for domain in domains:
            before = self._magazine(domain)
            counted[domain] = Magazine(
                domain=domain, spent=before.spent + spent, reloaded=before.reloaded + reloaded
            )
        return tuple(counted[domain] for domain in sorted(counted))
