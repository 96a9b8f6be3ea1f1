"""What a worker shares with the others of its host: words of the page, and a bell for each worker.

A bell is an eventfd that the worker's loop watches. It is rung by whoever frees a slot that another
has waited for longest: once for all that a turn of its loop frees, or, in a turn that takes long,
with the first slot that it frees after a millisecond. A bell that cannot be rung is no loss but of
time: who waits looks at the words again every few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from shedproxy.clock import Clock, monotonic_now
from shedproxy.core import NS_PER_MS, CellShare, Instant, Shedder
from shedproxy.dataplane.share_page import SharePage

__all__ = ["HostShare", "Share", "close_bells", "make_bells"]

_DUE_NS: Final = NS_PER_MS
"""In a turn of the loop that takes longer bells are rung in between."""


def make_bells(count: int) -> tuple[int, ...]:
    """Descriptors of so many bells; none where the system has no eventfd."""
    if not hasattr(os, "eventfd"):
        return ()
    return tuple(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count))


def close_bells(bells: Sequence[int]) -> None:
    """Give the descriptors back."""
    for fd in bells:
        with contextlib.suppress(OSError):
            os.close(fd)


class Share(Protocol):
    """What a driver asks of whatever connects it with the other workers."""

    @property
    def workers(self) -> int:
        """How many there are."""

    @property
    def why_lost(self) -> str:
        """Why limits are not shared, but each worker has a part; "": they are."""

    def join(self, shedder: Shedder, cells: Mapping[str, int]) -> None:
        """Let the cells count against the limit of all; `cells` says the number of each."""

    def listen(self, loop: asyncio.AbstractEventLoop, on_ring: Callable[[], None]) -> None:
        """Call back when a slot is free that is ours, until `stop`."""

    def stop(self) -> None:
        """Listen no more."""


class HostShare:
    """The words of a page as one worker uses them.

    Args:
        page: where they are.
        region: which are its own.
        index: which of the workers it is.
        workers: how many there are, successors left out.
        bells: by region; () for none.
        clock: tells how long a bell has been due.
    """

    def __init__(
        self,
        page: SharePage,
        *,
        region: int,
        index: int,
        workers: int,
        bells: Sequence[int] = (),
        clock: Clock = monotonic_now,
    ) -> None:
        self._page = page
        self._region = region
        self._index = index
        self.workers = workers
        self.why_lost = ""
        self._bells = bells
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: set[int] = set()
        """Bells to be rung when this turn of the loop is over."""
        self._due_since = Instant(0)
        self._clock = clock

    def cell(self, number: int) -> CellShare:
        """The words of a cell, by its number."""
        return CellShare(
            self._page.share_words(number),
            workers=len(self._page),
            own=self._region,
            parts=self.workers,
            part=self._index,
            wake=self._ring,
            is_due=self._due.__contains__,
        )

    def _ring(self, region: int) -> None:
        """Once a turn of our loop: who is woken by the first of many answers that we have read runs
        in our place, where workers share a core, and finds one slot where it could find many. On a
        core of its own it would only wait: a turn that takes long rings before it ends.
        """
        if not self._bells:
            return
        if self._loop is None:
            self._ring_now(region)
            return
        now = self._clock()
        if not self._due:
            self._due_since = now
            self._loop.call_soon(self._ring_due)
        self._due.add(region)
        if now - self._due_since > _DUE_NS:
            self._ring_due()

    def _ring_due(self) -> None:
        for region in self._due:
            self._ring_now(region)
        self._due.clear()

    def _ring_now(self, region: int) -> None:
        # A counter that is full has been rung.
        with contextlib.suppress(OSError):
            os.eventfd_write(self._bells[region], 1)

    def join(self, shedder: Shedder, cells: Mapping[str, int]) -> None:
        """Let the cells count against the limit of all; `cells` says the number of each."""
        for name, number in cells.items():
            shedder.join(name, self.cell(number))

    def listen(self, loop: asyncio.AbstractEventLoop, on_ring: Callable[[], None]) -> None:
        """Call back when our bell is rung, until `stop`."""
        if self._bells:
            self._loop = loop
            loop.add_reader(self._bells[self._region], self._on_ring, on_ring)

    def _on_ring(self, on_ring: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            os.eventfd_read(self._bells[self._region])
        on_ring()

    def stop(self) -> None:
        """Listen no more."""
        if self._loop is not None:
            self._loop.remove_reader(self._bells[self._region])
            self._loop = None
            self._ring_due()
