"""A control plane over a folder: orders, promotions, a store that fails, and a second one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import replace

import pytest
from harness.control_plane import CELLS, PaperFleet, settings

from shedproxy.controlplane.ledger import Ledger
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.service import ITSELF, FleetService, StoreGoneError
from shedproxy.controlplane.shelves import Shelves
from shedproxy.controlplane.snapshot_maker import SnapshotMaker
from shedproxy.core import MovePhase, milliseconds, seconds
from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.snapshot import open_envelope, read_snapshot
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture
async def fleet(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin()
    return fleet


async def until(fleet: PaperFleet, is_done, most: int = 60) -> None:
    for _ in range(most):
        await fleet.period()
        if is_done():
            return
    raise AssertionError(await fleet.verbs())


def is_over(fleet: PaperFleet):
    return lambda: fleet.service.head.fleet.book.rollout is None


async def test_a_new_fleet_hands_out_what_its_hosts_run(fleet):
    snapshots = {
        host: read_snapshot(open_envelope((fleet.folder / "fleet/hosts" / host).read_bytes()))
        for host in ("p1", "p2", "q1")
    }
    assert {host: each.document.proxy.zone for host, each in snapshots.items()} == {
        "p1": "p", "p2": "p", "q1": "q",
    }  # fmt: skip
    assert {each.document.policy.cells[0].limit.initial for each in snapshots.values()} == {7}
    with pytest.raises(OrderRefusedError, match="a fleet already"):
        await fleet.begin()


async def test_a_good_release_reaches_everybody_and_the_audit_tells_how(fleet):
    digest = await fleet.publish(8, why="longer")
    before = fleet.digest_at("q1")
    await fleet.order("promote", digest=digest, why="longer")
    await until(fleet, is_over(fleet))
    assert fleet.service.head.fleet.book.base == digest
    assert fleet.digest_at("q1") != before
    assert await fleet.verbs() == [
        "init", "publish", "promote",
        "move", "bake", "next scope", "move", "bake", "next scope", "move", "bake", "promoted",
    ]  # fmt: skip
    entries = await fleet.service.audit(1)
    assert {entry.act.who for entry in entries} == {"ann", ITSELF}
    assert entries[1].act.why == "longer"


async def test_a_bad_release_goes_back_at_one_host_and_is_never_published_again(fleet):
    digest = await fleet.publish(8)
    base = fleet.digest_at("p1")
    await fleet.order("promote", digest=digest)
    await fleet.period()
    others = fleet.digest_at("p2"), fleet.digest_at("q1")
    fleet.bad[fleet.digest_at("p1")] = 50
    assert fleet.digest_at("p1") != base
    await until(fleet, is_over(fleet))
    assert (fleet.digest_at("p2"), fleet.digest_at("q1")) == others
    assert (await fleet.verbs())[-3:] == ["alarm", "move", "rolled back"]
    (cause,) = {e.act.facts["cause"] for e in await fleet.service.audit(1) if e.act.verb == "alarm"}
    assert cause.startswith("errors: 50.00%")
    for verb, content in (
        ("publish", {"texts": {"": settings(8)}}),
        ("promote", {"digest": digest}),
    ):
        with pytest.raises(OrderRefusedError, match="rolled back"):
            await fleet.order(verb, **content)


async def test_who_publishes_what_runs_already_changes_nothing_by_that(fleet):
    before = fleet.digest_at("p1")
    digest = await fleet.publish(7, force=True)
    assert digest == fleet.service.head.fleet.book.base
    await fleet.period()
    assert fleet.digest_at("p1") == before


async def test_that_a_release_is_forced_is_told_and_shown_wherever_it_is_used(fleet):
    digest = await fleet.publish(8)
    again = await fleet.order("publish", texts={"": settings(8)}, force=True)
    assert (again["digest"], again["force"]) == (digest, True)
    assert (await fleet.order("promote", digest=digest[:19]))["force"] is True
    entries = await fleet.service.audit(2)
    assert [(e.act.verb, e.act.facts["force"]) for e in entries] == [
        ("publish", False), ("publish", True), ("promote", True)
    ]  # fmt: skip
    running = await fleet.order("publish", texts={"": settings(7)}, force=True)
    assert running["force"] is False, "what runs stays as it is, and that is told"


async def test_what_is_refused_is_in_the_audit_with_its_cause(fleet):
    with pytest.raises(OrderRefusedError, match="no cell z"):
        await fleet.order("quarantine-cell", cell="z", who="bob", why="it burns")
    with pytest.raises(ConfigInvalidError):
        await fleet.order("publish", texts={"": "limit = "}, who="bob")
    with pytest.raises(OrderRefusedError, match="no cell z"):
        await fleet.order("publish", texts={"z": settings(8)})
    entries = (await fleet.service.audit(1))[1:]
    assert [entry.act.who for entry in entries] == ["bob", "bob", "ann"]
    assert entries[0].act.refusal == "there is no cell z"
    assert entries[0].act.why == "it burns"
    assert "not TOML" in entries[1].act.refusal


async def test_an_order_for_an_older_fleet_is_refused_with_the_way_on(fleet):
    await fleet.publish(8)
    with pytest.raises(OrderRefusedError) as caught:
        await fleet.order("quarantine-cell", cell="a", revision=1)
    assert caught.value.place == "/revision"
    assert "at revision 2, not 1" in str(caught.value)
    # The refusal was written down, which is a revision too.
    assert "again with revision 3" in caught.value.help
    await fleet.order("quarantine-cell", cell="a", revision=3)


async def test_a_refusal_is_in_the_audit_although_somebody_was_faster(fleet, monkeypatch):
    other, append = fleet.another(), Ledger.append
    raced: list[str] = []

    async def slow(self, head, act, after):
        if act.refusal and not raced:
            raced.append(act.verb)
            await fleet.order("quarantine-cell", cell="a", service=other)
        return await append(self, head, act, after)

    monkeypatch.setattr(Ledger, "append", slow)
    with pytest.raises(OrderRefusedError, match="no cell z"):
        await fleet.order("quarantine-cell", cell="z", who="bob")
    assert [(entry.act.who, entry.act.refusal) for entry in (await fleet.service.audit(1))[1:]] == [
        ("ann", ""),
        ("bob", "there is no cell z"),
    ]


async def test_a_cell_has_settings_of_its_own_beside_the_others(fleet):
    digest = (await fleet.order("publish", texts={"b": settings(9)}))["digest"]
    await fleet.order("promote", digest=digest)
    before = fleet.digest_at("p1")
    await until(fleet, is_over(fleet))
    limits = {}
    for host in ("p1", "q1"):
        data = (fleet.folder / "fleet/hosts" / host).read_bytes()
        limits[host] = read_snapshot(open_envelope(data)).document.policy.cells[0].limit.initial
    assert limits == {"p1": 7, "q1": 9}
    assert fleet.digest_at("p1") != before, "it is another release, and has its revision"


async def test_with_the_store_gone_nothing_is_decided_and_it_goes_on_when_it_is_back(fleet):
    digest = await fleet.publish(8)
    await fleet.order("promote", digest=digest)
    await fleet.period()
    shutil.move(fleet.folder / "fleet", fleet.folder / "gone")
    (fleet.folder / "fleet").write_text("not a folder")
    with pytest.raises(StoreGoneError):
        await fleet.service.round()
    with pytest.raises(StoreGoneError):
        await fleet.order("roll-back")
    assert fleet.service.trouble
    (fleet.folder / "fleet").unlink()
    shutil.move(fleet.folder / "gone", fleet.folder / "fleet")
    fleet.now_s += 1000
    await until(fleet, is_over(fleet))
    assert fleet.service.trouble == ""
    assert fleet.service.head.fleet.book.base == digest
    names = [event for event, _ in fleet.events]
    assert names.count("store failed") == names.count("store back") == 1


async def test_hosts_are_not_to_blame_when_nobody_looked_at_them(fleet):
    """The control plane itself stood still, with a promotion under way."""
    digest = await fleet.publish(8)
    await fleet.order("promote", digest=digest)
    await fleet.period()
    fleet.now_s += 10_000
    await fleet.service.round()
    assert fleet.service.head.fleet.book.refused == ()
    watched = fleet.service.seen.elapsed_ns
    assert watched == 0


async def test_a_snapshot_that_cannot_be_made_ends_nothing_and_is_said_once(fleet, monkeypatch):
    """As when settings of old are no good to a newer version."""
    await fleet.order("shift-zone", zone="q", **{"for": "10s"})

    tried = []

    def no_good(request, texts):
        tried.append(request)
        raise ConfigInvalidError([Problem(message="unknown key")])

    with monkeypatch.context() as patched:
        patched.setattr(fleet.service._maker, "make", no_good)
        fleet.now_s += 20
        running = asyncio.create_task(fleet.service.run())
        try:
            await eventually_async(lambda: len(tried) == 1)
            fleet.now_s += 2
            fleet.service._is_wanted.set()
            await eventually_async(lambda: len(tried) == 2)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert [facts for event, facts in fleet.events if event == "snapshot not made"] == [
        {"why": "unknown key"}
    ]
    await fleet.period()
    assert fleet.service.head.fleet.shifts == ()


async def test_a_store_without_a_fleet_says_how_to_begin_one(tmp_path):
    with pytest.raises(StoreGoneError, match="shedproxy control init"):
        await PaperFleet(tmp_path).service.round()


async def test_a_damaged_ledger_is_no_ground_to_decide_anything(fleet):
    (fleet.folder / "fleet/ledger" / f"{1:012d}").write_bytes(b"")
    fleet.service.head = None
    with pytest.raises(StoreGoneError, match="ledger"):
        await fleet.order("quarantine-cell", cell="a")


async def test_two_control_planes_go_on_with_each_others_work(fleet):
    other = fleet.another()
    digest = await fleet.publish(8)
    await fleet.order("promote", digest=digest, service=other)
    for _ in range(80):
        await fleet.period()
        await other.round()
        if fleet.service.head.fleet.book.rollout is None:
            break
    assert fleet.service.head.fleet.book.base == digest
    watched = [e for e in await other.audit(1) if e.act.verb == "bake"]
    assert len(watched) == 3, "each scope baked once, whoever looked"


async def test_a_control_plane_that_is_replaced_in_the_middle_is_not_missed(fleet):
    digest = await fleet.publish(8)
    await fleet.order("promote", digest=digest)
    for _ in range(80):
        await fleet.period()
        if fleet.now_s % 3 == 0:
            fleet.service = fleet.another()
            await fleet.service.round()
        if fleet.service.head.fleet.book.rollout is None:
            break
    assert fleet.service.head.fleet.book.base == digest


async def test_who_follows_reads_what_speaks_for_a_release_too(fleet):
    for host in ("p2", "q1"):
        fleet.bad[fleet.digest_at(host)] = 2
    await fleet.order("promote", digest=await fleet.publish(8))
    for _ in range(6):
        await fleet.period()
    head = fleet.service.head
    assert min(log for gate in head.fleet.watch.gates for log in gate.logs) < 0
    assert await Ledger(fleet.store).head() == head


async def test_what_hosts_pull_is_put_back_when_it_is_lost(fleet):
    shutil.rmtree(fleet.folder / "fleet/hosts")
    for _ in range(61):
        await fleet.service.round()
    assert fleet.digest_at("p1")


async def test_an_order_that_others_are_always_faster_than_is_given_up(fleet, monkeypatch):
    async def too_late(*_):
        return None

    monkeypatch.setattr(Ledger, "append", too_late)
    with pytest.raises(OrderRefusedError, match="others were faster"):
        await fleet.order("quarantine-cell", cell="a")


async def test_old_revisions_are_moved_to_the_audit(fleet):
    for number in range(130):
        await fleet.order("quarantine-cell", cell="a", end=bool(number % 2))
    await fleet.service.round()
    assert len(await fleet.store.names("audit")) == 1
    revisions = [entry.revision for entry in await fleet.service.audit(1)]
    assert revisions == list(range(1, fleet.service.head.revision + 1))
    assert len(await fleet.store.names("editions")) == 2, "nobody was given anything else"


# --- a key that changes its cell ----------------------------------------------------------------


@pytest.fixture
async def with_cells(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin(more=CELLS)
    return fleet


def moving(fleet: PaperFleet) -> str:
    move = fleet.service.head.fleet.moves.move
    return "" if move is None else move.step.label


async def all_say(fleet: PaperFleet, *hosts: str) -> None:
    fleet.now_s += 1
    for host in hosts or ("p1", "p2", "q1"):
        await fleet.report(host)


async def test_a_key_is_moved_when_every_host_has_said_so_and_no_sooner(with_cells):
    fleet = with_cells
    await all_say(fleet)
    await fleet.order("move-tenant", key="acme", to="b")
    key = fleet.service.head.fleet.moves.move.key
    places = []
    for expected in ("marked", "held", "flipped"):
        assert moving(fleet) == expected
        await all_say(fleet, "p1", "p2")
        await fleet.service.look()
        assert moving(fleet) == expected, "one has not said so"
        places.append({fleet.place_at(host, key) for host in ("p1", "q1")})
        await all_say(fleet)
        await fleet.service.look()
    assert moving(fleet) == ""
    assert places == [{("a", MovePhase.MARKED)}, {("a", MovePhase.HELD)}, {("b", 0)}]
    assert (await fleet.verbs())[-4:] == [
        "move-tenant", "hold tenant", "flip tenant", "tenant moved",
    ]  # fmt: skip
    await fleet.service.look()  # there is nothing to look at
    assert fleet.place_at("q1", key) == ("b", 0)


async def test_only_those_that_a_move_waits_for_are_asked(with_cells, monkeypatch):
    fleet = with_cells
    asked = []
    reports = Shelves.reports

    async def noted(shelves, hosts):
        asked.append(sorted(hosts))
        return await reports(shelves, hosts)

    monkeypatch.setattr(Shelves, "reports", noted)
    await fleet.order("move-tenant", key="acme", to="b")
    await all_say(fleet, "p1")
    await fleet.service.look()
    await fleet.service.look()
    assert asked == [["p1", "p2", "q1"], ["p2", "q1"]]


async def test_work_of_the_key_holds_the_flip_up_until_it_is_given_up(with_cells):
    fleet = with_cells
    await fleet.order("move-tenant", key="acme", to="b")
    fleet.at_work["p2"] = 2
    while moving(fleet):
        await fleet.period()
    book = fleet.service.head.fleet.moves
    assert book.ended == "after 4 s held: p2: 2 requests are at work"
    assert book.pins == ()
    assert [event for event, _ in fleet.events][-1] == "tenant not moved"
    assert [fleet.table_at(host).moving_count for host in ("p1", "p2", "q1")] == [0, 0, 0]


async def test_whoever_is_killed_in_a_move_another_goes_on_with_it(with_cells):
    fleet = with_cells
    await fleet.order("move-tenant", key="acme", to="b")
    for expected in ("held", "flipped", ""):
        await all_say(fleet)
        fleet.service = fleet.another()  # it knows nothing but what is in the store
        await fleet.service.round()
        assert moving(fleet) == expected
    assert (await fleet.verbs())[1:] == [
        "move-tenant", "hold tenant", "flip tenant", "tenant moved",
    ]  # fmt: skip


class Dying:
    """A store whose user is killed before, or right after, what it is asked to write."""

    def __init__(self, store) -> None:
        self._store, self.left, self.does_it = store, 0, False

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def _write(self, name, *arguments):
        self.left -= 1
        if self.left >= 0:
            return await getattr(self._store, name)(*arguments)
        if self.left == -1 and self.does_it:
            await getattr(self._store, name)(*arguments)
        raise OSError("killed")

    async def put(self, name, data):
        return await self._write("put", name, data)

    async def create(self, name, data):
        return await self._write("create", name, data)


@pytest.mark.parametrize("does_it", [False, True])
async def test_whatever_write_is_its_last_one_the_move_comes_to_its_end(with_cells, does_it):
    """No host ever reads a table with another owner than the book says, at any such point."""
    fleet = with_cells
    dying = Dying(fleet.store)
    dying.does_it = does_it
    for last in range(14):  # six in each of two steps, and one in the last
        target = "ba"[fleet.service.head.fleet.moves.version // 3 % 2]
        await fleet.order("move-tenant", key="acme", to=target)
        dead, dying.left = fleet.another(dying), last
        with contextlib.suppress(StoreGoneError):
            while moving(fleet):
                await all_say(fleet)
                await dead.look()
                fleet.service.head = dead.head
        fleet.service = fleet.another()
        for _ in range(5):
            await fleet.service.round()
            await all_say(fleet)
        assert moving(fleet) == ""
        book = fleet.service.head.fleet.moves
        assert [cell for _, cell in book.pins] == [target]
        tables = [fleet.table_at(host) for host in ("p1", "p2", "q1")]
        assert {each.version for each in tables} == {book.version}


async def test_what_was_written_down_is_handed_out_at_the_next_look(with_cells):
    """Whoever decided it is gone: those who hold must not wait for the next round."""
    fleet = with_cells
    await fleet.order("move-tenant", key="acme", to="b")
    other = fleet.another()
    await other.round()
    dying = Dying(fleet.store)
    dead, dying.left = fleet.another(dying), 3  # two editions and the ledger, and no more
    await all_say(fleet)
    with pytest.raises(StoreGoneError):
        await dead.look()
    key = other.head.fleet.moves.move.key
    assert fleet.place_at("q1", key) == ("a", MovePhase.MARKED)
    await other.look()
    assert {fleet.place_at(host, key) for host in ("p1", "p2", "q1")} == {("a", MovePhase.HELD)}


async def test_an_older_snapshot_that_somebody_slow_put_there_does_not_stay(with_cells):
    fleet = with_cells
    path = fleet.folder / "fleet" / "hosts" / "q1"
    older = path.read_bytes()
    await fleet.order("move-tenant", key="acme", to="b")
    path.write_bytes(older)
    for _ in range(3):
        await fleet.period()
    assert moving(fleet) != "marked"


async def test_two_control_planes_move_a_key_together(with_cells):
    fleet = with_cells
    other = fleet.another()
    await fleet.order("move-tenant", key="acme", to="b")
    for _ in range(3):
        await all_say(fleet)
        await asyncio.gather(other.look() if other.head else other.round(), fleet.service.look())
    await fleet.service.round()
    assert moving(fleet) == ""
    assert (await fleet.verbs())[1:] == [
        "move-tenant", "hold tenant", "flip tenant", "tenant moved",
    ]  # fmt: skip


async def test_it_looks_at_once_and_often_while_a_key_moves(with_cells):
    """Its period is a minute here: nobody would wait for that."""
    fleet = with_cells
    rules = replace(fleet.service.rules, period_ns=seconds(60), move_period_ns=milliseconds(1))
    service = FleetService(
        Ledger(fleet.store), Shelves(fleet.store, lambda *_: None),
        SnapshotMaker(fleet.keys.key.sign, lambda _: None), rules, report=lambda *_: None,
    )  # fmt: skip
    running = asyncio.create_task(service.run())
    await eventually_async(lambda: service.head is not None)
    await fleet.order("move-tenant", key="acme", to="b", service=service)

    async def is_over() -> bool:
        await all_say(fleet)
        return service.head.fleet.moves.move is None

    await eventually_async(is_over)
    running.cancel()
    assert service.head.fleet.moves.pins


async def test_what_was_seen_of_a_promotion_is_not_lost_by_a_move(with_cells):
    fleet = with_cells
    await fleet.order("promote", digest=await fleet.publish(8, CELLS), bake="1h")
    for _ in range(6):
        await fleet.period()
    seen = fleet.service.seen
    assert seen.requests > 0
    await fleet.order("move-tenant", key="acme", to="b")
    await all_say(fleet)
    await fleet.service.look()
    assert moving(fleet) == "held"
    assert fleet.service.seen is seen


async def test_two_control_planes_with_different_clocks_are_told_apart(fleet):
    """Whoever is behind sees an entry of the future."""
    other = fleet.another()
    fleet.now_s += 60
    await fleet.order("quarantine-cell", cell="a")
    fleet.now_s -= 60
    await other.round()
    assert other.clocks.apart == {"another control plane": 60.0}
    assert ("clock differs", {"whose": "another control plane", "ahead_s": 60.0}) in fleet.events
