"""Managed mode, composed: a source, a judge, the copies on disk, the traffic, the reports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from shedproxy.clock import monotonic_now
from shedproxy.core import Instant, Nanos, to_milliseconds
from shedproxy.dataplane.table_page import TablePage
from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.observability.reading import Sample
from shedproxy.settings import SnapshotSettings
from shedproxy.snapshot import Document
from shedproxy.store import KeyRing, LastGood, Place, open_place
from shedproxy.supervisor.configuration import Configuration
from shedproxy.supervisor.fleet import Fleet
from shedproxy.supervisor.move_watch import HostMoves
from shedproxy.supervisor.recent_traffic import RecentTraffic, served_by_class
from shedproxy.supervisor.rehearsal import rehearse
from shedproxy.supervisor.snapshot_feed import SnapshotFeed
from shedproxy.supervisor.snapshot_judge import Accepted, SnapshotJudge, document_here
from shedproxy.supervisor.table_board import TableBoard
from shedproxy.supervisor.upward import Upward

__all__ = ["ManagedMode", "report_url"]

_EARLY_S = 0.02
"""Between two reports that are not of a period."""
Report = Callable[[str, dict[str, Any]], None]


class ManagedMode:
    """What an instance of a fleet has beside any other.

    Args:
        configuration: takes what is accepted.
        report: takes an event and its facts.
        needs_upstream: whether there is nothing to serve without one.

    Raises:
        ConfigInvalidError: a key cannot be read.
        StartupError: what it needs is not installed, or a URL is none.
    """

    def __init__(
        self, configuration: Configuration, report: Report, *, needs_upstream: bool
    ) -> None:
        settings = configuration.loaded.settings.snapshot
        self._configuration = configuration
        self._settings = settings
        self._needs_upstream = needs_upstream
        self._report = report
        self._traffic = RecentTraffic()
        self._upward: Upward | None = None
        self.tables = TableBoard(TablePage.create(settings.size_max)) if needs_upstream else None
        """What workers of the proxy map; an application's documents have their tables inside."""
        self.on_table: Callable[[], None] = lambda: None
        """Called in every period when there is a table, and no new document with it."""
        self.host_moves: Callable[[], HostMoves] = HostMoves
        """Gives what the workers say of keys that change their cell."""
        self._has_moved = asyncio.Event()
        self._adopted: Document | None = None
        instance = settings.instance or socket.gethostname()
        self._instance = instance
        judge = SnapshotJudge(
            KeyRing([Path(file) for file in settings.keys]),
            size_max=settings.size_max,
            shed_max=settings.shed_max,
            local=lambda: configuration.loaded.document,
            needs_upstream=needs_upstream,
            maps_tables=self.tables is not None,
            minutes=lambda: self._traffic.minutes,
        )
        self.feed = SnapshotFeed(
            settings,
            instance=instance,
            place=self._open(settings.source),
            judge=judge,
            kept=LastGood(Path(settings.folder), size_max=settings.size_max),
            put_in_force=self._put_in_force,
            report=report,
        )

        configuration.localize = self._localized

    async def boot(self) -> None:
        """Find something to serve by.

        Raises:
            ConfigInvalidError: there is nothing.
        """
        await self.feed.boot()
        if self._needs_upstream:
            _require_upstream(self._configuration.document)

    async def run(
        self, samples: Callable[[], Iterable[Sample]], facts: Callable[[], dict[str, Any]]
    ) -> None:
        """Fetch and report in every period, until cancelled.

        Args:
            samples: gives the series of now.
            facts: gives mode and liveness, for the reports.
        """
        url = report_url(self._settings)
        self._upward = upward = Upward(
            self._open(url) if url else None,
            feed=self.feed,
            facts=lambda: {**facts(), **self._moves()},
            samples=samples,
            report=self._report,
        )
        early = asyncio.create_task(self._report_early(upward), name="early reports")
        try:
            await self.feed.run(upward.send)
        finally:
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)
            await self.feed.close()
            await upward.close()

    def join(self, fleet: Fleet) -> None:
        """Tell these workers of tables, and upward what they say of keys that move."""
        self.on_table = fleet.tell_table
        self.host_moves = fleet.host_moves
        fleet.moves.on_change = self._has_moved.set

    async def _report_early(self, upward: Upward) -> None:
        """Who waits for an acknowledgement need not wait for the next period."""
        told: tuple[object, ...] = ()
        while True:
            await self._has_moved.wait()
            self._has_moved.clear()
            moves = self._moves()
            tells = (moves["table_version"], not moves["moving"], not moves["moving_streams"])
            if tells != told:
                told = tells
                await upward.send()
            await asyncio.sleep(_EARLY_S)

    def _moves(self) -> dict[str, Any]:
        said = self.host_moves()
        # What the disk does not have could be forgotten by a start.
        return {**said._asdict(), "table_version": min(said.table_version, self.feed.kept_table)}

    def close(self) -> None:
        """Let go of shared memory."""
        if self.tables is not None:
            self.tables.close()

    def take_lines(self, lines: Iterable[str]) -> None:
        """Lines of the access log: some are kept as what a policy is tried on."""
        self._traffic.take_lines(lines)

    def sample(self, counters: Callable[[], Iterable[Sample]], now: Instant | None = None) -> None:
        """Once a second: close the minute when it is over."""
        now = monotonic_now() if now is None else now
        if self._traffic.is_due(now):
            self._traffic.feed(now, served_by_class(counters()))

    def awaited(self) -> str:
        """What is missing before this instance may serve; "": nothing."""
        left_s = self.feed.awaited_s
        return f"no snapshot yet, waiting {left_s:g} s more at most" if left_s else ""

    def samples(self) -> Iterator[Sample]:
        """The series of the metric table."""
        yield from self.feed.samples()
        if self._upward is not None:
            yield from self._upward.samples()

    def view(self) -> dict[str, Any]:
        """For the status page."""
        swap_ns = 0 if self.tables is None else self.tables.swap_max_ns
        return {**self.feed.view(), "swap_max_ms": to_milliseconds(Nanos(swap_ns))}

    def _put_in_force(self, accepted: Accepted, is_new: bool) -> None:
        table = accepted.snapshot.table
        if self.tables is not None and not self.tables.publish(table):
            self._report("no room for a table", {"revision": accepted.revision})
        # Workers that are given a document forget what they remember of heads: not for a table.
        document = replace(accepted.document, revision=0)
        if is_new and document != self._adopted:
            self._adopted = document
            self._configuration.adopt(accepted.document)
        elif table:
            self.on_table()

    def _localized(self, local: Document) -> Document:
        """What is in force, with the certificate and upstreams of these settings."""
        accepted, document = self.feed.in_force, local
        if accepted is not None:
            is_mapped = self.tables is not None
            document = document_here(accepted.snapshot, local, maps_tables=is_mapped)
            rehearse(document)
        if self._needs_upstream:
            _require_upstream(document)
        if accepted is not None:
            self._adopted = replace(document, revision=0)
        return document

    def _open(self, url: str) -> Place:
        url = url.replace("{instance}", self._instance)
        return open_place(url, timeout=self._settings.timeout, token=self._token)

    def _token(self) -> str:
        file = self._settings.token_file
        try:
            return Path(file).read_text(encoding="utf-8").strip() if file else ""
        except (OSError, ValueError):
            return ""


def _require_upstream(document: Document) -> None:
    if any(each.urls for each in document.proxy.upstreams):
        return
    raise ConfigInvalidError(
        [
            Problem(
                message="there is no upstream, and no snapshot that names one",
                path=("snapshot", "source"),
                help="name one to serve by meanwhile: shedproxy run http://127.0.0.1:8000",
            )
        ]
    )


def report_url(settings: SnapshotSettings) -> str:
    """Where reports go; "": nowhere."""
    source = settings.source
    if settings.report or not source.startswith(("file://", "s3://")):
        return settings.report
    return f"{source.rpartition('/')[0]}/reports/{{instance}}"
