"""A snapshot: everything that changes behaviour, whole, under one growing number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot.cell_routing import cell_table_of
from shedproxy.snapshot.codec import decode_body, to_plain
from shedproxy.snapshot.document import Document
from shedproxy.snapshot.unknown_fields import carry_over, unknown_fields

__all__ = ["SNAPSHOT_SCHEMA", "Snapshot", "says_nothing", "snapshot_of"]

SNAPSHOT_SCHEMA = 1
"""Of what this version writes. Readers take one more and one less: a schema adds only fields that
the one before may leave alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a fleet is to do, from `revision` on."""

    revision: int
    """1..2**53-1; a higher one is newer, also when it goes back to former content."""
    document: Document
    """Policy, classification, refusals, upstreams and profiles. Without upstreams each instance
    keeps those of its settings."""
    table: bytes = b""
    """The table of cells as it lies in memory (`shedproxy.core.CellTable`): 16 384 buckets and
    pinned keys; b"": none."""
    issued_at_s: int = 0
    """Seconds since the epoch."""
    expires_at_s: int = 0
    """Seconds since the epoch; from then on it is stale, and serves on. 0: never."""
    is_forced: bool = False
    """Put it in force although it would refuse much of what is served. Overrides nothing else."""
    schema: int = SNAPSHOT_SCHEMA
    """Of what it was read from."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """The document as it came, with what this version does not know."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields beside those above that this version does not know."""
    others: tuple[tuple[str, bytes], ...] = ()
    """Parts that this version does not know, by name."""

    @property
    def plain_document(self) -> dict[str, Any]:
        """The document in terms of JSON, with the unknown fields of the one that it came as."""
        wanted: dict[str, Any] = to_plain(self.document)
        if not self.body:
            return wanted
        kept: dict[str, Any] = carry_over(self.body, self._known(), wanted)
        return kept

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of everything that a newer version put in, and this one leaves alone."""
        fields = unknown_fields(dict(self.body), self._known()) if self.body else ()
        parts = (f"part {name}" for name, _ in self.others)
        return (*self.extra, *(f"document.{name}" for name in fields), *parts)

    def _known(self) -> Any:
        return to_plain(decode_body(dict(self.body), newer=1))


def says_nothing(document: Document) -> bool:
    """Whether it is that of no settings at all: what a file that was lost or cut compiles to.

    Wherever it is for: zones are a fleet's to add.
    """
    proxy = replace(document.proxy, zone="", zones_away=(), zones_away_until_s=())
    return replace(document, revision=0, schema=1, proxy=proxy) == Document()


def snapshot_of(document: Document, *, revision: int) -> Snapshot:
    """A snapshot of a document. Its table of cells goes apart: workers map it, and do not read it.

    Raises:
        DocumentInvalidError: the parts of the table do not fit together.
    """
    routing = document.classification.cells
    if not routing.key:
        return Snapshot(revision=revision, document=document)
    try:
        table = cell_table_of(routing)
    except ValueError as error:
        problem = Problem(message=str(error), path=("classification", "cells"))
        raise DocumentInvalidError([problem]) from error
    apart = replace(routing, buckets=(), pins=())
    classification = replace(document.classification, cells=apart)
    return Snapshot(
        revision=revision, document=replace(document, classification=classification), table=table
    )
