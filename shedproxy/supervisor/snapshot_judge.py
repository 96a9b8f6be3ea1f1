"""Judges bytes that claim to be the next snapshot: everything is checked, changed or not.

The order is from cheap to dear, and nothing is looked into before it is known who signed it: size,
head, signature, digests, schema, revision, emptiness, a rehearsal of what workers would build, and
what it would have refused of the last hour's traffic, which a signed `force` overrides, and nothing
else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shedproxy.core import BUCKETS, CellTable, hold_marked
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import (
    Document,
    Snapshot,
    SnapshotRefusal,
    SnapshotRefusedError,
    UpstreamDocument,
    open_envelope,
    read_snapshot,
    run_lengths,
    says_nothing,
    secret_id,
)
from shedproxy.store import KeyRing
from shedproxy.supervisor.plausibility import forecast
from shedproxy.supervisor.recent_traffic import Minute
from shedproxy.supervisor.rehearsal import rehearse

__all__ = ["Accepted", "SnapshotJudge", "document_here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A snapshot that may be put in force here."""

    snapshot: Snapshot
    digest: str
    key: str
    """Id of the key that signed it."""
    document: Document
    """What workers run of it on this host."""
    copy_digest: bytes
    """SHA-256 of all its bytes: the same content may come with another signature."""
    table_version: int = 0
    """Of its table of cells; 0: it has none."""
    has_moves: bool = False
    """Some key changes its cell."""

    @property
    def revision(self) -> int:
        """Of the snapshot."""
        return self.snapshot.revision


class SnapshotJudge:
    """Holds what a judgement needs beside the bytes.

    Args:
        ring: whom to believe.
        size_max: bytes of a snapshot.
        shed_max: share of the last hour's requests that one may refuse.
        local: gives the document of the settings, for what only this host knows.
        needs_upstream: whether there is nothing to serve without one.
        maps_tables: whether workers get the table of cells apart from the document.
        minutes: gives the traffic of the last hour.
    """

    def __init__(
        self,
        ring: KeyRing,
        *,
        size_max: int,
        shed_max: float,
        local: Callable[[], Document],
        needs_upstream: bool,
        maps_tables: bool = True,
        minutes: Callable[[], Sequence[Minute]] = tuple,
    ) -> None:
        self._ring = ring
        self._size_max = size_max
        self._shed_max = shed_max
        self._local = local
        self._needs_upstream = needs_upstream
        self._maps_tables = maps_tables
        self._minutes = minutes

    def judge(
        self,
        data: bytes,
        *,
        highest: int = 0,
        in_force: Accepted | None = None,
        is_copy: bool = False,
    ) -> Accepted:
        """The snapshot, checked.

        Args:
            data: as it came.
            highest: the highest revision that was ever in force here.
            in_force: what is now; the same once more is never implausible.
            is_copy: it was in force here before, and is not implausible either. One that is not
                known to be the newest (`highest` is more, or 0: lost) holds the keys that move in
                it, because nobody here knows any more whether a newer one gave them away.

        Raises:
            SnapshotRefusedError: with the reason and every problem.
        """
        envelope = open_envelope(data, size_max=self._size_max)
        key = self._ring.verify(envelope)
        snapshot = read_snapshot(envelope)
        if not is_copy:
            _refuse_replay(snapshot.revision, envelope.digest, highest, in_force)
        elif not 0 < highest <= snapshot.revision and snapshot.table:
            snapshot = _held(snapshot)
        if says_nothing(snapshot.document) and not snapshot.table:
            raise SnapshotRefusedError.of(
                SnapshotRefusal.EMPTY,
                "its document says nothing: it is that of no settings at all",
                path=("document",),
            )
        document = document_here(snapshot, self._local(), maps_tables=self._maps_tables)
        if self._needs_upstream and not any(each.urls for each in document.proxy.upstreams):
            raise SnapshotRefusedError.of(
                SnapshotRefusal.EMPTY,
                "neither it nor the settings say where requests go",
                path=("document", "proxy", "upstreams"),
            )
        try:
            rehearse(document)
        except DocumentInvalidError as error:
            raise SnapshotRefusedError(SnapshotRefusal.INVALID, error.problems) from error
        is_known = in_force is not None and in_force.digest == envelope.digest
        self._refuse_implausible(document, is_free=is_known or is_copy or snapshot.is_forced)
        table = CellTable(snapshot.table) if snapshot.table else None
        return Accepted(
            snapshot=snapshot,
            digest=envelope.digest,
            key=key,
            document=document,
            copy_digest=hashlib.sha256(data).digest(),
            table_version=0 if table is None else table.version,
            has_moves=table is not None and table.moving_count > 0,
        )

    def _refuse_implausible(self, document: Document, *, is_free: bool) -> None:
        found = forecast(document, self._minutes())
        if found.share > self._shed_max and not is_free:
            raise SnapshotRefusedError.of(
                SnapshotRefusal.IMPLAUSIBLE,
                f"it would have refused at least {found.share:.0%} of the {found.served:.0f}"
                f" requests served in the last hour ({self._shed_max:.0%} are allowed):"
                f" {'; '.join(found.causes)}",
                path=("document",),
                help_text="if that is meant, sign it with --force",
            )


