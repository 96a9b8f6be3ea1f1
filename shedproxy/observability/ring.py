"""The last refusals, kept so that an operator can ask "why was this one refused?" by its id.

Fixed-size records in one buffer, overwritten in a circle. The buffer may be shared memory: another
process then reads it while the writer's event loop is blocked. A record begins with its id, which
is overwritten first; a reader looks at it before and after copying and takes a record only when
both are the id it wants. Nobody knows the new id before its record is complete.

An id holds a nonce of the writer's start, the worker and a serial number, so that an id from before
a restart never finds somebody else's record.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from shedproxy.core import Rejected
from shedproxy.observability.refusal_record import (
    PACK_INTO,
    RECORD_SIZE,
    RefusalRecord,
    State,
    pack_clamped,
    unpack,
)

__all__ = ["CAPACITY", "RefusalRecord", "RefusalRing", "find_refusal", "ring_size"]

CAPACITY: Final = 4096
"""Refusals kept per worker."""

_HEADER_SIZE: Final = 64
_WORDS: Final = RECORD_SIZE // 8
_ROUTES_MAX: Final = 1024
"""Routes whose last state is kept as it was written."""
_SERIAL_BITS: Final = 36
_WORKER_BITS: Final = 8
_NONCE_BITS: Final = 18
"""With them an id has 62 bits: compiled, larger numbers are objects of their own."""
_SERIAL_MASK: Final = (1 << _SERIAL_BITS) - 1

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)} | {
    "O": 0,
    "I": 1,
    "L": 1,
}
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Every two letters: a refusal is answered with its id, so that writing one must be cheap."""
_ENDS: Final = [pair.encode() for pair in _PAIRS]
_ID_LENGTH: Final = 13
_END_BITS: Final = 10
_END_MASK: Final = (1 << _END_BITS) - 1
"""What the last two letters hold; those before them are the same for a thousand refusals."""


@lru_cache(maxsize=64)
def _start_of_id(high: int) -> str:
    pairs = [_PAIRS[high >> shift & _END_MASK] for shift in (40, 30, 20, 10, 0)]
    return _ALPHABET[high >> 50] + "".join(pairs)


def ring_size(capacity: int = CAPACITY) -> int:
    """Bytes that a ring of this capacity takes."""
    return _HEADER_SIZE + capacity * RECORD_SIZE


