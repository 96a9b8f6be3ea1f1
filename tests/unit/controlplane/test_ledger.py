"""Numbered revisions in a real folder: made once, read by all, moved to pages of the audit."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace

import pytest

from shedproxy.controlplane.fleet import Cell, Fleet, MovedKey
from shedproxy.controlplane.ledger import Act, Head, Ledger, LedgerDamagedError
from shedproxy.core import seconds
from shedproxy.store import open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fleet"


@pytest.fixture
def store(folder):
    return open_store(f"file://{folder}", timeout=seconds(5))


@pytest.fixture
def ledger(store):
    return Ledger(store, page=2)


def act(number: int, **fields) -> Act:
    return Act(id=f"id-{number}", at_s=float(number), who="ann", verb="promote", **fields)


def fleet_of(number: int) -> Fleet:
    return Fleet(cells=(Cell(name=f"c{number}"),))


async def grow(ledger: Ledger, count: int, head: Head | None = None) -> Head:
    for number in range(1, count + 1):
        head = await ledger.append(head, act(number, why=f"why {number}"), fleet_of(number))
        assert head is not None
    return head


async def test_a_revision_follows_the_one_that_it_was_made_from(ledger):
    assert await ledger.head() is None
    assert await ledger.entries() == []
    head = await grow(ledger, 3)
    assert (await ledger.head()) == head
    assert (head.revision, head.fleet) == (3, fleet_of(3))
    assert await ledger.head(known=head) is head


async def test_what_nobody_could_read_is_not_written(ledger, store):
    head = await grow(ledger, 1)
    bad = Fleet(moved=(MovedKey(key="0f", demand_rps=-1.0),))
    with pytest.raises(OSError, match=r"nobody could read it.*demand_rps"):
        await ledger.append(head, act(2), bad)
    assert await ledger.head() == head


async def test_one_of_all_who_try_makes_the_next_revision(store):
    head = await grow(Ledger(store), 1)
    made = await asyncio.gather(
        *(Ledger(store).append(head, act(number), fleet_of(number)) for number in range(2, 10))
    )
    assert sum(each is not None for each in made) == 1
    assert await Ledger(store).append(head, act(10), fleet_of(10)) is None, "it is not the last"


async def test_what_was_sent_twice_is_done_once(ledger):
    head = await grow(ledger, 1)
    once = await ledger.append(head, act(2), fleet_of(2))
    assert await ledger.append(head, act(2), fleet_of(2)) == once
    assert [entry.revision for entry in await ledger.entries()] == [1, 2]


async def test_old_entries_are_moved_to_pages_and_the_audit_stays_whole(ledger, store):
    head = await grow(ledger, 7)
    before = await ledger.entries()
    for _ in range(2):
        await ledger.compact(head)
    assert [name for name in await store.names("audit")] == [f"audit/{n:012d}" for n in range(2)]
    assert len(await store.names("ledger")) == 3
    assert await ledger.entries() == before
    assert [entry.act.why for entry in before] == [f"why {n}" for n in range(1, 8)]
    assert [entry.revision for entry in await ledger.entries(4)] == [4, 5, 6, 7]
    assert (await ledger.head()).fleet == fleet_of(7)


async def test_what_others_left_in_its_folders_is_nothing_to_it(ledger, folder):
    """As file systems and the pages of object stores do, unasked."""
    head = await grow(ledger, 5)
    await ledger.compact(head)
    for name in ("ledger/.nfs0000000001", "audit/notes.txt", "editions/.nfs0000000002"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    assert await ledger.head() == head
    assert len(await ledger.entries()) == 5
    await ledger.compact(await grow(ledger, 2, head))
    assert len(await ledger.entries()) == 7
    assert (folder / "editions/.nfs0000000002").exists()


async def test_an_audit_that_was_changed_or_has_a_gap_is_not_believed(ledger, store, folder):
    head = await grow(ledger, 6)
    await ledger.compact(head)
    page = folder / "audit" / f"{0:012d}"
    text = page.read_text()
    page.write_text(text.replace("why 1", "why 9"))
    with pytest.raises(LedgerDamagedError, match="revision 1 of the audit was changed"):
        await ledger.entries()
    page.write_text(text)
    (folder / "ledger" / f"{5:012d}").unlink()
    with pytest.raises(LedgerDamagedError, match="has no revision 5"):
        await ledger.entries()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda text: text.replace('"name":"c2"', '"name":"c3"'), "is damaged"),
        (lambda text: text.replace('"revision":2', '"revision":3'), "is damaged"),
        (lambda text: text[:100], "is no JSON"),
        (lambda text: json.dumps({"format": "else"}), "something else"),
        (lambda text: text.replace('"schema":1', '"schema":3'), "upgrade shedproxy"),
    ],
)
async def test_a_damaged_head_is_said_and_nothing_is_decided_on_it(ledger, folder, change, what):
    await grow(ledger, 2)
    file = folder / "ledger" / f"{2:012d}"
    file.write_text(change(file.read_text()))
    with pytest.raises(LedgerDamagedError, match=what):
        await ledger.head()


async def test_a_newer_schema_by_one_is_read_without_what_is_not_known(ledger, folder):
    await grow(ledger, 1)
    file = folder / "ledger" / f"{1:012d}"
    file.write_text(file.read_text().replace('"schema":1,', '"schema":2,"new":[],'))
    assert (await ledger.head()).fleet == fleet_of(1)


async def test_what_a_newer_version_wrote_is_there_after_whatever_is_done_here(ledger, folder):
    await grow(ledger, 1)
    file = folder / "ledger" / f"{1:012d}"
    line, state = file.read_text().splitlines()
    fleet = json.loads(state)
    fleet["orbits"] = {"moon": 1}
    fleet["cells"][0]["depth"] = 7
    state = json.dumps(fleet)
    entry = json.loads(line) | {"state": hashlib.sha256(state.encode()).hexdigest()}
    file.write_text(f"{json.dumps(entry)}\n{state}\n")
    head = await ledger.head()
    for number in (2, 3):  # one who has read it, and one who has written it
        cells = (*head.fleet.cells, Cell(name=f"new-{number}"))
        head = await ledger.append(head, act(number), replace(head.fleet, cells=cells))
        written = json.loads((folder / "ledger" / f"{number:012d}").read_text().splitlines()[1])
        assert written["orbits"] == {"moon": 1}
        assert [cell.get("depth") for cell in written["cells"]] == [7, *[None] * (number - 1)]
    assert (await ledger.head()).fleet == head.fleet


class Failing:
    """A store that does what it is asked, and says that it failed."""

    def __init__(self, store, *, does_it: bool) -> None:
        self._store, self._does_it = store, does_it

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def create(self, name, data):
        if self._does_it:
            await self._store.create(name, data)
        raise TimeoutError("no answer")


async def test_after_an_error_it_is_looked_whether_it_was_done(store):
    head = await grow(Ledger(store), 1)
    with pytest.raises(TimeoutError):
        await Ledger(Failing(store, does_it=False)).append(head, act(2), fleet_of(2))
    done = await Ledger(Failing(store, does_it=True)).append(head, act(2), fleet_of(2))
    assert done == await Ledger(store).head()


@pytest.mark.parametrize("is_answered", [True, False])
async def test_when_nobody_can_look_whether_it_was_done_it_says_who_can(store, is_answered):
    class Going:
        """Makes a revision, and is gone."""

        def __init__(self) -> None:
            self.is_gone = False

        def __getattr__(self, name):
            if self.is_gone:
                raise OSError("the store is gone")
            return getattr(store, name)

        async def create(self, name, data):
            is_made = await store.create(name, data)
            self.is_gone = True
            if not is_answered:
                raise OSError("no answer")
            return is_made

    with pytest.raises(OSError, match="the store is gone; whether revision 1 .* control audit"):
        await Ledger(Going()).append(None, act(1), fleet_of(1))
    assert len(await Ledger(store).entries()) == 1


async def test_a_fleet_that_is_too_large_is_refused_before_it_is_there(ledger):
    cells = tuple(Cell(name="x" * 1000, like=str(n)) for n in range(17_000))
    with pytest.raises(OSError, match="at most"):
        await ledger.append(None, act(1), replace(Fleet(), cells=cells))
    assert await ledger.head() is None
