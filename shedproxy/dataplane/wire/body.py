"""A body as it comes from a socket: its payload, whether it is complete, and what is left over.

One reader for both directions. Sized bodies are counted, chunked ones decoded; one that lasts until
the connection closes is never complete here: only its owner sees the connection end.
"""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.dataplane.wire.framing import BodyKind, ChunkedReader
from shedproxy.observability.fault import Fault

__all__ = ["BodyReader"]


class BodyReader:
    """Reads one body. `fault` is what a broken chunked coding is called."""

    __slots__ = ("_chunks", "is_complete", "kind", "leftover", "remaining")

    def __init__(self, kind: int, length: int, fault: Fault) -> None:
        self.kind = kind
        self.remaining = length if kind == BodyKind.SIZED else -1
        """Bytes still to come of a sized body; -1: nobody knows."""
        self.is_complete = kind == BodyKind.NONE
        self.leftover = b""
        """Once complete: bytes that came after the body."""
        self._chunks = ChunkedReader(fault) if kind == BodyKind.CHUNKED else None

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        """Once complete: the fields that stood after the last chunk."""
        return self._chunks.trailers if self._chunks is not None else ()

    def feed(self, data: bytes) -> bytes:
        """Take what came and return the payload in it.

        Raises:
            HeadError: the chunked coding is broken; the connection must be closed.
        """
        if self.is_complete:
            self.leftover += data
            return b""
        if self._chunks is not None:
            return self._feed_chunks(self._chunks, data)
        if self.remaining < 0:
            return data
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data
        self.is_complete = True
        if size > self.remaining:
            self.leftover = data[self.remaining :]
            data = data[: self.remaining]
        self.remaining = 0
        return data

    def _feed_chunks(self, chunks: ChunkedReader, data: bytes) -> bytes:
        pieces = chunks.feed(data)
        if chunks.is_done:
            self.is_complete = True
            self.leftover = data[chunks.consumed :]
        return pieces[0] if pieces else b""
