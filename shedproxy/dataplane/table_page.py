"""Tables of cells in memory that a supervisor shares with its workers: written once, read in place.

The memory is a few slots of one size. The supervisor writes a table into a slot that nobody reads
and tells the workers its number; a worker looks keys up where the bytes lie, and says so, after
which its former slot is free again. However large the table, a worker changes one reference.
Slots are sparse: memory is used for what was written.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterable
from typing import Any

from shedproxy.clock import monotonic_now
from shedproxy.core import CellTable
from shedproxy.dataplane.share_page import memory_file
from shedproxy.errors import StartupError

__all__ = ["SLOTS", "TablePage", "TableReader"]

SLOTS = 8
"""More than a supervisor and workers that stand still at different tables can hold."""
_PAGE = 4096


class TablePage:
    """The slots. Made by the supervisor with `create`, by a worker with `attach`."""

    def __init__(self, fd: int, mapping: mmap.mmap) -> None:
        self.fd = fd
        self._mapping = mapping
        self.slot_size = len(mapping) // SLOTS

    @classmethod
    def create(cls, table_size_max: int) -> TablePage:
        """Slots for tables of at most so many bytes.

        Raises:
            StartupError: the system gives no memory for it.
        """
        slot_size = -(-table_size_max // _PAGE) * _PAGE
        try:
            fd = memory_file()
            os.ftruncate(fd, slot_size * SLOTS)
            mapping = mmap.mmap(fd, slot_size * SLOTS)
        except OSError as error:
            raise StartupError(f"no shared memory for tables of cells: {error}") from error
        return cls(fd, mapping)

    @classmethod
    def attach(cls, fd: int) -> TablePage:
        """Map the slots behind a descriptor, for reading.

        Raises:
            StartupError: there are none.
        """
        try:
            size = os.fstat(fd).st_size
            mapping = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise StartupError(f"descriptor {fd} holds no tables of cells: {error}") from error
        return cls(fd, mapping)

    def write(self, data: bytes, used: Iterable[int]) -> int:
        """Put a table into a slot that is not in use; its number, -1: there is none.

        Raises:
            ValueError: it is larger than a slot.
        """
        if len(data) > self.slot_size:
            raise ValueError(f"a table of {len(data)} bytes: {self.slot_size} at most")
        free = set(range(SLOTS)).difference(used)
        if not free:
            return -1
        slot = min(free)
        start = slot * self.slot_size
        self._mapping[start : start + len(data)] = data
        return slot

    def table(self, slot: int, size: int) -> CellTable:
        """The table that lies in a slot; it stays there, and must not be written over meanwhile.

        Raises:
            ValueError: there is none.
        """
        if not (0 <= slot < SLOTS and 0 < size <= self.slot_size):
            raise ValueError(f"slot {slot} of {size} bytes is none")
        start = slot * self.slot_size
        return CellTable(memoryview(self._mapping)[start : start + size])

    def close(self) -> None:
        """Let go; a table that somebody still reads keeps its memory."""
        with contextlib.suppress(BufferError):
            self._mapping.close()
        os.close(self.fd)


class TableReader:
    """A worker's end: the table that it was told of last."""

    def __init__(self, fd: int) -> None:
        """`fd` is -1 where nobody shares tables."""
        self._page = TablePage.attach(fd) if fd >= 0 else None
        self._slot = -1
        self._began_at = 0
        self.table: CellTable | None = None

    def turn_to(self, place: Any) -> None:
        """Look at what the supervisor says: [slot, bytes], or None for no table.

        What makes no sense changes nothing.
        """
        self._began_at = monotonic_now()
        if self._page is None or place is None:
            self._slot, self.table = -1, None
            return
        with contextlib.suppress(ValueError, TypeError):
            slot, size = place
            self.table = self._page.table(slot, size)
            self._slot = slot

    def taken(self) -> dict[str, int]:
        """What to tell the supervisor: the slot that is read now, and the ns that it took."""
        return {"slot": self._slot, "took_ns": monotonic_now() - self._began_at}
