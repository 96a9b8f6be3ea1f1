"""Which cell a key belongs to: a small explicit table of buckets, and keys that are pinned.

A key is hashed (by the caller, with a secret) to 64 bits. Its top 14 bits name one of 16 384
buckets, and a table says of each bucket whose it is: little, stable state, and adding a cell moves
what it takes and nothing else (the mapping that AWS' guidance on cell-based architecture
recommends). Keys that are pinned are looked up first, by their whole hash, in an open-addressed
table (linear probing, Knuth, vol. 3, 6.4).

The table is one flat piece of bytes with a fixed place for everything: it is read where it lies
(in memory that processes share), and a new one takes its place by one reference. Equal bytes give
equal answers in every process. It holds no key, only hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

__all__ = [
    "BUCKETS",
    "CELL_NAMES_MAX",
    "CellTable",
    "MovePhase",
    "bucket_of",
    "build_cell_table",
    "hold_marked",
    "motion_place",
]

BUCKETS: Final = 16_384
CELL_NAMES_MAX: Final = 64
"""Cells that one table knows."""

_BUCKET_SHIFT: Final = 50
_MAGIC: Final = b"shdcell1"
_NAME_SIZE: Final = 64
_NAMES_AT: Final = 64
_BUCKETS_AT: Final = _NAMES_AT + CELL_NAMES_MAX * _NAME_SIZE
_PLACES_AT: Final = _BUCKETS_AT + 4 * BUCKETS
_SLOTS_MIN: Final = 8
_SLOTS_MAX: Final = 1 << 26
_PROBES_MAX: Final = 64
"""A pinned key is found in so many looks, or the table is built larger."""
_CELL_MASK: Final = 0xFF
_STILL_MAX: Final = 0xFF
"""Places above it move."""
_OTHER_SHIFT: Final = 8
_PHASE_SHIFT: Final = 16
_WORD: Final = (1 << 64) - 1


class MovePhase:
    """What is to be done with requests of a key that moves. A place without phase stands still."""

    MARKED: Final = 1
    """Served where it is; what runs is counted, so that its end can be seen."""
    HELD: Final = 2
    """Nobody begins: requests wait until the table says where."""


def bucket_of(key_hash: int) -> int:
    """The bucket of a hashed key, 0..16383."""
    return key_hash >> _BUCKET_SHIFT & (BUCKETS - 1)


def motion_place(owner: int, target: int, phase: int) -> int:
    """The place of a key (or bucket) that moves from one cell to another."""
    return owner | target << _OTHER_SHIFT | phase << _PHASE_SHIFT


class CellTable:
    """A table as it lies in memory. Looking up costs the same whatever it holds.

    Args:
        data: what `build_cell_table` made; not copied, and not to be changed.

    Raises:
        ValueError: it is no such table. `verify` looks at every entry besides.
    """

    __slots__ = (
        "_buckets",
        "_keys",
        "_mask",
        "_places",
        "default",
        "moving_count",
        "names",
        "pin_count",
        "secret_id",
        "slot_count",
        "version",
    )

    def __init__(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        if len(view) < _PLACES_AT or bytes(view[:8]) != _MAGIC:
            raise ValueError("not a table of cells")
        head = view[:_NAMES_AT].cast("Q")
        slot_count: int = head[2]
        if slot_count < _SLOTS_MIN or slot_count > _SLOTS_MAX or slot_count & (slot_count - 1):
            raise ValueError("a table of cells with an impossible number of slots")
        keys_at = _PLACES_AT + 4 * slot_count
        end = keys_at + 8 * slot_count
        if len(view) < end:
            raise ValueError("a table of cells that is cut off")
        self.version: int = head[1]
        """Which state of the mapping it is; grows."""
        self.pin_count: int = head[3]
        self.default: int = head[4]
        """The cell of requests that have no key."""
        self.secret_id: int = head[5]
        """Tells tables for another secret apart: hashes of one mean nothing to another."""
        if head[6] > CELL_NAMES_MAX:
            raise ValueError("a table of cells whose names do not fit")
        self.moving_count: int = head[7]
        """Places that have a phase: of pinned keys, and of buckets."""
        names = []
        for index in range(head[6]):
            at = _NAMES_AT + index * _NAME_SIZE
            names.append(bytes(view[at : at + _NAME_SIZE]).rstrip(b"\0").decode("ascii"))
        self.names: tuple[str, ...] = tuple(names)
        """Of cells, by the numbers that places have."""
        self.slot_count = slot_count
        self._mask = slot_count - 1
        self._buckets = view[_BUCKETS_AT:_PLACES_AT].cast("I")
        self._places = view[_PLACES_AT:keys_at].cast("I")
        self._keys = view[keys_at:end].cast("Q")

    def find(self, key_hash: int) -> int:
        """The place of a key (64-bit hash, not 0): its cell in the low 8 bits, and above them, of a
        key that moves, the other cell and the phase.
        """
        keys = self._keys
        mask = self._mask
        slot = key_hash & mask
        known: int = keys[slot]
        while known:
            if known == key_hash:
                return self._places[slot]
            slot = (slot + 1) & mask
            known = keys[slot]
        return self._buckets[key_hash >> _BUCKET_SHIFT & (BUCKETS - 1)]

    def is_pinned(self, key_hash: int) -> bool:
        """Whether a key has a place of its own, and not that of its bucket."""
        keys = self._keys
        mask = self._mask
        slot = key_hash & mask
        known: int = keys[slot]
        while known:
            if known == key_hash:
                return True
            slot = (slot + 1) & mask
            known = keys[slot]
        return False

    def buckets(self) -> list[int]:
        """The place of every bucket."""
        return list(self._buckets)

    def pins(self) -> dict[int, int]:
        """The places of pinned keys by their hash."""
        return {key: self._places[slot] for slot, key in enumerate(self._keys.tolist()) if key}

    def verify(self) -> None:
        """Look at everything, so that `find` can be believed.

        Raises:
            ValueError: some place is no cell, or a pinned key is where nobody looks.
        """
        count = len(self.names)
        if not 1 <= count <= CELL_NAMES_MAX or self.default >= count or "" in self.names:
            raise ValueError("a table of cells whose names do not fit")
        if len(set(self.names)) < count:
            raise ValueError("a table of cells that names one twice")
        pins = self.pins()
        if len(pins) != self.pin_count or 2 * len(pins) > self._mask + 1:
            raise ValueError("a table of cells with another number of pinned keys than it says")
        for place in {*self._buckets.tolist(), *pins.values()}:
            phase = place >> _PHASE_SHIFT
            other = place >> _OTHER_SHIFT & _CELL_MASK
            if place & _CELL_MASK >= count or other >= count or phase > MovePhase.HELD:
                raise ValueError("a table of cells with a place that is no cell")
            if not phase and other:
                raise ValueError("a table of cells that moves a key in no phase")
        if _count_moving(self._buckets.tolist(), pins.values()) != self.moving_count:
            raise ValueError("a table of cells in which another number of keys moves than it says")
        for key, place in pins.items():
            if self.find(key) != place:
                raise ValueError("a table of cells with a pinned key that is not found")


def build_cell_table(
    names: Sequence[str],
    buckets: Sequence[int],
    pins: Mapping[int, int],
    *,
    default: int = 0,
    version: int = 0,
    secret_id: int = 0,
    slot_count: int = 0,
) -> bytes:
    """A table as flat bytes, the same for the same contents.

    Args:
        names: of cells, at most 64, each 1 to 63 ASCII characters.
        buckets: the place of each of 16 384 buckets.
        pins: places by the hash of keys, 1..2**64-1.
        default: number of the cell of requests without a key.
        version: 0..2**64-1.
        secret_id: of the secret that keys were hashed with.
        slot_count: room for half as many pinned keys, a power of two; 0: what is needed. Tables
            with the same room have the same size.

    Raises:
        ValueError: it cannot be such a table.
    """
    if len(buckets) != BUCKETS:
        raise ValueError(f"a table has {BUCKETS} buckets, not {len(buckets)}")
    if not 1 <= len(names) <= CELL_NAMES_MAX:
        raise ValueError(f"a table has 1 to {CELL_NAMES_MAX} cells, not {len(names)}")
    slots = slot_count or _SLOTS_MIN
    while not slot_count and slots < 2 * len(pins):
        slots *= 2
    while True:
        data = _lay_out(names, buckets, pins, slots, (version, default, secret_id))
        if data is not None:
            CellTable(data).verify()
            return data
        if slot_count:
            raise ValueError(f"{len(pins)} pinned keys do not fit {slot_count} slots")
        slots *= 2


def hold_marked(data: bytes) -> bytes:
    """The table with all keys held that it says are marked: for who cannot know how it went on.

    Raises:
        ValueError: it is no such table.
    """
    table = CellTable(data)
    if not table.moving_count:
        return data
    marked = MovePhase.MARKED << _PHASE_SHIFT
    held = MovePhase.HELD << _PHASE_SHIFT

    def hold(place: int) -> int:
        return place ^ marked ^ held if place >> _PHASE_SHIFT == MovePhase.MARKED else place

    return build_cell_table(
        table.names,
        [hold(place) for place in table.buckets()],
        {key: hold(place) for key, place in table.pins().items()},
        default=table.default,
        version=table.version,
        secret_id=table.secret_id,
        slot_count=table.slot_count,
    )


def _count_moving(*places: Iterable[int]) -> int:
    return sum(place > _STILL_MAX for each in places for place in each)


def _lay_out(
    names: Sequence[str],
    buckets: Sequence[int],
    pins: Mapping[int, int],
    slots: int,
    facts: tuple[int, int, int],
) -> bytes | None:
    """The bytes; None when a pinned key would be too far from where it belongs."""
    if 2 * len(pins) > slots:
        return None
    data = bytearray(_PLACES_AT + 12 * slots)
    view = memoryview(data)
    data[:8] = _MAGIC
    version, default, secret_id = facts
    moving = _count_moving(buckets, pins.values())
    head = (version, slots, len(pins), default, secret_id, len(names), moving)
    for index, fact in enumerate(head):
        view[8 + 8 * index : 16 + 8 * index].cast("Q")[0] = fact
    for index, name in enumerate(names):
        encoded = name.encode("ascii")
        if len(encoded) >= _NAME_SIZE:
            raise ValueError(f"the name of a cell is too long: {name}")
        at = _NAMES_AT + index * _NAME_SIZE
        data[at : at + len(encoded)] = encoded
    places_of_buckets = view[_BUCKETS_AT:_PLACES_AT].cast("I")
    for bucket, place in enumerate(buckets):
        places_of_buckets[bucket] = place
    keys_at = _PLACES_AT + 4 * slots
    places, keys = view[_PLACES_AT:keys_at].cast("I"), view[keys_at:].cast("Q")
    for key in sorted(pins):
        if not 0 < key <= _WORD:
            raise ValueError("the hash of a pinned key is 1..2**64-1")
        slot = key & (slots - 1)
        looks = 1
        while keys[slot]:
            slot = (slot + 1) & (slots - 1)
            looks += 1
        if looks > _PROBES_MAX:
            return None
        keys[slot], places[slot] = key, pins[key]
    return bytes(data)
