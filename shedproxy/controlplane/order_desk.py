"""Orders beside the settings that they touch: read, compiled, and compared with where keys are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
            return after, {"digest": release_digest(data)}
        if order.asked is not None:
            placings = tuple((await self._placings(await self._used(fleet))).values())
            fleet = forget_stated(fleet, placings)
            return move_tenant(fleet, order.asked, placings, rules=self._rules, now_s=self._wall())
        assert order.apply is not None
        after, told = order.apply(fleet, int(self._wall()))
        return await self._with_keys_in_place(fleet, after), told

    async def publish(self, fleet: Fleet, new: Texts, who: str) -> tuple[Fleet, bytes]:
        """The fleet with a release more, and its bytes, which are kept by then."""
        before = await self._shelves.texts(fleet.book.base) if fleet.book.base else {}
        texts = {**before, **new.texts}
        if before:
            used = await self._placings(await self._used(fleet))
            fleet = forget_stated(fleet, tuple(used.values()))
        for cell in new.texts:
            if cell != ALL_CELLS and fleet.cell(cell) is None:
                raise OrderRefusedError(
                    "/texts",
                    f"there is no cell {cell}",
                    help_text=f"cells: {', '.join(fleet.cell_names)}",
                    is_conflict=False,
                )
            name = new.names.get(cell, _name(cell))
            placing = await self._placing(texts[cell], name)
            if before:
                former = settings_cell(tuple(before), fleet, cell)
                check_published(fleet, placing, await self._placing(before[former], _name(former)))
        data = encode_release(texts)
        release = Release(
            digest=release_digest(data), at_s=int(self._wall()), by=who, is_forced=new.is_forced
        )
        fleet = orders.publish(fleet, release)
        await self._shelves.put_release(data)
        return fleet, data

    # --- inside ---------------------------------------------------------------------------------

    async def _with_keys_in_place(self, before: Fleet, after: Fleet) -> Fleet:
        """Refuse what would give a host settings that do not go with moved keys."""
        if not (before.moves.pins or before.moves.move):
            return after
        used = await self._used(before)
        new = await self._used(after) - used
        if not new or not used:
            return after
        placings = await self._placings(used)
        after = forget_stated(after, tuple(placings.values()))
        like = next(iter(placings.values())).routing
        for (digest, _), placing in (await self._placings(new)).items():
            if why := why_not(after, placing, like):
                raise OrderRefusedError(
                    "", f"the settings of release {digest[:19]} {why}", help_text=KEYS_HELP
                )
        return after

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


def _name(cell: str) -> str:
    return f"settings of {cell or 'all cells'}"
