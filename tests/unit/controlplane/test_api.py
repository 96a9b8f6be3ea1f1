"""The control plane's HTTP: who, what, and how it says no."""

from __future__ import annotations

import asyncio
import hashlib

import httpx2
import pytest
from harness.control_plane import PaperFleet, settings

from shedproxy.controlplane.api import WAITING_MAX, make_api
from shedproxy.controlplane.persons import Persons
from shedproxy.controlplane.service import StoreGoneError
from shedproxy.listening import OrderKey, read_order_key
from shedproxy.settings import TokenSettings

pytestmark = pytest.mark.anyio

TOKENS = {
    name: TokenSettings(sha256=hashlib.sha256(name.encode()).hexdigest(), role=role)
    for name, role in (("ann", "operator"), ("ci", "publisher"), ("bob", "reader"))
}


@pytest.fixture
async def fleet(tmp_path):
    fleet = PaperFleet(tmp_path)
    await fleet.begin()
    await fleet.period()
    return fleet


def client(fleet: PaperFleet, token: str = "ann") -> httpx2.AsyncClient:
    persons = Persons(TOKENS, OrderKey((), {}), wall=lambda: 0.0)
    api = make_api(fleet.service, persons, clock=lambda: fleet.now_s)
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=api),
        base_url="http://127.0.0.1",
        headers={"authorization": f"Bearer {token}"} if token else {},
    )


async def test_an_order_is_done_in_the_name_of_who_gave_it(fleet):
    async with client(fleet) as http:
        answer = await http.post("/v1/quarantine-cell", json={"cell": "a", "why": "disks"})
        assert (answer.status_code, answer.json()) == (200, {"revision": 2})
        status = (await http.get("/v1/status")).json()
        entries = (await http.get("/v1/audit?from=2")).json()["entries"]
    assert [cell["is_quarantined"] for cell in status["cells"]] == [True, False]
    assert [(e["who"], e["verb"], e["why"]) for e in entries] == [
        ("ann", "quarantine-cell", "disks")
    ]


@pytest.mark.parametrize(
    ("token", "verb", "status", "who", "why"),
    [("", "promote", 401, "nobody", "1 call"), ("eve", "promote", 401, "nobody", "1 call"),
     ("bob", "publish", 403, "bob", "bob is reader, and may not publish"),
     ("ci", "promote", 403, "ci", "ci is publisher, and may not promote"),
     ("ci", "publish", 422, "ci", "there are no settings"),
     ("ann", "promote", 422, "ann", "digest is None; must be text")],
)  # fmt: skip
async def test_nobody_does_what_is_not_his_and_the_audit_has_it(
    fleet, token, verb, status, who, why
):
    before = fleet.service.head.fleet
    async with client(fleet, token) as http:
        answer = await http.post(f"/v1/{verb}", json={})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    _, entry = await fleet.service.audit(1)
    assert (entry.act.who, entry.act.refusal) == (who, why)
    assert fleet.service.head.fleet == before
    assert await fleet.service.audit(1) == [_, entry], "once"


async def test_what_was_refused_before_an_order_stands_before_it_in_the_audit(fleet):
    async with client(fleet, "bob") as http:
        await http.post("/v1/quarantine-cell", json={"cell": "a"})
    async with client(fleet) as http:
        await http.post("/v1/quarantine-cell", json={"cell": "a"})
    entries = await fleet.service.audit(2)
    assert [(e.act.who, bool(e.act.refusal)) for e in entries] == [("bob", True), ("ann", False)]


async def test_the_audit_has_who_sends_what_is_no_order(fleet):
    async with client(fleet) as http:
        headers = {"content-type": "application/json"}
        assert (await http.post("/v1/promote", content=b"{", headers=headers)).status_code == 400
    await fleet.period()
    entry = (await fleet.service.audit(1))[-1]
    assert (entry.act.who, entry.act.verb, entry.act.facts["status"]) == ("ann", "promote", 400)


