"""Which table of cells lies where, and who may still be reading it."""

from __future__ import annotations

from shedproxy.dataplane.table_page import TablePage
from shedproxy.supervisor.process import WorkerProcess

__all__ = ["TableBoard"]

Place = tuple[int, int]
"""Slot, and bytes."""


class TableBoard:
    """Of one page. A worker that was told a table and has not said yet that it took it is told no
    other, so that it holds two slots at most, however long it stands still.
    """

    def __init__(self, page: TablePage) -> None:
        self._page = page
        self._current: Place | None = None
        self._held: dict[WorkerProcess, set[int]] = {}
        self._waiting: dict[WorkerProcess, int] = {}
        """The slot that each was told, until it says that it took it."""
        self.swap_max_ns = 0
        """Longest that a worker took to change to another table."""

    @property
    def fd(self) -> int:
        """Of the page."""
        return self._page.fd

    def publish(self, data: bytes) -> bool:
        """Make this the table that workers are told; b"": none. False: there is no room now, and
        the one before stays.
        """
        if not data:
            self._current = None
            return True
        used = {slot for slots in self._held.values() for slot in slots}
        if self._current is not None:
            used.add(self._current[0])  # for a worker that starts meanwhile
        slot = self._page.write(data, used)
        if slot >= 0:
            self._current = slot, len(data)
        return slot >= 0

    def tell(self, worker: WorkerProcess) -> Place | None:
        """What to tell a worker with its document."""
        if self._current is not None:
            self._held.setdefault(worker, set()).add(self._current[0])
            self._waiting[worker] = self._current[0]
        return self._current

    def is_due(self, worker: WorkerProcess) -> bool:
        """Whether to tell a worker the table alone."""
        if self._current is None or worker in self._waiting:
            return False
        return self._current[0] not in self._held.get(worker, ())

    def on_taken(self, worker: WorkerProcess, slot: int, took_ns: int) -> None:
        """A worker looks keys up in a slot, and in no other."""
        self.swap_max_ns = max(self.swap_max_ns, took_ns)
        newest = self._waiting.get(worker)
        if newest == slot:
            del self._waiting[worker]
            self._held[worker] = {slot}

    def forget(self, worker: WorkerProcess) -> None:
        """Its process is gone."""
        self._held.pop(worker, None)
        self._waiting.pop(worker, None)

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
