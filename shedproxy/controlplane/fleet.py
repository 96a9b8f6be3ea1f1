"""What a fleet is to be: one value, pure, that every order and every step replaces whole.

A *release* is settings texts by cell, known by their digest; the rollout's book says which host is
to run which. An *edition* is the snapshot made of it for hosts that have everything in common. Its
revision is that of the ledger where it came to be, so that for each host they only grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shedproxy.controlplane.evidence import Watch
from shedproxy.controlplane.move import MoveBook
from shedproxy.controlplane.rollout import Book, Instance, assigned

__all__ = [
    "ALL_CELLS",
    "RELEASES_KEPT",
    "Cell",
    "Edition",
    "Fleet",
    "Held",
    "Host",
    "MovedKey",
    "Release",
    "Shift",
    "with_release",
]

ALL_CELLS = ""
"""Stands, in a release, for every cell that has no settings of its own."""
RELEASES_KEPT = 64
"""Releases that may still be promoted; of older ones the ledger alone knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One instance of shedproxy, under the name that it reports under."""

    name: str
    cell: str = "default"
    """The hosts that fail together, if one does."""
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is to be known of a cell beside its hosts; most need nothing."""

    name: str
    like: str = ""
    """It was cloned from this one, and has its settings until a release has some for it."""
    is_quarantined: bool = False
    """Nothing is promoted there, and nobody is moved there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A zone that is weighed away."""

    zone: str
    until_s: int
    """Seconds since the epoch. Hosts end it by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Settings that were published."""

    digest: str
    at_s: int
    by: str
    is_forced: bool = False
    """Hosts put it in force although it would refuse much of what they serve."""
    made_on: str = ""
    """What ran then, whose settings it has where it has none of its own; "": nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A host that keeps what it has while others go on."""

    host: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """The snapshot that a host is to run."""

    host: str
    revision: int
    release: str
    key: str
    """Of everything it was made from: the same, and it stays."""
    digest: str
    """Of the snapshot."""
    issued_at_s: int = 0

    @property
    def object_name(self) -> str:
        """Where the store has its bytes; hosts in common share them."""
        return f"editions/{self.revision:012d}-{self.digest.removeprefix('sha256:')[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedKey:
    """What is to be known of a key that moves or was moved, beside where it is."""

    key: str
    """Its hash, 16 hex digits."""
    name: str = ""
    """As people call it; "" for credentials, which are kept nowhere."""
    demand_rps: float = 0.0
    """What it asks for at its peak, as somebody said; 0: nobody did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that outlives whoever decides."""

    hosts: tuple[Host, ...] = ()
    cells: tuple[Cell, ...] = ()
    shifts: tuple[Shift, ...] = ()
    releases: tuple[Release, ...] = ()
    """The newest last."""
    held: tuple[Held, ...] = ()
    editions: tuple[Edition, ...] = ()
    book: Book = field(default_factory=Book)
    watch: Watch = field(default_factory=Watch)
    """What speaks against the release under way."""
    moves: MoveBook = field(default_factory=MoveBook)
    """Which keys are in another cell than settings say, on all hosts alike."""
    moved: tuple[MovedKey, ...] = ()
    """Of these keys."""

    def host(self, name: str) -> Host | None:
        """The host of that name."""
        return next((each for each in self.hosts if each.name == name), None)

    def cell(self, name: str) -> Cell | None:
        """A cell that has a host, or is known otherwise."""
        known = next((each for each in self.cells if each.name == name), None)
        if known is None and any(host.cell == name for host in self.hosts):
            return Cell(name=name)
        return known

    def release(self, digest: str) -> Release | None:
        """The release of that digest."""
        return next((each for each in self.releases if each.digest == digest), None)

    @property
    def in_use(self) -> frozenset[str]:
        """The releases that hosts run, or are being given."""
        rollout = self.book.rollout
        common = {self.book.base, "" if rollout is None else rollout.digest}
        return frozenset(common | {each.release for each in self.held})

    def is_made_on(self, digest: str, before: str) -> bool:
        """Whether a release is of another, or of one that is of it."""
        seen: set[str] = set()
        while digest and digest not in seen:
            if digest == before:
                return True
            seen.add(digest)
            known = self.release(digest)
            digest = "" if known is None else known.made_on
        return False

    def key_name(self, key: str) -> str:
        """How a key is called that moves or was moved."""
        return next((each.name for each in self.moved if each.key == key and each.name), key)

    def edition(self, host: str) -> Edition | None:
        """What a host is to run, once it was made."""
        return next((each for each in self.editions if each.host == host), None)

    @property
    def cell_names(self) -> tuple[str, ...]:
        """Of all cells, in order."""
        return tuple(sorted({*(h.cell for h in self.hosts), *(c.name for c in self.cells)}))

    @property
    def quarantined(self) -> frozenset[str]:
        """Names of the cells that are."""
        return frozenset(each.name for each in self.cells if each.is_quarantined)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The hosts that a promotion may go to."""
        held = {each.host for each in self.held}
        return tuple(
            Instance(name=host.name, cell=host.cell, zone=host.zone)
            for host in self.hosts
            if host.name not in held and host.cell not in self.quarantined
        )

    def wanted(self) -> dict[str, str]:
        """The release of each host."""
        want = assigned(self.book)
        held = {each.host: each.release for each in self.held}
        return {host.name: held.get(host.name) or want(host.name) for host in self.hosts}


def with_release(fleet: Fleet, release: Release) -> Fleet:
    """The fleet with one release more; the oldest that nobody runs or needs is forgotten."""
    others = tuple(each for each in fleet.releases if each.digest != release.digest)
    spare = [each.digest for each in others if each.digest not in fleet.in_use]
    gone = set(spare[: max(0, len(others) + 1 - RELEASES_KEPT)])
    kept = tuple(each for each in others if each.digest not in gone)
    return replace(fleet, releases=(*kept, release))
