"""The control listener's HTTP, over operations that are scripted."""

from __future__ import annotations

import contextlib
import os

import httpx2
import pytest

from shedproxy.core import Mode, seconds
from shedproxy.listening import PEER_USER, OrderKey, read_order_key
from shedproxy.supervisor.access import Access
from shedproxy.supervisor.control import make_app
from shedproxy.supervisor.health import Check, Report
from shedproxy.supervisor.orders import OrderInvalidError

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


class Scripted:
    """Operations that note what was asked."""

    def __init__(self) -> None:
        self.asked: list = []
        self.report = Report("livez", (Check("worker 0", True, "fine"),))
        self.reload_result: dict = {"ok": True}

    def liveness(self):
        return self.report

    def readiness(self):
        return self.report

    def metrics(self, accept):
        return b"# metrics", f"text/plain; for={accept}"

    def status(self):
        return {"mode": "enforce"}

    def explain(self, method, path, headers, refusal_id):
        self.asked.append((method, path, headers, refusal_id))
        if refusal_id == "unknown":
            raise OrderInvalidError("?id", "not kept")
        return {"route": "r"}

    def config(self):
        return {"values": {}}

    def points(self):
        return {"cells": {}}

    def order_zone(self, order, *, who):
        self.asked.append((order, who))
        return {"zones_away": {}}

    def order_mode(self, order, *, who):
        self.asked.append((order, who))
        return {"mode": "observe"}

    async def reload(self, *, who):
        self.asked.append("reload")
        return self.reload_result

    def restart(self, *, who):
        self.asked.append("restart")
        return {"state": "running"}

    def drain(self, *, who):
        self.asked.append("drain")
        return {"state": "draining"}

    def upstreams(self):
        return {"hosts": []}

    async def order_host(self, order, *, who):
        self.asked.append((order.action, order.host, who))
        return {"hosts": [order.host]}


@contextlib.asynccontextmanager
async def client(
    operations,
    *,
    token: str = "",
    needs_token: bool = False,
    host="127.0.0.1:9900",
    user: int | None = os.geteuid(),
    key: OrderKey | None = None,
):
    key = key or OrderKey((), {})
    app = make_app(operations, Access(token=lambda: token, needs_token=needs_token, key=key))

    async def through_socket(scope, receive, send):
        state = {} if user is None else {PEER_USER: user}
        await app({**scope, "state": state}, receive, send)

    transport = httpx2.ASGITransport(through_socket, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as opened:
        yield opened


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_health_is_200_or_503_in_plain_text(path):
    operations = Scripted()
    async with client(operations) as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.text) == (200, "ok\n")
        assert "[+] worker 0: fine" in (await http.get(path + "?verbose")).text
        assert (await http.head(path)).status_code == 200
        operations.report = Report("livez", (Check("worker 0", False, "blocked"),))
        answer = await http.get(path)
        assert answer.status_code == 503
        assert "[-] worker 0: blocked" in answer.text


async def test_reads_are_json_and_never_cached():
    async with client(Scripted()) as http:
        for path in ("/-/status", "/-/config", "/-/points", "/-/explain?path=/a"):
            answer = await http.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.headers["cache-control"] == "no-store"
            answer.json()


async def test_metrics_follow_the_accept_header():
    async with client(Scripted()) as http:
        answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text"})
        assert answer.headers["content-type"] == "text/plain; for=application/openmetrics-text"


