"""Every crash point of the ledger with two control planes, and mistakes that the walk must find."""

from __future__ import annotations

import pytest
from harness.machines.ledger import PAGE, PausingStore, walk

from shedproxy.controlplane.ledger import Head, Ledger


@pytest.mark.parametrize(("controllers", "revisions", "failures"), [(2, 2, 0), (1, 4, 2)])
def test_whoever_is_killed_wherever_nothing_is_lost_or_written_over(
    controllers, revisions, failures
):
    space = walk(controllers=controllers, revisions=revisions, failures=failures)
    print(f"ledger, {controllers} control planes, {failures} failures of the store: {space}")
    assert space.violation is None, space.violation


class DoesNotLookBack(Ledger):
    """Takes a name that is free again for a revision that was never there."""

    async def _is_past(self, revision: int, line: bytes) -> bool:
        return False


class WritesOver(Ledger):
    """Puts where it should create."""

    async def append(self, head, act, fleet):
        self._store.create = self._put
        return await super().append(head, act, fleet)

    async def _put(self, name, data):
        await self._store.put(name, data)
        return True


class RemovesFirst(Ledger):
    """Removes revisions before their page is there."""

    async def compact(self, head: Head) -> None:
        for revision in await self._revisions():
            if revision + self._page <= head.revision:
                await self._store.delete(f"ledger/{revision:012d}")
        await super().compact(head)


class BelievesTheError(Ledger):
    """Does again under the next number what failed after it was done."""

    async def append(self, head, act, fleet):
        try:
            return await super().append(head, act, fleet)
        except OSError:
            return Head(revision=0 if head is None else head.revision + 1, digest="", fleet=fleet)


class ForgetsTooMuch(Ledger):
    """Takes every edition for old that the head does not name."""

    async def _forget_editions(self, head: Head) -> None:
        needed = {each.object_name for each in head.fleet.editions}
        for name in await self._store.names("editions"):
            if name not in needed:
                await self._store.delete(name)


class IsNeverBehind(Ledger):
    """Takes any revision of that number for its own."""

    async def _is(self, revision: int, data: bytes) -> bool:
        return True


@pytest.mark.parametrize(
    ("mistake", "world", "what"),
    [
        (DoesNotLookBack, {}, "an act is lost"),
        (WritesOver, {}, "an act was written over"),
        (RemovesFirst, {}, "an act was written over"),
        (BelievesTheError, {"controllers": 1, "failures": 1}, "an act is lost"),
        (ForgetsTooMuch, {}, "an edition is gone"),
        (IsNeverBehind, {}, "an act is lost"),
    ],
)
def test_a_mistake_is_found_by_its_shortest_trace(mistake, world, what):
    found = walk(lambda: mistake(PausingStore(), page=PAGE), **world).violation
    assert found is not None
    print(f"{mistake.__doc__} {found}")
    assert what in found.what
