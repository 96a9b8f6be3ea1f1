"""The page that a supervisor shares with its workers: numbers in memory, no calls, no locks.

Each worker writes only its own region (heartbeat, state, metric slots, ring of refusals) and its
own words among those by which workers share a limit (`core/share`), so that there is nothing to
lock; the supervisor reads all of them, also while a worker is blocked in whatever way. The page is
an unnamed file in memory, passed on as a file descriptor; it is gone with the last process that has
it, and sealed, so that nobody can make it shorter under those who read it. Counters outlive the
worker that counted: its successor goes on.

Regions are sparse: memory is used for what was written, not for the size of the page.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import mmap
import os
import struct
from collections.abc import Mapping

from shedproxy.core import SHARE_FIELDS, SHARE_WORDS, Instant, Mode, reserve
from shedproxy.errors import StartupError
from shedproxy.observability.meter import clear_gauges
from shedproxy.observability.ring import RefusalRing, ring_size
from shedproxy.observability.slot_layout import LAYOUT, layout_digest
from shedproxy.snapshot import CELLS_MAX

__all__ = ["SharePage", "WorkerState", "WorkerView", "memory_file"]

_MAGIC = b"shedpage"
_VERSION = 4
_HEADER = struct.Struct("<8sIIIIQ")
"""Magic, version, digest of the slot layout, workers, capacity of a ring, bytes per worker."""

_PAGE = 4096
_HEADER_SIZE = _PAGE
_WORKER_HEADER_SIZE = 256
_RING_CAPACITY = 4096
_WORKERS_MAX = 256


class WorkerState(enum.IntEnum):
    """Where a worker is in its life."""

    STARTING = 0
    SERVING = 1
    ANNOUNCED = 2
    """Tells clients to go elsewhere, and still serves."""
    DRAINING = 3
    STOPPED = 4

    @property
    def label(self) -> str:
        """The word used in the status page and in metrics."""
        return self.name.lower()


class _Word(enum.IntEnum):
    """Words of a worker's header."""

    HEARTBEAT = 0
    PID = 1
    STARTED_AT = 2
    MODE = 3
    STATE = 4
    REVISION = 5