class RefusalRing:
    """Writes refusals into a buffer and finds them again. One writer, any number of readers.

    Args:
        buffer: Where to write, of `ring_size()` bytes or more, or None for memory of its own. What
            it already holds stays readable, and the new writer goes on behind it.
        capacity: Records kept when there is no buffer; with one, what fits.
        worker: Number of the worker, 0 to 255.
        nonce: Tells this start of the writer from others; random when not given.
    """

    __slots__ = (
        "_buffer",
        "_capacity",
        "_prefix",
        "_serial",
        "_start",
        "_start_at",
        "_states",
        "_words",
    )

    def __init__(
        self,
        buffer: memoryview | None = None,
        capacity: int = CAPACITY,
        worker: int = 0,
        *,
        nonce: int | None = None,
    ) -> None:
        if buffer is None:
            buffer = memoryview(bytearray(ring_size(capacity)))
        self._buffer = buffer
        self._capacity = (len(buffer) - _HEADER_SIZE) // RECORD_SIZE
        if self._capacity < 1:
            raise ValueError(f"a ring needs at least {ring_size(1)} bytes, not {len(buffer)}")
        self._words = buffer[: ring_size(self._capacity)].cast("Q")
        self._serial = self._words[0] & _SERIAL_MASK
        if nonce is None:
            nonce = int.from_bytes(os.urandom(3), "little")
        self._prefix = _prefix_of(nonce, worker)
        self._states: dict[str, State] = {}
        self._start_at = -1
        self._start = b""
        """The letters before the last two of an id, of the ids that begin like `_start_at`."""

    def record(self, rejected: Rejected, *, cell: int, mode: int, wall_ns: int) -> int:
        """Keep a refusal; the oldest one makes room. Returns the id under which it is found."""
        serial = self._serial
        at = _HEADER_SIZE + (serial % self._capacity) * RECORD_SIZE
        refusal_id = self._prefix | serial
        numbers = rejected.numbers
        count = len(numbers)
        try:
            # A refusal must be cheap: each number by itself, because a list of them costs more.
            PACK_INTO(
                self._buffer,
                at,
                refusal_id,
                wall_ns,
                rejected.at,
                self._state_of(rejected.request.route).of(rejected, cell, mode),
                numbers[0] if count > 0 else 0,
                numbers[1] if count > 1 else 0,
                numbers[2] if count > 2 else 0,
                numbers[3] if count > 3 else 0,
            )
        except struct.error:
            pack_clamped(self._buffer, at, refusal_id, rejected, cell, mode, wall_ns)
        serial = (serial + 1) & _SERIAL_MASK
        if serial == 0:
            # After 2**36 refusals serials repeat: a new nonce keeps ids apart.
            self._prefix = _prefix_of(self._prefix >> _SERIAL_BITS + _WORKER_BITS, self.worker)
        self._serial = self._words[0] = serial
        return refusal_id

    def text_of(self, refusal_id: int) -> bytes:
        """As `format_id`, for ids that were given one after the other."""
        high = refusal_id >> _END_BITS
        if high != self._start_at:
            self._start_at = high
            self._start = _start_of_id(high).encode()
        return self._start + _ENDS[refusal_id & _END_MASK]

    @property
    def worker(self) -> int:
        """Number of the worker that writes here."""
        return (self._prefix >> _SERIAL_BITS) & ((1 << _WORKER_BITS) - 1)

    @property
    def capacity(self) -> int:
        """Refusals it keeps."""
        return self._capacity

    def find(self, refusal_id: int) -> RefusalRecord | None:
        """The refusal of this id, or None: never recorded here, or overwritten since."""
        if refusal_id <= 0 or refusal_id >> 64:
            return None
        position = (refusal_id & _SERIAL_MASK) % self._capacity
        return self._read(position, refusal_id)

    def recent(self, count: int) -> list[RefusalRecord]:
        """The last refusals, newest first; fewer when fewer are there."""
        return list(self._recent(min(count, self._capacity)))

    def release(self) -> None:
        """Let go of the buffer, so that the memory behind it can be closed."""
        self._words.release()
        self._buffer.release()

    @staticmethod
    def format_id(refusal_id: int) -> str:
        """The id as 13 letters and digits (Crockford's base 32: none looks like another)."""
        return _start_of_id(refusal_id >> _END_BITS) + _PAIRS[refusal_id & _END_MASK]

    @staticmethod
    def parse_id(text: str) -> int | None:
        """The id that a text names, in either case, or None when it is not one."""
        letters = text.strip().upper()
        if len(letters) != _ID_LENGTH:
            return None
        refusal_id = 0
        for letter in letters:
            value = _VALUES.get(letter)
            if value is None:
                return None
            refusal_id = refusal_id << 5 | value
        return refusal_id if 0 < refusal_id < 1 << 64 else None

    def _recent(self, count: int) -> Iterator[RefusalRecord]:
        newest = self._words[0] & _SERIAL_MASK
        for back in range(1, count + 1):
            position = ((newest - back) & _SERIAL_MASK) % self._capacity
            refusal_id = self._words[(_HEADER_SIZE + position * RECORD_SIZE) >> 3]
            record = self._read(position, refusal_id) if refusal_id else None
            if record is not None:
                yield record

    def _read(self, position: int, refusal_id: int) -> RefusalRecord | None:
        at = _HEADER_SIZE + position * RECORD_SIZE
        if self._words[at >> 3] != refusal_id:
            return None
        body = bytes(self._buffer[at + 8 : at + RECORD_SIZE])
        if self._words[at >> 3] != refusal_id:
            return None
        return unpack(refusal_id, body)

    def _state_of(self, route: str) -> State:
        state = self._states.get(route)
        if state is None:
            if len(self._states) >= _ROUTES_MAX:
                self._states.clear()
            state = self._states[route] = State(route)
        return state


def find_refusal(rings: Iterable[RefusalRing], id_text: str) -> RefusalRecord | None:
    """Look an id up in the rings of all workers; None when it is no id or no longer kept."""
    refusal_id = RefusalRing.parse_id(id_text)
    if refusal_id is None:
        return None
    for ring in rings:
        record = ring.find(refusal_id)
        if record is not None:
            return record
    return None


def _prefix_of(nonce: int, worker: int) -> int:
    """The upper bits of ids; never 0, which marks a record as not there."""
    if not 0 <= worker < 1 << _WORKER_BITS:
        raise ValueError(f"a worker's number is 0 to {(1 << _WORKER_BITS) - 1}, not {worker}")
    nonce = nonce % ((1 << _NONCE_BITS) - 1) + 1
    return (nonce << _WORKER_BITS | worker) << _SERIAL_BITS