def _held(snapshot: Snapshot) -> Snapshot:
    try:
        return replace(snapshot, table=hold_marked(snapshot.table))
    except ValueError:
        return snapshot  # what is wrong with it is found below


def _refuse_replay(revision: int, digest: str, highest: int, in_force: Accepted | None) -> None:
    if revision < highest:
        raise SnapshotRefusedError.of(
            SnapshotRefusal.REPLAYED,
            f"revision {revision} is older than {highest}, which was in force here",
            path=("revision",),
            help_text="to go back, publish the former content under a higher revision",
        )
    if in_force is not None and revision == in_force.revision and digest != in_force.digest:
        raise SnapshotRefusedError.of(
            SnapshotRefusal.REPLAYED,
            f"revision {revision} is in force with another content",
            path=("revision",),
            help_text="every content needs a revision of its own",
        )


def document_here(snapshot: Snapshot, local: Document, *, maps_tables: bool = True) -> Document:
    """What workers of this host run: the certificate of the listener is the host's, and so are the
    upstreams, if the snapshot names none.

    Raises:
        SnapshotRefusedError: its table of cells does not fit its document.
    """
    document = snapshot.document
    upstreams = document.proxy.upstreams or _upstreams_here(document, local.proxy.upstreams)
    proxy = replace(document.proxy, tls=local.proxy.tls, upstreams=upstreams)
    document = replace(document, proxy=proxy)
    if not snapshot.table:
        return document
    return _with_table(document, snapshot.table, maps_tables=maps_tables)


def _upstreams_here(
    document: Document, local: tuple[UpstreamDocument, ...]
) -> tuple[UpstreamDocument, ...]:
    """Each cell has the host's upstreams of its name, or those of the host's first cell."""
    by_cell = {each.cell: each for each in local}
    if not by_cell:
        return ()
    first = by_cell.get("default", local[0])
    names = [cell.name for cell in document.policy.cells]
    return tuple(by_cell.get(name) or replace(first, cell=name) for name in names)


def _with_table(document: Document, data: bytes, *, maps_tables: bool) -> Document:
    """The document with the table inside, or for workers that map it, with the least of one."""
    routing = document.classification.cells
    try:
        table = CellTable(data)
        table.verify()
        if not routing.key:
            raise ValueError("a table of cells, and no key to look up in it")  # noqa: TRY301
        if table.secret_id != secret_id(routing.secret):
            raise ValueError("a table of cells for another secret")  # noqa: TRY301
        if missing := set(table.names) - {cell.name for cell in document.policy.cells}:
            raise ValueError(f"a table of cells with an unknown cell {min(missing)}")  # noqa: TRY301
    except ValueError as error:
        raise SnapshotRefusedError.of(
            SnapshotRefusal.INVALID, f"cells: {error}", path=("cells",)
        ) from error
    plain = replace(
        routing,
        cells=table.names,
        default=table.names[table.default],
        buckets=((table.default, BUCKETS),) if maps_tables else run_lengths(table.buckets()),
        pins=() if maps_tables else _pins(table),
        version=0 if maps_tables else table.version,
    )
    return replace(document, classification=replace(document.classification, cells=plain))


def _pins(table: CellTable) -> tuple[tuple[str, int], ...]:
    return tuple((f"{key:016x}", place) for key, place in sorted(table.pins().items()))