class WorkerView:
    """The region of one worker: written by that worker, read by everybody.

    `slots` (integers, for a `Meter`) and `ring_buffer` (bytes, for a `RefusalRing`) are views of
    the page and end with it.
    """

    __slots__ = ("_ring", "_words", "index", "ring_buffer", "slots")

    def __init__(self, index: int, region: memoryview, ring_capacity: int) -> None:
        slots_end = _WORKER_HEADER_SIZE + LAYOUT.total * 8
        self.index = index
        with region[:_WORKER_HEADER_SIZE] as header:
            self._words = header.cast("q")
        with region[_WORKER_HEADER_SIZE:slots_end] as block:
            self.slots: memoryview[int] = block.cast("q")
        self.ring_buffer = region[slots_end : slots_end + ring_size(ring_capacity)]
        self._ring: RefusalRing | None = None

    @property
    def ring(self) -> RefusalRing:
        """The refusals of this worker; the one object for writing and for reading."""
        if self._ring is None:
            self._ring = RefusalRing(self.ring_buffer[:], worker=self.index)
        return self._ring

    @property
    def heartbeat(self) -> Instant:
        """When the worker's event loop last turned; 0: not yet.

        Monotonic time is one timeline for all processes of a host, so that another process can
        tell the age.
        """
        return Instant(self._words[_Word.HEARTBEAT])

    @heartbeat.setter
    def heartbeat(self, now: Instant) -> None:
        self._words[_Word.HEARTBEAT] = now

    @property
    def pid(self) -> int:
        """Process of the worker, 0 before it has one."""
        return self._words[_Word.PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[_Word.PID] = pid

    @property
    def started_at(self) -> Instant:
        """When the worker started, 0 before."""
        return Instant(self._words[_Word.STARTED_AT])

    @started_at.setter
    def started_at(self, now: Instant) -> None:
        self._words[_Word.STARTED_AT] = now

    @property
    def mode(self) -> Mode:
        """Mode in force in the worker."""
        return Mode(self._words[_Word.MODE])

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._words[_Word.MODE] = mode

    @property
    def state(self) -> WorkerState:
        """Where the worker is in its life."""
        return WorkerState(self._words[_Word.STATE])

    @state.setter
    def state(self, state: WorkerState) -> None:
        self._words[_Word.STATE] = state

    @property
    def revision(self) -> int:
        """Revision of the document in force in the worker."""
        return self._words[_Word.REVISION]

    @revision.setter
    def revision(self, revision: int) -> None:
        self._words[_Word.REVISION] = revision

    def reset(self) -> None:
        """The worker is gone or starts anew: forget its present, keep what it counted."""
        for word in _Word:
            self._words[word] = 0
        clear_gauges(self.slots)

    def release(self) -> None:
        """Let go of the page."""
        if self._ring is not None:
            self._ring.release()
        self._words.release()
        self.slots.release()
        self.ring_buffer.release()


class SharePage:
    """The page. Made by the supervisor with `create`, by a worker with `attach`."""

    def __init__(self, fd: int, mapping: mmap.mmap, workers: int, ring_capacity: int) -> None:
        self.fd = fd
        self._mapping = mapping
        stride = _worker_stride(ring_capacity)
        with memoryview(mapping) as whole:
            self._views = [
                _view_of(whole, index, stride, ring_capacity) for index in range(workers)
            ]
            start = _HEADER_SIZE + workers * stride
            with whole[start : start + CELLS_MAX * SHARE_WORDS * workers * 8] as block:
                self._shared = block.cast("q")

    @classmethod
    def create(cls, workers: int, *, ring_capacity: int = _RING_CAPACITY) -> SharePage:
        """Make a page of zeros for this many workers (1 to 256).

        Raises:
            StartupError: The system gives no memory for it.
        """
        if not 1 <= workers <= _WORKERS_MAX:
            raise ValueError(f"a page has 1 to {_WORKERS_MAX} workers, not {workers}")
        stride = _worker_stride(ring_capacity)
        size = _page_size(workers, stride)
        try:
            fd = memory_file()
            os.ftruncate(fd, size)
            _seal(fd)
            mapping = mmap.mmap(fd, size)
        except OSError as error:
            raise StartupError(f"no shared memory for the workers: {error}") from error
        _HEADER.pack_into(
            mapping, 0, _MAGIC, _VERSION, layout_digest(), workers, ring_capacity, stride
        )
        return cls(fd, mapping, workers, ring_capacity)

    @classmethod
    def attach(cls, fd: int) -> SharePage:
        """Map the page behind a file descriptor; the descriptor belongs to the page from then on.

        Raises:
            StartupError: It is no page, or one of another version of shedproxy.
        """
        try:
            size = os.fstat(fd).st_size
            mapping = mmap.mmap(fd, size)
        except (OSError, ValueError) as error:
            raise StartupError(f"descriptor {fd} is no shared page: {error}") from error
        problem = _header_problem(mapping, size)
        if problem:
            mapping.close()
            raise StartupError(f"descriptor {fd}: {problem}")
        _, _, _, workers, ring_capacity, _ = _HEADER.unpack_from(mapping)
        return cls(fd, mapping, workers, ring_capacity)

    def __len__(self) -> int:
        """Workers that have a region."""
        return len(self._views)

    def worker(self, index: int) -> WorkerView:
        """The region of a worker."""
        return self._views[index]

    @property
    def workers(self) -> list[WorkerView]:
        """The regions of all workers."""
        return list(self._views)

    @property
    def rings(self) -> list[RefusalRing]:
        """The refusals of all workers, for `find_refusal`."""
        return [view.ring for view in self._views]

    @property
    def slots(self) -> list[memoryview[int]]:
        """The metric slots of all workers, for `samples`."""
        return [view.slots for view in self._views]

    def share_words(self, cell: int) -> memoryview[int]:
        """The words of all workers for a cell, by its number (below `CELLS_MAX`)."""
        size = SHARE_WORDS * len(self._views)
        return self._shared[cell * size : (cell + 1) * size]

    def reset(self, index: int) -> None:
        """A worker is gone or starts anew: its gauges are cleared, its counters stay.

        What it had in flight is over: its connections ended with it.
        """
        self._views[index].reset()
        workers = len(self._views)
        # What it has measured stays true, and to touch its rings would make memory of them.
        for start in range(0, len(self._shared), SHARE_WORDS * workers):
            for row in range(SHARE_FIELDS):
                self._shared[start + row * workers + index] = 0

    def reserve(self, index: int, limits: Mapping[int, int], now: Instant) -> None:
        """Write for a worker that has no page: it lives, and has these slots of each cell."""
        self._views[index].heartbeat = now
        for cell, slots in limits.items():
            words = self.share_words(cell)
            reserve(words, workers=len(self._views), own=index, slots=slots, now=now)

    def close(self) -> None:
        """Unmap the page and close its descriptor; views of it can no longer be used."""
        self._shared.release()
        for view in self._views:
            view.release()
        self._views = []
        # Somebody may still hold a slice of ours: then the memory goes when the slice goes.
        with contextlib.suppress(BufferError):
            self._mapping.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)
        self.fd = -1


def _worker_stride(ring_capacity: int) -> int:
    """Bytes of a worker's region: whole pages, so that no two workers write into one."""
    size = _WORKER_HEADER_SIZE + LAYOUT.total * 8 + ring_size(ring_capacity)
    return -(-size // _PAGE) * _PAGE


def _page_size(workers: int, stride: int) -> int:
    """All of it: the workers' regions, and the words that they share."""
    shared = CELLS_MAX * SHARE_WORDS * workers * 8
    return _HEADER_SIZE + workers * stride + -(-shared // _PAGE) * _PAGE


def _view_of(whole: memoryview, index: int, stride: int, ring_capacity: int) -> WorkerView:
    start = _HEADER_SIZE + index * stride
    with whole[start : start + stride] as region:
        return WorkerView(index, region, ring_capacity)


def _header_problem(mapping: mmap.mmap, size: int) -> str:
    """What is wrong with the header of a page, or ""."""
    if size < _HEADER_SIZE:
        return "too small for a shared page"
    magic, version, digest, workers, ring_capacity, stride = _HEADER.unpack_from(mapping)
    if magic != _MAGIC:
        return "not a shared page"
    if version != _VERSION or digest != layout_digest():
        return "a shared page of another version of shedproxy"
    if stride != _worker_stride(ring_capacity) or size != _page_size(workers, stride):
        return "a shared page of another size than its header says"
    return ""


def _seal(fd: int) -> None:
    """Its size is for ever: touching what was cut off would end a process, and so all of them."""
    if hasattr(fcntl, "F_ADD_SEALS"):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        # A file that was no memory from the start has no seals.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def memory_file() -> int:
    """An unnamed file in memory, or where the system has none, an unlinked temporary file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("shedproxy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    import tempfile  # noqa: PLC0415 - rarely needed, and every worker would carry it

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
