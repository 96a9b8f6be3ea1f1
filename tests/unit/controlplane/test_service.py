"""A control plane over a folder: orders, promotions, a store that fails, and a second one."""

from __future__ import annotations

import shutil

import pytest
from harness.control_plane import PaperFleet, settings

from shedproxy.controlplane.ledger import Ledger
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.service import ITSELF, StoreGoneError
from shedproxy.errors import ConfigInvalidError
from shedproxy.snapshot import open_envelope, read_snapshot

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
    assert "again with revision 2" in caught.value.help
    await fleet.order("quarantine-cell", cell="a", revision=3)  # the refusal was written down


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
