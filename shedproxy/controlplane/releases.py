"""Releases as bytes, and the snapshots that come of them. Pure: the same in, the same out.

Hosts pull one whole snapshot each, from `hosts/{instance}`. Those that have release, settings, zone
and shifts in common are given the same bytes, which are made once and kept under their digest: so
that whoever decides, of whatever version, hands on the very snapshot that was decided on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from shedproxy.controlplane.fleet import ALL_CELLS, Edition, Fleet, Host, Release, Shift
from shedproxy.controlplane.move import MoveBook, placed
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import Document, Sign, encode_snapshot, open_envelope, snapshot_of

__all__ = [
    "RELEASE_SIZE_MAX",
    "Make",
    "Request",
    "build_edition",
    "decode_release",
    "encode_release",
    "release_digest",
    "renew",
    "settings_cell",
]

RELEASE_SIZE_MAX = 4 << 20
"""Bytes of a release."""

Make = Callable[["Request"], bytes]
"""Makes the bytes of a snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a snapshot is made of."""

    release: Release
    cell: str
    """Whose settings: of the release's texts."""
    zone: str
    shifts: tuple[Shift, ...]
    moves: MoveBook
    revision: int
    issued_at_s: int

    @property
    def key(self) -> str:
        """Of everything but when."""
        shifts = [[each.zone, each.until_s] for each in self.shifts]
        release = [self.release.digest, self.release.is_forced]
        # Two tables of a book never have the same version.
        moves = [self.moves.version] if self.moves.version else []
        line = json.dumps([release, self.cell, self.zone, shifts, *moves]).encode()
        return hashlib.sha256(line).hexdigest()[:32]


def encode_release(texts: Mapping[str, str]) -> bytes:
    """Settings texts by cell; `ALL_CELLS` has those of cells without their own.

    Raises:
        DocumentInvalidError: there is none for all cells, or they are too long.
    """
    if ALL_CELLS not in texts:
        raise DocumentInvalidError([Problem(message="a release needs settings for all cells")])
    data = json.dumps({"format": "shedproxy-release", "texts": dict(sorted(texts.items()))})
    if len(data) > RELEASE_SIZE_MAX:
        message = f"a release of {len(data)} bytes is too long: {RELEASE_SIZE_MAX} at most"
        raise DocumentInvalidError([Problem(message=message)])
    return data.encode()


def release_digest(data: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def decode_release(data: bytes, digest: str) -> dict[str, str]:
    """What `encode_release` made.

    Raises:
        DocumentInvalidError: it is damaged.
    """
    if release_digest(data) != digest:
        raise DocumentInvalidError([Problem(message=f"release {digest} is damaged")])
    texts: dict[str, str] = json.loads(data)["texts"]
    return texts


def settings_cell(texts: Sequence[str], fleet: Fleet, cell: str) -> str:
    """Of the cells that a release has texts for, the one whose settings a cell has."""
    seen: set[str] = set()
    while cell and cell not in seen:
        if cell in texts:
            return cell
        seen.add(cell)
        known = fleet.cell(cell)
        cell = "" if known is None else known.like
    return ALL_CELLS


def build_edition(document: Document, request: Request, sign: Sign) -> bytes:
    """The snapshot of a document for hosts of one zone.

    Raises:
        DocumentInvalidError: it does not fit into a snapshot.
    """
    proxy = replace(
        document.proxy,
        zone=request.zone or document.proxy.zone,
        zones_away=tuple(each.zone for each in request.shifts),
        zones_away_until_s=tuple(each.until_s for each in request.shifts),
    )
    cells = placed(request.moves, document.classification.cells)
    classification = replace(document.classification, cells=cells)
    document = replace(document, proxy=proxy, classification=classification)
    made = snapshot_of(document, revision=request.revision)
    made = replace(made, issued_at_s=request.issued_at_s, is_forced=request.release.is_forced)
    return encode_snapshot(made, [sign])


def renew(
    fleet: Fleet,
    *,
    revision: int,
    now_s: int,
    texts: Callable[[str], Sequence[str]],
    make: Make,
) -> tuple[Fleet, dict[str, bytes]]:
    """The fleet with an edition for every host whose snapshot is to be another one.

    Args:
        fleet: as it is to be.
        revision: of the ledger, that it will have.
        now_s: seconds since the epoch.
        texts: gives the cells that the release of a digest has texts for.
        make: makes a snapshot.

    Returns:
        The fleet, and by their names the objects that its editions need.
    """
    wanted, shifts = fleet.wanted(), tuple(s for s in fleet.shifts if s.until_s > now_s)
    made: dict[str, tuple[bytes, str]] = {}
    editions: list[Edition] = []
    objects: dict[str, bytes] = {}
    for host in fleet.hosts:
        release = fleet.release(wanted[host.name])
        before = fleet.edition(host.name)
        if release is None:
            editions += [] if before is None else [before]
            continue
        request = Request(
            release=release,
            cell=settings_cell(texts(release.digest), fleet, host.cell),
            zone=host.zone,
            shifts=shifts,
            moves=fleet.moves,
            revision=revision,
            issued_at_s=now_s,
        )
        if before is not None and before.key == request.key:
            editions.append(before)
            continue
        if request.key not in made:
            data = make(request)
            made[request.key] = data, open_envelope(data).digest
        data, digest = made[request.key]
        edition = _edition(host, request, digest)
        editions.append(edition)
        objects[edition.object_name] = data
    return replace(fleet, editions=tuple(editions)), objects


def _edition(host: Host, request: Request, digest: str) -> Edition:
    return Edition(
        host=host.name,
        revision=request.revision,
        release=request.release.digest,
        key=request.key,
        digest=digest,
        issued_at_s=request.issued_at_s,
    )
