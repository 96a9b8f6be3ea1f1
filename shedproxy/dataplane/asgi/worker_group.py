"""The middleware among the workers of one server: they keep one limit, with no supervisor there.

Each worker takes a seat at a page that all of them find by the same name (`named_page`), and its
cells count against the limits there (`core/share`). What is not counted together (queue, classes,
rules, streams) is cut into equal parts. Where there is no page, for whatever reason, the limit is
cut too: each has a part of it, at least one, and asks for the page again ten times a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Final

from shedproxy.core import NS_PER_S, CellShare, Instant, Shedder
from shedproxy.dataplane.asgi.server_processes import count_siblings, server_of_process
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.named_page import REGIONS, NamedPage, runtime_folder
from shedproxy.snapshot import Document, document_for_worker

__all__ = ["AUTO", "OFF", "WorkerGroup", "group_of_process"]

AUTO: Final = "auto"
"""The workers of one server share."""
OFF: Final = "off"
"""Nobody shares."""

_FEWER_NS: Final = 10 * NS_PER_S
"""Parts become fewer and larger when so long fewer workers were there: one that is started anew
has its part kept."""


def group_of_process(share: str, number: int, document: Document) -> WorkerGroup | None:
    """Those that this process shares limits with; None: it is alone.

    Args:
        share: `AUTO`, `OFF`, or a name that all who share give.
        number: which middleware of the process it is, in the order in which they were made.
        document: what it starts with.
    """
    if share == OFF:
        return None
    server = server_of_process() if share == AUTO else share
    if not server:
        return None
    cells = [cell.name for cell in document.policy.cells]
    known_by = repr((share, server, number if share == AUTO else 0, cells))
    name = hashlib.blake2b(known_by.encode(), digest_size=10).hexdigest()
    # Who joins by a name of the user's own may be anybody's child.
    count = count_siblings if share == AUTO else lambda: 1
    return WorkerGroup(NamedPage(name, runtime_folder()), document, count=count)


_TELL_NS: Final = 3 * NS_PER_S
"""At the start the first worker may be busy for a while."""
_LOST_LOOK_NS: Final = NS_PER_S
"""Without a page, siblings are counted this often."""

_log = logging.getLogger("shedproxy")


class WorkerGroup:
    """One worker's part in it. It gives the driver what to run, and looks when its heart beats."""

    def __init__(self, page: NamedPage, document: Document, *, count: Callable[[], int]) -> None:
        self._page = page
        self._count_processes = count
        """How many there are at least, where there is no page to know it by."""
        self._whole = document
        self._parts = 0
        """Among how many what is not shared is cut; 0: not yet."""
        self._part = 0
        self._fewer_since: Instant | None = None
        self._counted_at = Instant(0)
        self._lost_at: Instant | None = None
        self._was_told = False
        self._is_joined = False
        self._cells: Mapping[str, int] = {}
        self._shares: list[CellShare] = []
        self._driver: Driver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_ring: Callable[[], None] | None = None
        self._watched = -1

    @property
    def why_lost(self) -> str:
        """What is in the way of the page; "" when the limit is shared."""
        return self._page.why

    @property
    def workers(self) -> int:
        """Those that share, or among whom the limit is cut."""
        return self._parts

    def make_driver(self) -> Driver:
        """A driver by the document, as one of the workers has it."""
        self._page.seek()
        self._count()
        part = (self._part, self._parts)
        self._driver = Driver(
            self._own(), share=self, on_heartbeat=self.look, part=part, is_service=True
        )
        return self._driver

    def _own(self) -> Document:
        return document_for_worker(
            self._whole, self._part, self._parts, is_shared=self._page.page is not None
        )

    def _count(self) -> None:
        """See how many there are, and which of them this one is."""
        members = self._page.members()
        if members:
            self._parts, self._part = len(members), members.index(self._page.region)
        else:
            self._parts = self._count_without_page()
            # Parts that are larger by a slot come first, and nobody says who is first.
            self._part = self._parts - 1

    def _count_without_page(self) -> int:
        return max(self._parts, min(self._count_processes(), REGIONS))

    # --- what the driver asks -----------------------------------------------------------------

    def join(self, shedder: Shedder, cells: Mapping[str, int]) -> None:
        """Let the cells count against the limit of all; `cells` says the number of each."""
        page = self._page.page
        if page is None:
            return
        for name, number in cells.items():
            if name in self._cells:
                continue
            share = CellShare(
                page.share_words(number),
                workers=len(page),
                own=self._page.region,
                parts=self._parts,
                part=self._part,
                wake=self._page.ring,
            )
            self._shares.append(share)
            shedder.join(name, share)
        self._cells = dict(cells)
        self._is_joined = True

    def listen(self, loop: asyncio.AbstractEventLoop, on_ring: Callable[[], None]) -> None:
        """Call back when a slot is free that is ours, until `stop`."""
        self._loop, self._on_ring = loop, on_ring
        self._watch()

    def stop(self) -> None:
        """The process serves no more: its seat is free."""
        self._unwatch()
        self._loop = None
        if self._driver is not None:
            self._leave(self._driver, self._driver.clock())
        self._page.leave()

    # --- time ---------------------------------------------------------------------------------

    def look(self, now: Instant) -> None:
        """Ten times a second: is the page there, who else is there?"""
        page, driver = self._page, self._driver
        if driver is None or self._loop is None:
            return
        page.look()
        if page.page is None:
            if self._is_joined:
                self._leave(driver, now)
                driver.apply(self._own())  # in the same parts
            page.seek()
            self._watch()
        self._settle(driver, now)
        self._tell(now)

    def _on_door(self) -> None:
        had_page = self._page.page is not None
        is_rung = self._page.answer()
        if is_rung and self._on_ring is not None:
            self._on_ring()
        if not had_page and self._driver is not None:
            self._settle(self._driver, self._driver.clock())

    def _settle(self, driver: Driver, now: Instant) -> None:
        """Go by what the page says now."""
        has_page = self._page.page is not None
        if has_page is self._is_joined and not self._is_cut_otherwise(now):
            return
        self._count()
        if has_page and not self._is_joined:
            # Before the limit is a whole one again.
            cells = driver.document.policy.cells
            self.join(driver.shedder, {cell.name: driver.cell_index(cell.name) for cell in cells})
        for share in self._shares:
            share.cut(parts=self._parts, part=self._part)
        driver.part = (self._part, self._parts)
        driver.apply(self._own())

    def _is_cut_otherwise(self, now: Instant) -> bool:
        """Whether there are more workers than before, or fewer for long enough."""
        if self._page.page is not None:
            count = len(self._page.members())
        elif now - self._counted_at >= _LOST_LOOK_NS:
            self._counted_at = now
            count = self._count_without_page()
        else:
            return False
        if count >= self._parts:
            self._fewer_since = None
            return count > self._parts
        if self._fewer_since is None:
            self._fewer_since = now
        return now - self._fewer_since > _FEWER_NS

    def _leave(self, driver: Driver, now: Instant) -> None:
        """From here on no word of the page is written."""
        self._unwatch()
        self._is_joined = False
        for name in self._cells:
            driver.shedder.leave(name, self._parts, now=now)
        self._cells, self._shares = {}, []

    def _tell(self, now: Instant) -> None:
        """Say in the log, once, that the limit is cut, or shared again."""
        if not self._page.why:
            if self._was_told:
                _log.warning("the workers share limits again")
            self._lost_at, self._was_told = None, False
        elif self._lost_at is None:
            self._lost_at = now
        elif now - self._lost_at >= _TELL_NS and not self._was_told:
            self._was_told = True
            text = "limits are cut in %d, as the workers cannot share them: %s"
            _log.warning(text, self._parts, self._page.why)

    def _watch(self) -> None:
        """The door may be another one than before."""
        fd = self._page.fileno()
        if self._loop is None or fd == self._watched:
            return
        self._unwatch()
        if fd >= 0:
            self._loop.add_reader(fd, self._on_door)
            self._watched = fd

    def _unwatch(self) -> None:
        if self._watched >= 0 and self._loop is not None:
            self._loop.remove_reader(self._watched)
        self._watched = -1
