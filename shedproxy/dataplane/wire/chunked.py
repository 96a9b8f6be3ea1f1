"""The chunked coding, strictly (RFC 9112 7.1).

Extensions are bounded and dropped, trailers are bounded, checked and kept apart: a trailer never
becomes a header, because classification has read the headers long before (and two parsers that
merge differently disagree). Every line ends in CRLF exactly.
"""

from __future__ import annotations

import re

from shedproxy.dataplane.wire.grammar import HeadError
from shedproxy.observability.fault import Fault

__all__ = ["LAST_CHUNK", "ChunkedReader", "encode_chunk"]

LAST_CHUNK = b"0\r\n\r\n"

EXTENSION_SIZE_MAX = 256
"""Bytes of extensions on one chunk, the semicolon included."""
EXTENSIONS_SIZE_MAX = 16 * 1024
"""Bytes of extensions in one body."""
TRAILER_SIZE_MAX = 4 * 1024
TRAILER_COUNT_MAX = 32

_SIZE_MAX = 2**63 - 1
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)([ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?+\r\n")
_CHUNK_LINE_BEGUN = re.compile(
    rb"(?:[0-9A-Fa-f]{1,16}+(?:\r|[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+\r?+)?+)?+)?+"
)
_CHUNK_LINE_SIZE_MAX = 16 + EXTENSION_SIZE_MAX + 2
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([\t\x20-\x7e\x80-\xff]*+)\r\n")
_TRAILER_BEGUN = re.compile(
    rb"(?:\r|(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++(?::[\t\x20-\x7e\x80-\xff]*+\r?+)?+)?+)"
)

_LINE, _DATA, _TRAILERS, _DONE = range(4)

_RUN_SIZE_MAX = 16
_RUN_COUNT = 256
"""Chunks of at most so many bytes that have the same line are read so many at a time: a body of
one-byte chunks costs little more than in one piece."""


def _small_chunk() -> bytes:
    """Matches one whole chunk of 1 to 255 bytes without extensions, whose size tells its length."""
    digits = [b"%x" % digit if digit < 10 else b"[%x%X]" % (digit, digit) for digit in range(16)]

    def ends(size: int) -> bytes:
        return b"\r\n.{%d}\r\n" % size

    def of(high: int) -> bytes:
        longer = (digits[low] + ends(16 * high + low) for low in range(16))
        return digits[high] + b"(?:" + b"|".join((ends(high), *longer)) + b")"

    return b"0{0,13}+(?:" + b"|".join(map(of, range(1, 16))) + b")"


_SMALL_SIZE_MAX = 255
_SMALL_CHUNK = re.compile(_small_chunk(), re.DOTALL)
_SMALL_CHUNKS = re.compile(b"(?:" + _small_chunk() + b"){4,1024}+", re.DOTALL)
"""Chunks of different small sizes, which are found without a step of ours for each."""


def encode_chunk(piece: bytes) -> bytes:
    """One chunk around `piece`; nothing for an empty one, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


class ChunkedReader:
    """Takes a chunked body as it comes and gives back its payload.

    After HeadError the reader is spent: the connection must be closed.
    """

    __slots__ = (
        "_extensions_size",
        "_fault",
        "_pending",
        "_remaining",
        "_state",
        "_trailer_size",
        "consumed",
        "trailers",
    )

    def __init__(self, fault: Fault = Fault.BAD_REQUEST) -> None:
        self._fault = fault
        self._state = _LINE
        self._pending = b""
        """A line begun in an earlier feed: bounded by what one line may hold."""
        self._remaining = 0
        """Payload bytes left of the chunk, and then its CRLF: counts from size + 2 down."""
        self._extensions_size = 0
        self._trailer_size = 0
        self.trailers: list[tuple[bytes, bytes]] = []
        """Names in lower case and values of the trailer fields so far."""
        self.consumed = 0
        """Once done: index in the last data fed of the first byte that is not of this body."""

    @property
    def is_done(self) -> bool:
        """True once the empty line after the last chunk is in."""
        return self._state == _DONE

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take what came and return its payload: one piece, or none.

        The payload of all chunks in `data` is joined, so that a body of one-byte chunks costs the
        other side no more than one of large chunks. Nothing may be fed once `is_done`.

        Raises:
            HeadError: the coding is broken or over a bound; the fault is the reader's.
        """
        if self._state == _DONE:
            raise ValueError("the body is complete")
        carried = len(self._pending)
        raw = self._pending + data if carried else bytes(data)
        self._pending = b""
        pieces: list[bytes] = []
        position, end = 0, len(raw)
        while position < end:
            if self._state == _DATA:
                position = self._read_data(raw, position, pieces)
            elif self._state == _LINE:
                start = position
                position = self._read_line(raw, start)
                if 2 < self._remaining <= 2 + _SMALL_SIZE_MAX:
                    position = self._read_small(raw, start, position, pieces)
            elif self._state == _TRAILERS:
                position = self._read_trailer(raw, position)
            else:
                break
        self.consumed = position - carried
        return [b"".join(pieces)] if len(pieces) > 1 else pieces

    def _read_data(self, raw: bytes, position: int, pieces: list[bytes]) -> int:
        if self._remaining > 2:
            piece = raw[position : position + self._remaining - 2]
            pieces.append(piece)
            position += len(piece)
            self._remaining -= len(piece)
        # What is left of the chunk is its CRLF; either byte may be in the next feed.
        while self._remaining <= 2 and position < len(raw):
            if raw[position] != (0x0D if self._remaining == 2 else 0x0A):
                raise HeadError(self._fault, "chunk does not end in CRLF")
            position += 1
            self._remaining -= 1
            if self._remaining == 0:
                self._state = _LINE
                break
        return position

    def _read_line(self, raw: bytes, position: int) -> int:
        match = _CHUNK_LINE.match(raw, position)
        if match is None:
            begun = raw[position : position + _CHUNK_LINE_SIZE_MAX + 1]
            if len(begun) > _CHUNK_LINE_SIZE_MAX or _CHUNK_LINE_BEGUN.fullmatch(begun) is None:
                raise HeadError(self._fault, "malformed chunk size line")
            self._pending = begun
            return len(raw)
        digits, extensions = match.groups()
        if extensions is not None:
            self._extensions_size += len(extensions)
            if len(extensions) > EXTENSION_SIZE_MAX or self._extensions_size > EXTENSIONS_SIZE_MAX:
                raise HeadError(self._fault, "chunk extensions are over their bound")
        size = int(digits, 16)
        if size > _SIZE_MAX:
            raise HeadError(self._fault, "chunk size is over its bound")
        self._remaining = size + 2
        self._state = _DATA if size else _TRAILERS
        return match.end()

    def _read_small(self, raw: bytes, start: int, data_at: int, pieces: list[bytes]) -> int:
        """Take many small chunks, the first of which begins at `start`; where to go on."""
        if self._remaining <= 2 + _RUN_SIZE_MAX:
            position = self._read_run(raw, start, data_at, pieces)
            if position != data_at:
                return position
        found = _SMALL_CHUNKS.match(raw, start)
        if found is None:
            return data_at
        chunks = _SMALL_CHUNK.findall(found[0])
        pieces.append(b"".join([chunk[chunk.index(b"\n") + 1 : -2] for chunk in chunks]))
        self._remaining = 0
        self._state = _LINE
        return found.end()

    def _read_run(self, raw: bytes, start: int, data_at: int, pieces: list[bytes]) -> int:
        """Take whole runs of chunks like the one whose line is at `start`; where to go on."""
        size = self._remaining - 2
        head_size = data_at - start
        period = head_size + size + 2
        length = period * _RUN_COUNT
        if len(raw) - start < length or b";" in raw[start:data_at]:
            return data_at
        fixed = [(index, raw[start + index : start + index + 1]) for index in range(head_size)]
        fixed += [(period - 2, b"\r"), (period - 1, b"\n")]
        position = start
        while position + length <= len(raw):
            end = position + length
            # Byte by byte of the framing, of all chunks at once.
            if any(raw[position + at : end : period] != byte * _RUN_COUNT for at, byte in fixed):
                break
            piece = bytearray(size * _RUN_COUNT)
            for index in range(size):
                piece[index::size] = raw[position + head_size + index : end : period]
            pieces.append(bytes(piece))
            position = end
        if position == start:
            return data_at
        self._remaining = 0
        self._state = _LINE
        return position

    def _read_trailer(self, raw: bytes, position: int) -> int:
        if raw.startswith(b"\r\n", position):
            self._state = _DONE
            return position + 2
        match = _TRAILER.match(raw, position)
        if match is None:
            begun = raw[position : position + TRAILER_SIZE_MAX + 2]
            if _TRAILER_BEGUN.fullmatch(begun) is None:
                raise HeadError(self._fault, "malformed trailer")
            # One byte above the bound may be the CR of the empty line.
            if self._trailer_size + len(begun) > TRAILER_SIZE_MAX + 1:
                raise HeadError(self._fault, "trailers are over their bound")
            self._pending = begun
            return len(raw)
        self._trailer_size += match.end() - position
        self.trailers.append((match[1].lower(), match[2].strip(b" \t")))
        if self._trailer_size > TRAILER_SIZE_MAX or len(self.trailers) > TRAILER_COUNT_MAX:
            raise HeadError(self._fault, "trailers are over their bound")
        return match.end()
