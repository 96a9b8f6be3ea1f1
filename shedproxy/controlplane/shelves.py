"""What the store holds beside the ledger: releases, editions, what hosts pull and what they say.

releases/<sha256>           settings texts, under the digest of their bytes
editions/<revision>-<sha>   snapshots, as they were made
hosts/<name>                the one that a host is to run: the bytes of its edition
hosts/reports/<name>        what the host says
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from shedproxy.controlplane.fleet import Edition, Fleet
from shedproxy.controlplane.ledger import LedgerDamagedError, Objects
from shedproxy.controlplane.releases import RELEASE_SIZE_MAX, decode_release, release_digest
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import SIZE_CLASSES, STATUS_REPORT_SIZE, StatusReport, decode_report

__all__ = ["Shelves"]

_AT_ONCE = 16
"""Operations of the store."""
_TEXTS_KEPT = 16

_T = TypeVar("_T")


class Shelves:
    """Reads and writes them. Every call raises OSError when the store fails.

    Args:
        store: where they are.
        report: takes an event and its facts.
        refresh: rounds after which what is there is written again, whatever happened to it.
    """

    def __init__(
        self, store: Objects, report: Callable[[str, dict[str, Any]], None], *, refresh: int = 60
    ) -> None:
        self._store = store
        self._report = report
        self._refresh = refresh
        self._rounds = 0
        self._texts: dict[str, dict[str, str]] = {}
        self._handed_out: dict[str, str] = {}
        """By host, the digest that is there."""

    async def put_release(self, data: bytes) -> None:
        """Keep a release; the same once more changes nothing."""
        await self._store.create(_release_name(release_digest(data)), data)

    async def texts(self, digest: str) -> Mapping[str, str]:
        """The settings texts of a release, by cell.

        Raises:
            LedgerDamagedError: they are not there, or not what was put there.
        """
        found = self._texts.get(digest)
        if found is None:
            try:
                data = await self._store.get(_release_name(digest), RELEASE_SIZE_MAX)
                found = decode_release(data, digest)
            except (FileNotFoundError, DocumentInvalidError) as error:
                raise LedgerDamagedError(f"release {digest}: {error}") from error
            while len(self._texts) >= _TEXTS_KEPT:
                del self._texts[next(iter(self._texts))]
            self._texts[digest] = found
        return found

    async def put_editions(self, objects: Mapping[str, bytes]) -> None:
        """Keep snapshots before a fleet names them."""
        await _all([functools.partial(self._store.create, *each) for each in objects.items()])

    async def reports(self, hosts: Iterable[str]) -> dict[str, StatusReport]:
        """What hosts said last; of those that ever said something that can be read."""

        async def read(host: str) -> StatusReport | None:
            try:
                data = await self._store.get(f"hosts/reports/{host}", STATUS_REPORT_SIZE)
                report = decode_report(data)
            except FileNotFoundError:
                return None
            except DocumentInvalidError as error:
                self._report("report not read", {"host": host, "why": str(error)})
                return None
            return report if report.instance == host else None

        found = await _all([functools.partial(read, host) for host in hosts])
        return {each.instance: each for each in found if each is not None}

    async def hand_out(self, fleet: Fleet) -> None:
        """Put what each host is to run where it pulls, if it is not there already."""
        self._rounds += 1
        if self._rounds % self._refresh == 0:
            self._handed_out.clear()
        due: dict[str, list[Edition]] = {}
        for edition in fleet.editions:
            if self._handed_out.get(edition.host) != edition.digest:
                due.setdefault(edition.object_name, []).append(edition)
        for name, editions in due.items():
            try:
                data = await self._store.get(name, SIZE_CLASSES[-1])
            except FileNotFoundError:
                self._report("edition missing", {"name": name})
                continue
            await _all([functools.partial(self._hand_to, each, data) for each in editions])

    def doubt(self, hosts: Iterable[str]) -> None:
        """Hand out to these what they are to run, even if it was put there before."""
        for host in hosts:
            self._handed_out.pop(host, None)

    async def _hand_to(self, edition: Edition, data: bytes) -> None:
        await self._store.put(f"hosts/{edition.host}", data)
        self._handed_out[edition.host] = edition.digest


def _release_name(digest: str) -> str:
    return f"releases/{digest.removeprefix('sha256:')}"


async def _all(calls: Sequence[Callable[[], Awaitable[_T]]]) -> list[_T]:
    """What all of them give, a few at once; the first error ends it."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Callable[[], Awaitable[_T]]) -> _T:
        async with gate:
            return await call()

    return list(await asyncio.gather(*(one(call) for call in calls)))
