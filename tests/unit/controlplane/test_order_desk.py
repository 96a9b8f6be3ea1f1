"""Orders beside the settings that they touch, over a folder with three hosts in two cells."""

from __future__ import annotations

import pytest
from harness.control_plane import CELLS, PaperFleet, settings

from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.verbs import Texts, read_host
from shedproxy.snapshot import canonical_key, cell_hash, open_envelope, read_snapshot

pytestmark = pytest.mark.anyio

ACME = f"{cell_hash('s')(canonical_key('header', b'acme')):016x}"
PINNED = CELLS + '[cells.pins]\nacme = "{cell}"\n'


@pytest.fixture
async def fleet(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin(more=CELLS)
    return fleet


async def refusal(fleet: PaperFleet, verb: str, **content) -> OrderRefusedError:
    with pytest.raises(OrderRefusedError) as caught:
        await fleet.order(verb, **content)
    return caught.value


async def moved(fleet: PaperFleet) -> None:
    await fleet.order("move-tenant", key="Acme", to="b")
    for _ in range(4):
        await fleet.period()
    assert fleet.service.head.fleet.moves.pins == ((ACME, "b"),)


async def promoted(fleet: PaperFleet, digest: str) -> None:
    await fleet.order("promote", digest=digest)
    for _ in range(60):
        await fleet.period()
        if fleet.service.head.fleet.book.rollout is None:
            break
    assert fleet.service.head.fleet.book.base == digest


async def test_an_order_to_move_a_key_is_answered_with_where_it_is(fleet):
    told = await fleet.order("move-tenant", key="Acme", to="b", why="too large")
    assert told == {"revision": 2, "key": ACME, "name": "acme", "from": "a", "to": "b"}
    (entry,) = (e for e in await fleet.service.audit(1) if e.act.verb == "move-tenant")
    assert (entry.act.why, entry.act.facts["name"]) == ("too large", "acme")
    told = await fleet.order("abort-move", why="wrong")
    assert told == {"revision": 3, "key": ACME, "name": "acme", "from": "a", "to": "b"}


async def test_settings_of_all_hosts_have_a_say(fleet):
    await promoted(fleet, (await fleet.order("publish", texts={"b": settings(7)}))["digest"])
    error = await refusal(fleet, "move-tenant", key="acme", to="b")
    assert "settings of some hosts spread requests over cells by no key" in str(error)
    entries = await fleet.service.audit(1)
    assert entries[-1].act.refusal == str(error)


async def test_a_key_can_be_moved_beside_a_promotion_that_leaves_it_alone(fleet):
    digest = await fleet.publish(8, CELLS)
    await fleet.order("promote", digest=digest)
    await fleet.period()
    await fleet.order("move-tenant", key="acme", to="b")
    for _ in range(60):
        await fleet.period()
        if fleet.service.head.fleet.book.rollout is None:
            break
    head = fleet.service.head.fleet
    assert (head.book.base, head.moves.pins) == (digest, ((ACME, "b"),))
    assert {fleet.place_at(host, ACME) for host in ("p1", "p2", "q1")} == {("b", 0)}


async def test_a_promotion_that_puts_it_elsewhere_is_in_the_way_and_the_other_way_round(fleet):
    elsewhere = await fleet.publish(8, PINNED.format(cell="default"))
    await fleet.order("promote", digest=elsewhere)
    error = await refusal(fleet, "move-tenant", key="acme", to="b")
    assert "different cells: a, default" in str(error)
    await fleet.order("roll-back")
    for _ in range(3):
        await fleet.period()
    other = await fleet.publish(9, PINNED.format(cell="default"))
    await fleet.order("move-tenant", key="acme", to="b")
    error = await refusal(fleet, "promote", digest=other)
    assert f"the settings of release {other[:19]} have acme in cell default" in str(error)


async def test_settings_without_the_cell_of_a_moved_key_reach_no_host(fleet):
    small = CELLS.replace("[cell.b]\n", "")
    without = await fleet.publish(8, small)
    await moved(fleet)
    error = await refusal(fleet, "publish", texts={"": settings(9, small)})
    assert "these settings have no cell b, and 1 moved key need it" in str(error)
    error = await refusal(fleet, "promote", digest=without)
    assert "have no cell b" in str(error)
    await fleet.order("promote", digest=await fleet.publish(9, CELLS))


async def test_a_host_of_a_cell_whose_settings_do_not_go_with_moved_keys_is_not_added(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin()  # all cells: without a key
    own = {"a": settings(7, CELLS), "b": settings(7, CELLS)}
    await promoted(fleet, (await fleet.order("publish", texts=own))["digest"])
    await moved(fleet)
    error = await refusal(fleet, "add-host", host="z1", cell="z")
    assert "another cells.key" in str(error)
    await fleet.order("clone-cell", source="a", cell="c", hosts=["c1"])
    await fleet.order("add-host", host="a9", cell="a")
    assert fleet.place_at("c1", ACME) == fleet.place_at("a9", ACME) == ("b", 0)


async def test_where_a_key_was_moved_is_what_its_settings_are_to_say(fleet):
    await moved(fleet)
    error = await refusal(fleet, "publish", texts={"": settings(8, PINNED.format(cell="a"))})
    assert "pin acme to cell a, and it was moved to b" in str(error)
    stated = await fleet.publish(8, PINNED.format(cell="b"))
    assert fleet.service.head.fleet.moves.pins, "no host runs them yet"
    await promoted(fleet, stated)
    silent = await fleet.publish(9, CELLS)
    await promoted(fleet, silent)
    assert fleet.place_at("p1", ACME) == ("b", 0), "settings alone move nobody back"
    assert fleet.service.head.fleet.moves.pins == ((ACME, "b"),)


async def test_keys_are_hashed_otherwise_when_all_settings_know_where_moved_ones_are(fleet):
    other = PINNED.format(cell="b").replace('"s"', '"t"')
    await moved(fleet)
    error = await refusal(fleet, "publish", texts={"": settings(8, other)})
    assert "another cells.key or cells.secret, by which 1 moved key would not be found" in str(
        error
    )
    assert "promote those first" in error.help
    await promoted(fleet, await fleet.publish(8, PINNED.format(cell="b")))
    digest = await fleet.publish(9, other)
    assert fleet.service.head.fleet.moves.pins, "no host is given it by that"
    await fleet.order("promote", digest=digest)
    head = fleet.service.head.fleet
    assert (head.moves.pins, head.moved) == ((), ())
    assert fleet.place_at("q1", ACME) == ("b", 0)
    for _ in range(60):
        await fleet.period()
    assert fleet.service.head.fleet.book.base == digest
    acme = f"{cell_hash('t')(canonical_key('header', b'acme')):016x}"
    assert {fleet.place_at(host, acme) for host in ("p1", "q1")} == {("b", 0)}


async def test_while_a_key_moves_no_settings_change_what_it_moves_in(fleet):
    await fleet.order("move-tenant", key="acme", to="b")
    error = await refusal(
        fleet, "publish", texts={"": settings(8, CELLS + "[cells.pins]\nx='b'\n")}
    )
    assert "change [cells] while acme is being moved" in str(error)
    await fleet.publish(8, CELLS)


async def test_a_release_does_not_take_back_what_others_have_changed_meanwhile(fleet):
    texts = {cell: settings(20, CELLS) for cell in "ab"}
    first, second = [
        (await fleet.order("publish", texts={cell: text}))["digest"] for cell, text in texts.items()
    ]
    await promoted(fleet, first)
    error = await refusal(fleet, "promote", digest=second)
    assert (error.place, "settings of a" in str(error)) == ("/digest", True)
    again = (await fleet.order("publish", texts={"b": texts["b"]}))["digest"]
    await promoted(fleet, again)
    limits = {
        read_snapshot(
            open_envelope((fleet.folder / "fleet/hosts" / host).read_bytes())
        ).document.policy.cells[0].limit.initial
        for host in ("p1", "q1")
    }  # fmt: skip
    assert limits == {20}
    await promoted(fleet, first)
    assert fleet.service.head.fleet.book.base == first, "who goes back knows what is taken back"


async def test_a_zone_is_weighed_away_where_upstreams_are_and_it_is_told_how_many(tmp_path):
    """Hosts and upstreams need not lie in the same zones."""
    fleet = PaperFleet(tmp_path)
    upstreams = """["http://127.0.0.1:9 zone=p", "http://127.0.0.1:8 zone=x"]"""
    text = f'[cell.default]\nlimit = 7\nupstream = {upstreams}\nwaive = ["zone-headroom"]\n'
    texts = Texts(texts={"": text}, names={})
    await fleet.service.begin([read_host(each) for each in ("p1=a@p", "q1=a@q")], texts, who="ann")
    error = await refusal(fleet, "shift-zone", zone="z")
    assert (str(error), error.help) == ("no upstream and no host is in zone z", "zones: p, q, x")
    for zone, count in (("x", 1), ("q", 0), ("p", 1)):
        assert (await fleet.order("shift-zone", zone=zone))["upstreams"] == count
        await fleet.order("shift-zone", zone=zone, back=True)
    entries = await fleet.service.audit(3)
    assert entries[0].act.facts["upstreams"] == 1
