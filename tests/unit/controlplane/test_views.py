"""What is shown of a fleet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.control_plane import CELLS, PaperFleet

from shedproxy.controlplane.fleet import MovedKey
from shedproxy.controlplane.move import MoveBook
from shedproxy.controlplane.views import audit_view, fleet_view
from shedproxy.core import Instant, seconds

pytestmark = pytest.mark.anyio


def view(fleet: PaperFleet) -> dict:
    service = fleet.service
    now = Instant(seconds(fleet.now_s))
    return fleet_view(
        service.head,
        service.seen,
        service.sightings,
        service.votes,
        now=now,
        now_s=fleet.now_s,
        trouble="",
        clocks={"host p1": 12.5},
    )


async def test_a_promotion_is_shown_with_what_speaks_against_it(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin()
    assert view(fleet)["promotion"] is None
    assert view(fleet)["clocks_apart"] == {"host p1": 12.5}
    digest = await fleet.publish(8)
    await fleet.order("promote", digest=digest)
    for _ in range(4):
        await fleet.period()
    shown = view(fleet)
    promotion = shown["promotion"]
    assert (promotion["digest"], promotion["phase"], promotion["scope"]) == (
        digest, "baking", "instance",
    )  # fmt: skip
    assert (promotion["step"], promotion["hosts_moved"], promotion["hosts"]) == ("1 of 3", 1, 3)
    assert promotion["evidence"][0]["candidate"][1] > 0
    hosts = {host["name"]: host for host in shown["hosts"]}
    assert hosts["p1"]["runs"] == hosts["p1"]["to_run"] == digest
    assert hosts["q1"]["runs"] == shown["base"]
    assert all(host["is_heard"] for host in hosts.values())
    await fleet.order("shift-zone", zone="q", **{"for": "60s"})
    await fleet.order("quarantine-cell", cell="b")
    shown = view(fleet)
    assert shown["zones_away"] == {"q": 60.0}
    assert [cell["is_quarantined"] for cell in shown["cells"]] == [False, True]
    entries = audit_view(await fleet.service.audit(1))
    assert [entry["verb"] for entry in entries if entry["verb"] != "watch"][:3] == [
        "init", "publish", "promote",
    ]  # fmt: skip
    assert all(len(entry["digest"]) == 64 for entry in entries)


async def test_a_move_is_shown_with_its_phase_and_whom_it_waits_for(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin(more=CELLS)
    shown = view(fleet)
    assert (shown["move"], shown["moved"], shown["move_given_up"]) == (None, [], "")
    key = (await fleet.order("move-tenant", key="acme", to="b"))["key"]
    await fleet.period(hosts=("p1", "p2"))
    said = {"q1": "has not taken table 1 yet"}
    assert view(fleet)["move"] == {
        "key": key, "name": "acme", "from": "a", "to": "b", "phase": "marked", "for_s": 1.0,
        "waits_for": said,
    }  # fmt: skip
    await fleet.order("abort-move", why="wrong")
    assert (view(fleet)["move"], view(fleet)["move_given_up"]) == (None, "wrong")
    await fleet.order("move-tenant", key="acme", to="b")
    for _ in range(4):
        await fleet.period()
    assert view(fleet)["moved"] == [{"key": key, "name": "acme", "cell": "b"}]


class Counted(tuple):
    """Notes how often it is gone through."""

    __slots__ = ()
    looks = 0

    def __iter__(self):
        Counted.looks += 1
        return super().__iter__()


async def test_however_many_keys_were_moved_they_are_looked_through_once(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin()
    keys = [f"{number:016x}" for number in range(1, 1000)]
    known = replace(
        fleet.service.head.fleet,
        moves=MoveBook(version=1, pins=tuple((key, "b") for key in keys)),
        moved=Counted(MovedKey(key=key, name=key[-3:]) for key in keys[1:]),
    )
    fleet.service.head = replace(fleet.service.head, fleet=known)
    Counted.looks = 0
    shown = view(fleet)["moved"]
    assert [each["name"] for each in shown[:2]] == [keys[0], "002"]
    assert Counted.looks == 1


async def test_a_host_that_nobody_has_heard_of_is_shown_as_such(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin()
    await fleet.period(hosts=("p1",))
    hosts = {host["name"]: host for host in view(fleet)["hosts"]}
    assert [hosts[name]["is_heard"] for name in ("p1", "p2")] == [True, False]
    assert (hosts["p2"]["runs"], hosts["p2"]["requests"]) == ("", 0)
