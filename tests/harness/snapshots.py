"""Snapshots for tests: a key pair, and documents signed with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from shedproxy.core import BUCKETS
from shedproxy.settings import load_settings
from shedproxy.snapshot import CellRouting, Document, Snapshot, encode_snapshot, snapshot_of
from shedproxy.store import SigningKey, write_key_pair


class Fleet:
    """Signs what the instances of a test are to believe."""

    def __init__(self, folder: Path, name: str = "fleet") -> None:
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        write_key_pair(self.private, self.public)
        self.key = SigningKey(self.private)

    def sign(self, snapshot: Snapshot, *, size: int = 0) -> bytes:
        return encode_snapshot(snapshot, [self.key.sign], size=size)

    def of(self, document: Document, revision: int, **fields: Any) -> bytes:
        return self.sign(replace(snapshot_of(document, revision=revision), **fields))


def document_of(limit: int = 7, *, upstream: str = "http://127.0.0.1:9", **overrides) -> Document:
    """A policy with a fixed limit."""
    return load_settings(
        overrides={
            "cell.default.upstream": [upstream] if upstream else None,
            "cell.default.limit": limit,
            **overrides,
        }
    ).document


def moving_document(place: int, version: int, **overrides: Any) -> Document:
    """A policy with cells `a` and `b`, and a table in which one key has this place."""
    document = document_of(**overrides, **{"cells.key": "host", "cells.secret": "s"})
    cell = document.policy.cells[0]
    routing = CellRouting(
        key="host",
        secret="s",
        default="a",
        cells=("a", "b"),
        buckets=((0, BUCKETS),),
        pins=((f"{7:016x}", place),),
        version=version,
    )
    return replace(
        document,
        policy=replace(document.policy, cells=(replace(cell, name="a"), replace(cell, name="b"))),
        classification=replace(document.classification, cells=routing),
    )