async def test_explain_passes_method_path_and_headers_on():
    operations = Scripted()
    async with client(operations) as http:
        await http.get(
            "/-/explain",
            params=[("method", "post"), ("path", "/a"), ("header", "X-A: 1"), ("header", "b:2:3")],
        )
        assert operations.asked == [("POST", "/a", [("x-a", "1"), ("b", "2:3")], "")]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("", "?path"),
        ("path=a", "?path"),
        ("path=/a&header=nocolon", "?header"),
        ("path=/a&colour=1", "?colour"),
        ("id=unknown", "?id"),
    ],
)
async def test_a_bad_question_names_the_place(query, place):
    async with client(Scripted()) as http:
        answer = await http.get(f"/-/explain?{query}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["place"] == place


async def test_a_mode_order_is_read_and_attributed():
    operations = Scripted()
    async with client(operations) as http:
        zone = await http.post("/-/zone", json={"zone": "b", "away": True, "for": "10m"})
        assert zone.json() == {"zones_away": {}}
        answer = await http.post("/-/mode", json={"mode": "observe", "for": "10m"})
        assert answer.json() == {"mode": "observe"}
        (zone_order, who), (order, _) = operations.asked
        assert (zone_order.zone, zone_order.is_away, zone_order.length) == ("b", True, seconds(600))
        assert (order.mode, order.length, who) == (Mode.OBSERVE, seconds(600), "127.0.0.1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"mode":"loud"}', 422),
        (b'{"mode":"off","for":"soon"}', 422),
        (b'"' + b"x" * 20_000 + b'"', 413),
    ],
)
async def test_a_bad_body_is_a_problem_and_changes_nothing(body, status):
    operations = Scripted()
    async with client(operations) as http:
        answer = await http.post("/-/mode", content=body, headers=JSON)
        assert answer.status_code == status
        assert answer.json()["status"] == status
        assert operations.asked == []


async def test_a_refused_reload_is_422_with_the_problems():
    operations = Scripted()
    operations.reload_result = {"ok": False, "problems": [{"message": "unknown key"}]}
    async with client(operations) as http:
        answer = await http.post("/-/reload", json={})
        assert answer.status_code == 422
        assert answer.json()["problems"]


async def test_a_restart_is_accepted():
    operations = Scripted()
    async with client(operations) as http:
        answer = await http.post("/-/restart", headers=JSON)
        assert (answer.status_code, answer.json()) == (202, {"state": "running"})
        assert operations.asked == ["restart"]


