"""Orders beside the settings that they touch: read, compiled, and compared with where keys are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from shedproxy.controlplane import orders
from shedproxy.controlplane.fleet import ALL_CELLS, Fleet, Release
from shedproxy.controlplane.move import MoveRules
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.releases import encode_release, release_digest, settings_cell
from shedproxy.controlplane.shelves import Shelves
from shedproxy.controlplane.snapshot_maker import SnapshotMaker
from shedproxy.controlplane.tenants import (
    KEYS_HELP,
    Placing,
    check_published,
    forget_stated,
    is_hashed_alike,
    move_tenant,
    why_not,
)
from shedproxy.controlplane.verbs import Order, Texts

__all__ = ["OrderDesk"]

_Texts = tuple[str, str]
"""Digest of a release, and the cell whose settings are meant."""


class OrderDesk:
    """Does orders, and writes nothing down.

    Args:
        shelves: has the texts of releases.
        maker: compiles them.
        rules: of moves that say nothing else.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        shelves: Shelves,
        maker: SnapshotMaker,
        rules: MoveRules,
        wall: Callable[[], float],
    ) -> None:
        self._shelves = shelves
        self._maker = maker
        self._rules = rules
        self._wall = wall

    async def do(self, fleet: Fleet, order: Order, who: str) -> tuple[Fleet, dict[str, Any]]:
        """The fleet after an order, and what is to be told of it.

        Raises:
            OrderRefusedError: it cannot be done.
            DocumentInvalidError: settings that are published are no good.
            OSError: the store failed.
        """
        if order.published is not None:
            after, data = await self.publish(fleet, order.published, who)
            digest = release_digest(data)
            release = after.release(digest)
            return after, {"digest": digest, "force": release is not None and release.is_forced}
        if order.asked is not None:
            placings = tuple((await self._placings(await self._used(fleet))).values())
            return move_tenant(fleet, order.asked, placings, rules=self._rules, now_s=self._wall())
        assert order.apply is not None
        after, told = order.apply(fleet, int(self._wall()))
        if fleet.book.rollout is None and after.book.rollout is not None:
            await self._check_up_to_date(fleet, after.book.rollout.digest)
        for shift in set(after.shifts) - set(fleet.shifts):
            told = {**told, "upstreams": await self._upstreams_in(fleet, shift.zone)}
        return await self._with_keys_in_place(fleet, after), told

    async def publish(self, fleet: Fleet, new: Texts, who: str) -> tuple[Fleet, bytes]:
        """The fleet with a release more, and its bytes, which are kept by then."""
        before = await self._shelves.texts(fleet.book.base) if fleet.book.base else {}
        texts = {**before, **new.texts}
        placings = {}
        for cell in new.texts:
            if cell != ALL_CELLS and fleet.cell(cell) is None:
                raise OrderRefusedError(
                    "/texts",
                    f"there is no cell {cell}",
                    help_text=f"cells: {', '.join(fleet.cell_names)}",
                    is_conflict=False,
                )
            name = new.names.get(cell, _name(cell))
            placings[cell] = await self._placing(texts[cell], name)
        if _has_moved(fleet):
            used = tuple((await self._placings(await self._used(fleet))).values())
            for cell, placing in placings.items():
                former = settings_cell(tuple(before), fleet, cell)
                there = await self._placing(before[former], _name(former))
                known = _knowing(fleet, [placing], used)
                check_published(known, placing, there)
        data = encode_release(texts)
        release = Release(
            digest=release_digest(data),
            at_s=int(self._wall()),
            by=who,
            is_forced=new.is_forced,
            made_on=fleet.book.base,
        )
        fleet = orders.publish(fleet, release)
        await self._shelves.put_release(data)
        return fleet, data

    # --- inside ---------------------------------------------------------------------------------

    async def _upstreams_in(self, fleet: Fleet, zone: str) -> int:
        """How many upstreams of a zone the settings that are used name; hosts may have their own,
        so that a zone of hosts is one too.
        """
        placings = (await self._placings(await self._used(fleet))).values()
        upstreams = {each for placing in placings for each in placing.upstreams}
        zones = {there for _, there in upstreams} | {host.zone for host in fleet.hosts}
        if zone not in zones:
            raise OrderRefusedError(
                "/zone",
                f"no upstream and no host is in zone {zone}",
                help_text=f"zones: {', '.join(sorted(zones - {''})) or 'none'}",
                is_conflict=False,
            )
        return sum(there == zone for _, there in upstreams)

    async def _with_keys_in_place(self, before: Fleet, after: Fleet) -> Fleet:
        """Refuse what would give a host settings that do not go with moved keys."""
        if not _has_moved(before):
            return after
        used = await self._used(before)
        new = await self._placings(await self._used(after) - used)
        placings = tuple((await self._placings(used)).values())
        if not new or not placings:
            return after
        after = _knowing(after, new.values(), placings)
        for (digest, _), placing in new.items():
            if why := why_not(after, placing, placings[0].routing):
                raise OrderRefusedError(
                    "", f"the settings of release {digest[:19]} {why}", help_text=KEYS_HELP
                )
        return after

    async def _check_up_to_date(self, fleet: Fleet, digest: str) -> None:
        """Refuse what would take back, unasked, what was changed since it was published."""
        release, base = fleet.release(digest), fleet.book.base
        if release is None or not release.made_on or fleet.is_made_on(base, digest):
            return  # or it ran before, and is gone back to
        then, now, new = [
            await self._shelves.texts(each) for each in (release.made_on, base, digest)
        ]
        for cell in sorted(now.keys() | new.keys()):
            if new.get(cell) == then.get(cell) != now.get(cell):
                raise OrderRefusedError(
                    "/digest",
                    f"{digest[:19]} has the {_name(cell)} as they were before {base[:19]}, which"
                    " hosts run by now",
                    help_text="publish its file again, which puts it beside what runs now",
                )

    async def _used(self, fleet: Fleet) -> set[_Texts]:
        """The settings that a host runs, or may be given without another order."""
        rollout = fleet.book.rollout
        common = {fleet.book.base} | ({rollout.digest} if rollout is not None else set())
        wanted = fleet.wanted()
        used: set[_Texts] = set()
        for host in fleet.hosts:
            for digest in common | {wanted[host.name]}:
                texts = await self._shelves.texts(digest)
                used.add((digest, settings_cell(tuple(texts), fleet, host.cell)))
        return used

    async def _placings(self, used: set[_Texts]) -> dict[_Texts, Placing]:
        found = {}
        for digest, cell in sorted(used):
            texts = await self._shelves.texts(digest)
            found[digest, cell] = await self._placing(texts[cell], _name(cell))
        return found

    async def _placing(self, text: str, name: str) -> Placing:
        return await asyncio.to_thread(self._maker.placing, text, name)


def _has_moved(fleet: Fleet) -> bool:
    return bool(fleet.moves.pins or fleet.moves.move)


def _knowing(fleet: Fleet, new: Iterable[Placing], used: Sequence[Placing]) -> Fleet:
    """The fleet beside settings that are new to it: where they hash keys otherwise than those that
    are used, it can know only of keys that these do not pin themselves.
    """
    is_alike = not used or all(is_hashed_alike(each.routing, used[0].routing) for each in new)
    return fleet if is_alike else forget_stated(fleet, used)


def _name(cell: str) -> str:
    return f"settings of {cell or 'all cells'}"