async def test_who_is_a_reader_sees_and_who_is_nobody_does_not(fleet):
    async with client(fleet, "bob") as http:
        assert (await http.get("/v1/status")).status_code == 200
    async with client(fleet, "") as http:
        assert (await http.get("/v1/status")).status_code == 401
        assert (await http.get("/v1/audit")).status_code == 401
        assert (await http.get("/livez")).status_code == 200


async def test_without_tokens_a_guess_is_in_the_audit_and_no_question_for_the_key(fleet, tmp_path):
    key = OrderKey(("127.0.0.1:9800",), {"XDG_RUNTIME_DIR": str(tmp_path)})
    api = make_api(fleet.service, Persons({}, key, wall=lambda: 0.0), clock=lambda: fleet.now_s)
    transport = httpx2.ASGITransport(app=api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9800") as http:
        order = {"cell": "a"}
        answer = await http.post("/v1/quarantine-cell", json=order)
        assert (answer.status_code, answer.json()["order_key"]) == (401, key.file())
        await fleet.period()
        assert len(await fleet.service.audit(1)) == 1
        guess = {"authorization": "Bearer guess"}
        answer = await http.post("/v1/quarantine-cell", json=order, headers=guess)
        assert answer.status_code == 401
        await fleet.period()
        entry = (await fleet.service.audit(1))[-1]
        assert "orders are for the user of the control plane" in str(entry.act)
        secret = read_order_key(key.file(), "127.0.0.1:9800")
        right = {"authorization": f"Bearer {secret}"}
        answer = await http.post("/v1/quarantine-cell", json=order, headers=right)
        assert answer.status_code == 200
        assert secret not in str(await fleet.service.audit(1))
    key.forget()


async def test_what_the_fleet_does_not_allow_is_a_conflict_with_the_way_on(fleet):
    async with client(fleet) as http:
        answer = await http.post("/v1/quarantine-cell", json={"cell": "a", "revision": 9})
        assert answer.status_code == 409
        (error,) = answer.json()["errors"]
        assert error["place"] == "/revision"
        assert "again with revision 2" in error["help"], "the refusal is a revision, too"
        unknown = await http.post("/v1/quarantine-cell", json={"cell": "z"})
        assert (unknown.status_code, unknown.json()["errors"][0]["help"]) == (422, "cells: a, b")
        assert (await http.get("/v1/audit?from=x")).status_code == 422
        assert (await http.post("/v1/self-destruct", json={})).status_code == 404


async def test_bad_settings_come_back_with_their_lines(fleet):
    body = {"texts": {"": settings(0)}, "names": {"": "edge.toml"}}
    async with client(fleet) as http:
        answer = await http.post("/v1/publish", json=body)
    assert (answer.status_code, answer.json()["title"]) == (422, "Invalid settings")
    (error,) = answer.json()["errors"]
    assert (error["source"], error["line"]) == ("edge.toml", 3)
    assert error["excerpt"] == [[3, "limit = 0"]]


async def test_with_the_store_gone_it_says_so(fleet, monkeypatch):
    async def gone(*_arguments, **_options):
        raise OSError("no space left on device")

    monkeypatch.setattr(fleet.service._ledger, "head", gone)
    async with client(fleet) as http:
        answer = await http.post("/v1/quarantine-cell", json={"cell": "a"})
        assert (answer.status_code, answer.json()["detail"]) == (503, "no space left on device")
        status = (await http.get("/v1/status")).json()
        assert status["store"] == {"ok": False, "why": "no space left on device"}
        fleet.service.head = None
        assert (await http.get("/v1/status")).status_code == 503


async def test_only_a_few_wait_for_the_store(fleet, monkeypatch):
    may_go = asyncio.Event()

    async def slow(*_arguments):
        await may_go.wait()
        raise StoreGoneError("slow")

    monkeypatch.setattr(fleet.service, "audit", slow)
    async with client(fleet) as http:
        asked = [asyncio.create_task(http.get("/v1/audit")) for _ in range(WAITING_MAX + 5)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status_code for task in done} == {429}
        may_go.set()
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
    assert statuses.count(429) == 5
    assert statuses.count(503) == WAITING_MAX