async def test_hosts_are_shown_and_drained():
    operations = Scripted()
    async with client(operations) as http:
        assert (await http.get("/-/upstreams")).json() == {"hosts": []}
        order = {"action": "drain", "host": "http://h:1"}
        answer = await http.post("/-/upstreams", json=order)
        assert (answer.status_code, answer.json()) == (200, {"hosts": ["http://h:1"]})
        assert [asked[:2] for asked in operations.asked] == [("drain", "http://h:1")]
        answer = await http.post("/-/upstreams", json={"action": "drain"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["place"] == "/host"


async def test_drain_is_accepted():
    operations = Scripted()
    async with client(operations) as http:
        assert (await http.post("/-/drain", headers=JSON)).status_code == 202
        assert operations.asked == ["drain"]


CHANGES = ("/-/mode", "/-/zone", "/-/reload", "/-/restart", "/-/drain", "/-/upstreams")


@pytest.mark.parametrize("path", CHANGES)
async def test_a_web_page_cannot_change_anything(path):
    operations = Scripted()
    async with client(operations) as http:
        form = {"content-type": "application/x-www-form-urlencoded"}
        for kind in (form, {"content-type": "text/plain"}, {}):
            assert (await http.post(path, content=b"{}", headers=kind)).status_code == 415
        cross = {**JSON, "sec-fetch-site": "cross-site"}
        assert (await http.post(path, content=b"{}", headers=cross)).status_code == 403
        rebound = {**JSON, "host": "evil.example:9900"}
        assert (await http.post(path, content=b"{}", headers=rebound)).status_code == 403
        assert (await http.get(path)).status_code == (200 if path == "/-/upstreams" else 405)
        assert operations.asked == []


async def test_with_a_token_only_its_bearer_may():
    operations = Scripted()
    async with client(operations, token="s3cret", needs_token=True, host="proxy.example") as http:
        assert (await http.post("/-/drain", headers=JSON)).status_code == 401
        wrong = {**JSON, "authorization": "Bearer no"}
        assert (await http.post("/-/drain", headers=wrong)).status_code == 401
        right = {**JSON, "authorization": "Bearer s3cret"}
        assert (await http.post("/-/drain", headers=right)).status_code == 202


async def test_without_a_token_only_who_has_the_key_may_and_all_may_read(tmp_path):
    operations = Scripted()
    key = OrderKey(("127.0.0.1:9900",), {"XDG_RUNTIME_DIR": str(tmp_path)})
    async with client(operations, user=None, key=key) as http:
        for path in READS:
            assert (await http.get(path)).status_code == 200
        operations.asked.clear()
        for path in CHANGES:
            answer = await http.post(path, json={})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            file = answer.json()["order_key"]
            assert file == key.file()
        assert operations.asked == []
        secret = read_order_key(file, "127.0.0.1:9900")
        assert secret not in answer.text
        right = {**JSON, "authorization": f"Bearer {secret}"}
        assert (await http.post("/-/drain", headers=right)).status_code == 202
    key.forget()


async def test_another_user_at_the_unix_socket_reads_only():
    operations = Scripted()
    async with client(operations, user=54321) as http:
        assert (await http.get("/-/status")).status_code == 200
        answer = await http.post("/-/drain", headers=JSON)
        assert (answer.status_code, operations.asked) == (403, [])
        assert "order_key" not in answer.json()


READS = ("/metrics", "/-/status", "/-/config", "/-/points", "/-/explain?path=/a")


async def test_reads_of_a_public_listener_need_a_token_and_health_none():
    operations = Scripted()
    async with client(operations, token="s3cret", needs_token=True, host="proxy.example") as http:
        for path in READS:
            answer = await http.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "s3cret" not in answer.text
            right = {"authorization": "Bearer s3cret"}
            assert (await http.get(path, headers=right)).status_code == 200
        for path in ("/livez", "/readyz", "/healthz"):
            assert (await http.get(path)).status_code == 200


async def test_strangers_see_of_health_that_it_failed_and_no_more():
    operations = Scripted()
    operations.report = Report("readyz", (Check("upstream 10.0.0.7", False, "refused"),))
    async with client(operations, token="s3cret", needs_token=True) as http:
        for path in ("/readyz", "/readyz?verbose"):
            answer = await http.get(path)
            assert (answer.status_code, answer.text) == (503, "readyz check failed\n")
        answer = await http.get("/readyz", headers={"authorization": "Bearer s3cret"})
        assert "upstream 10.0.0.7" in answer.text


async def test_a_public_listener_without_token_gives_health_only():
    async with client(Scripted(), needs_token=True) as http:
        answers = [await http.get(path) for path in READS]
        answers.append(await http.post("/-/drain", headers=JSON))
        for answer in answers:
            assert answer.status_code == 403
            assert "token_file" in answer.json()["detail"]
        assert (await http.get("/livez")).status_code == 200


@pytest.mark.parametrize("path", READS)
async def test_a_page_under_a_foreign_name_reads_nothing_on_loopback(path):
    async with client(Scripted(), host="evil.example:9900") as http:
        answer = await http.get(path)
        assert answer.status_code == 403
        assert answer.json()["title"] == "Foreign host name"


async def test_every_answer_keeps_browsers_from_using_it():
    operations = Scripted()
    async with client(operations) as http:
        operations.status = lambda: 1 / 0
        for method, path in (
            *(("GET", path) for path in (*READS, "/livez", "/nothing")),
            ("DELETE", "/livez"),
            ("POST", "/-/drain"),
        ):
            fields = (await http.request(method, path)).headers
            assert fields["content-security-policy"].startswith("default-src 'none'")
            assert "frame-ancestors 'none'" in fields["content-security-policy"]
            assert fields["x-content-type-options"] == "nosniff"
            assert fields["x-frame-options"] == "DENY"
            assert fields["cross-origin-resource-policy"] == "same-origin"
            assert fields["cache-control"] == "no-store"


async def test_unknown_paths_and_errors_are_problems_too():
    operations = Scripted()
    operations.status = lambda: 1 / 0
    async with client(operations) as http:
        answer = await http.get("/nothing")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        answer = await http.get("/-/status")
        assert answer.status_code == 500
        assert "ZeroDivisionError" in answer.json()["detail"]


async def test_numbers_that_are_no_json_are_not_sent():
    operations = Scripted()
    operations.status = lambda: {"x": float("nan")}
    async with client(operations) as http:
        assert (await http.get("/-/status")).status_code == 500
