"""Which cell the key of a request leads to: the key is found, hashed, and looked up in a table.

The same on every instance with the same table. What has no key, or one that is not to be believed,
goes to the table's default. Credentials are hashed and not remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shedproxy.core import CellTable
from shedproxy.dataplane.hints import VALUE_SIZE_MAX
from shedproxy.dataplane.recent import Recent
from shedproxy.dataplane.trust import Trust
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import (
    CellRouting,
    canonical_key,
    cell_hash,
    cell_table_of,
    host_key,
    path_readings,
    secret_id,
    split_cell_key,
)

__all__ = ["CellKeys"]

_STILL: Final = 0xFF
"""Places up to this do not move."""
_PHASE_SHIFT: Final = 16
_NOTHING: Final = b""


class CellKeys:
    """One compiled `CellRouting`.

    Raises:
        DocumentInvalidError: its key is none, or its table contradicts itself.
    """

    __slots__ = (
        "_by_header",
        "_hash",
        "_is_believed",
        "_is_client",
        "_is_host",
        "_is_secret",
        "_kind",
        "_known",
        "_segment",
        "_table",
        "_trust",
        "asks_pins",
        "header",
        "is_pinned",
        "moving",
        "names",
        "secret_id",
    )

    def __init__(self, routing: CellRouting, trust: Trust) -> None:
        try:
            kind, name = split_cell_key(routing.key)
            table = CellTable(cell_table_of(routing))
        except ValueError as error:
            problem = Problem(message=str(error), path=("classification", "cells"))
            raise DocumentInvalidError([problem]) from error
        self._kind = kind
        self._trust = trust
        self._is_host = kind == "host"
        self._is_client = kind == "@client"
        self._is_secret = kind == "api-key"
        self._is_believed = kind != "header"
        self._by_header = kind in {"header", "api-key", "host"}
        self._segment = int(name) if kind == "path" else 0
        self.header = b"host" if self._is_host else name.encode() if self._by_header else b""
        """The header that is read, b"" for none."""
        self._hash = cell_hash(routing.secret)
        self.secret_id = secret_id(routing.secret)
        self._known: Recent[bytes, int] = Recent(self._hash_text, is_wary=True)
        self.asks_pins = False
        """Whether anybody wants to know of keys that are pinned."""
        self.is_pinned = False
        """The key that was looked up last is pinned, or moves; if it is asked for."""
        self.moving = 0
        """The hash of a key that was found to move, until `take_moving`; else 0."""
        self.take(table)

    def take(self, table: CellTable) -> None:
        """Look up in another table from now on.

        Raises:
            ValueError: its keys were hashed with another secret.
        """
        if table.secret_id != self.secret_id:
            raise ValueError("the table of cells is for another secret")
        self._table = table
        self.names = table.names

    @property
    def version(self) -> int:
        """Of the table."""
        return self._table.version

    def find(
        self,
        found: dict[bytes, bytes],
        headers: Sequence[tuple[bytes, bytes]],
        raw_path: bytes,
        peer: str,
    ) -> str:
        """The cell of a request; `found` are the headers that were asked for."""
        key_hash = self.key_of(found, headers, raw_path, peer)
        table = self._table
        place = table.find(key_hash) if key_hash else table.default
        if place > _STILL:
            self.moving = key_hash
        if self.asks_pins:
            self.is_pinned = place > _STILL or (key_hash != 0 and table.is_pinned(key_hash))
        return self.names[place & _STILL]

    def take_moving(self) -> int:
        """The hash of the key that was looked up just now, if it moves; else 0."""
        key_hash, self.moving = self.moving, 0
        return key_hash

    @property
    def moving_count(self) -> int:
        """How many keys and buckets move in the table."""
        return self._table.moving_count

    def phase_of(self, key_hash: int) -> int:
        """Of `MovePhase`, for a hashed key; 0: it stands still."""
        return self._table.find(key_hash) >> _PHASE_SHIFT

    def key_of(
        self,
        found: dict[bytes, bytes],
        headers: Sequence[tuple[bytes, bytes]],
        raw_path: bytes,
        peer: str,
    ) -> int:
        """The hash of the request's key, 0 for none."""
        if self._by_header:
            text = found.get(self.header)
            if text is None or not (self._is_believed or self._trust.believes(peer)):
                return 0
            if self._is_host:
                text = host_key(text)
        elif self._segment:
            text = self._segment_of(raw_path)
        else:
            trust = self._trust
            client = trust.client_of(peer, headers) if trust.believes(peer) else peer
            text = trust.caller_at(client)
        if self._is_secret or len(text) > VALUE_SIZE_MAX:
            return self._hash_text(text)
        return self._known[text]

    def _hash_text(self, text: bytes) -> int:
        if self._is_client:
            return self._hash(text) if text else 0
        text = canonical_key(self._kind, text)
        return self._hash(text) if text else 0

    def _segment_of(self, raw_path: bytes) -> bytes:
        """The segment; none where a path can be read in two ways."""
        readings = {
            segments[self._segment] if len(segments) > self._segment else ""
            for segments in (path.split("/") for path in path_readings(raw_path))
        }
        if len(readings) > 1:
            return _NOTHING
        return readings.pop().encode("utf-8", "surrogateescape")
