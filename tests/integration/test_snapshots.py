"""Real processes by signed snapshots: with the store gone, with bad ones, and whoever asks else."""

from __future__ import annotations

import base64
import hashlib
import inspect
import itertools
import json
import random
import re
import signal
from dataclasses import replace

import pytest
from harness.beside import in_thread
from harness.own_time import own_time, waited_s
from harness.snapshots import Fleet, document_of

from shedproxy.core import BUCKETS, build_cell_table
from shedproxy.snapshot import Document, decode_report, secret_id, snapshot_of
from shedproxy.supervisor import control
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SETTINGS = """\
[snapshot]
source = "file://{store}/current"
keys = "fleet.pub"
folder = "kept"
period = "100ms"
timeout = "1s"
instance = "edge-1"
"""


class Managed:
    """An instance with its store, its keys and the policy that it is to have."""

    def __init__(self, start, service, folder) -> None:
        self.fleet = Fleet(folder)
        self.folder, self.store = folder, folder / "store"
        self.store.mkdir()
        self.service = service
        self.settings = folder / "shedproxy.toml"
        self.settings.write_text(SETTINGS.format(store=self.store))
        self._start = start
        self.proxy = None

    def document(self, limit: int, **overrides):
        return document_of(limit, upstream=self.service.url, **overrides)

    def publish(self, data: bytes) -> None:
        (self.store / ".new").write_bytes(data)
        (self.store / ".new").replace(self.store / "current")

    async def start(self, **options):
        self.proxy = await in_thread(
            lambda: self._start("run", "--config", str(self.settings), **options)
        )
        return self.proxy

    async def status(self) -> dict:
        return await in_thread(lambda: self.proxy.status)

    async def limit(self) -> int:
        return (await self.status())["cells"][0]["limit"]


@pytest.fixture
def managed(start, service, tmp_path):
    return Managed(start, service, tmp_path)


async def test_a_snapshot_is_put_in_force_in_its_period_and_reported_upward(managed, load):
    managed.publish(managed.fleet.of(managed.document(7), 1))
    proxy = await managed.start()
    async with load(await in_thread(lambda: proxy.address), 2) as clients:
        await eventually_async(lambda: clients.ok > 10)
        managed.publish(managed.fleet.of(managed.document(8), 2))
        await eventually_async(lambda: _is(managed, 8))
        report = managed.store / "reports" / "edge-1"
        await eventually_async(lambda: report.exists() and decode_report(_read(report)).requests)
    assert clients.errors == []
    assert set(clients.statuses) == {200}
    assert decode_report(_read(report)).instance == "edge-1"
    metrics = (await in_thread(proxy.http.get, "/metrics")).text
    assert "shedproxy_snapshot_revision 2" in metrics


async def _is(managed: Managed, limit: int) -> bool:
    return await managed.limit() == limit


def _read(file) -> bytes:
    return file.read_bytes()


async def test_with_the_store_gone_every_process_starts_from_disk_alone(managed, load):
    """All are killed at once under load; the settings name no upstream, so only the copy can."""
    managed.publish(managed.fleet.of(managed.document(7), 1))
    proxy = await managed.start()
    async with load(await in_thread(lambda: proxy.address), 4) as clients:
        await eventually_async(lambda: clients.ok > 50)
    for file in managed.store.iterdir():
        if file.is_file():
            file.unlink()
    managed.store.rename(managed.folder / "gone")
    proxy.signal(signal.SIGKILL)
    await in_thread(proxy.process.wait)
    began = own_time()
    proxy = await managed.start()
    took = own_time(proxy.process.pid, await in_thread(proxy.worker_pid)) - began
    async with load(await in_thread(lambda: proxy.address), 4) as after:
        await eventually_async(lambda: after.ok > 50)
    assert after.errors == []
    assert set(after.statuses) == {200}
    status = (await managed.status())["snapshot"]
    assert status["revision"] == 1
    assert took < 4, "2 s, on a machine that is slow"


async def test_no_bad_snapshot_is_ever_in_force_and_each_is_reported(managed, tmp_path):
    fleet, stranger = managed.fleet, Fleet(tmp_path, "stranger")
    good = fleet.of(managed.document(7), 5)
    hostile = b'{"classification":{"rules":[' + b",".join([b"{}"] * 600_000) + b"]}}"
    bad = {
        "truncated": good[: len(good) // 2],
        "invalid": good[:2000] + b"x" + good[2001:],
        "signature": good.replace(b'"revision":5', b'"revision":6'),
        "unknown_key": stranger.of(managed.document(9), 6),
        "replayed": fleet.of(managed.document(9), 4),
        "empty": fleet.of(Document(), 6),
        "too_large": bytes((16 << 20) + 1),
        "newer_schema": fleet.sign(replace(snapshot_of(managed.document(9), revision=6), schema=3)),
    }
    managed.publish(good)
    await managed.start()
    for reason, data in [*bad.items(), ("invalid", _raw(fleet, hostile))]:
        managed.publish(data)
        await eventually_async(lambda reason=reason: _refused(managed, reason), within_s=60)
        assert await managed.limit() == 7
    managed.publish(fleet.of(managed.document(8), 6))
    await eventually_async(lambda: _is(managed, 8))
    assert (await managed.status())["snapshot"]["refusal"] is None
    metrics = (await in_thread(managed.proxy.http.get, "/metrics")).text
    for reason in bad:
        assert f'shedproxy_snapshot_refusals_total{{shedproxy_reason="{reason}"}}' in metrics


def _raw(fleet: Fleet, text: bytes) -> bytes:
    """A snapshot, rightly signed, around any text for a document."""
    part = {"name": "document", "size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    manifest = {"format": "shedproxy-snapshot", "schema": 1, "revision": 6, "size": 4 << 20}
    line = json.dumps({**manifest, "parts": [part]}, separators=(",", ":")).encode()
    key, signature = fleet.key.sign(b"shedproxy snapshot\0" + line)
    entry = {"key": key, "ed25519": base64.b64encode(signature).decode()}
    head = b"%s\n%s\n" % (line, json.dumps({"signatures": [entry]}).encode())
    return (head + text).ljust(4 << 20, b"\0")


async def _refused(managed: Managed, reason: str) -> bool:
    refusal = (await managed.status())["snapshot"]["refusal"]
    return refusal is not None and refusal["reason"] == reason


async def test_nothing_else_changes_the_policy(managed, service):
    """Every verb of every listener, every signal, and the settings themselves."""
    managed.publish(managed.fleet.of(managed.document(7), 1))
    proxy = await managed.start()

    async def policy() -> tuple:
        status = await managed.status()
        return status["mode"], status["cells"][0]["limit"], status["upstreams"].keys()

    before = await policy()
    source = inspect.getsource(control)
    paths = {path for path in re.findall(r'_(?:get|post)\("([^"]+)"', source)} - {"/-/drain"}
    assert {"/-/mode", "/-/reload", "/-/restart", "/-/upstreams", "/-/status"} <= paths

    bodies = [{}, {"mode": "enforce"}, {"mode": "configured"}, {"limit": 1}]
    bodies += [{"action": action, "host": service.url} for action in ("drain", "undrain")]
    asked = [("POST", body) for body in bodies]
    asked += [(method, bodies[1]) for method in ("GET", "PUT", "PATCH", "DELETE")]
    for path, (method, body) in itertools.product(sorted(paths | {"/", "/-/x"}), asked):
        answer = await in_thread(lambda m=method, p=path, b=body: proxy.http.request(m, p, json=b))
        assert answer.status_code < 500
        if path == "/-/mode" and method == "POST" and body.get("mode") == "enforce":
            assert answer.status_code == 422
            assert "signed snapshots" in answer.text
    address = await in_thread(lambda: proxy.address)
    for method, path in itertools.product(["GET", "POST", "PUT", "DELETE"], ["/", "/-/mode"]):
        await in_thread(lambda m=method, p=path: _ask(address, m, p))
    text = managed.settings.read_text()
    managed.settings.write_text(f'{text}\n[cell.default]\nlimit = 1\nupstream = "{service.url}"\n')
    proxy.signal(signal.SIGHUP)
    await eventually_async(lambda: _reload_refused(managed))
    proxy.signal(signal.SIGUSR2)
    await eventually_async(lambda: _is_done(managed))
    assert await policy() == before
    answer = await proxy.post_async("/-/mode", {"mode": "observe", "for": "1s"})
    assert answer.json()["mode"] == "observe"
    await eventually_async(lambda: _mode_is(managed, "enforce"))
    assert await policy() == before


def _ask(address: str, method: str, path: str) -> int:
    import httpx2

    return httpx2.request(method, f"http://{address}{path}", json={"mode": "off"}).status_code


async def _reload_refused(managed: Managed) -> bool:
    result = (await managed.status())["config"]
    return not result["ok"] and "signed snapshots" in result["problems"][0]["message"]


async def _is_done(managed: Managed) -> bool:
    return (await managed.status())["restart"]["state"] == "done"


async def _mode_is(managed: Managed, mode: str) -> bool:
    return (await managed.status())["mode"] == mode


async def test_a_table_of_many_pinned_keys_is_swapped_under_load_in_no_time(managed, load):
    document = managed.document(64, **{"cells.key": "api-key:x-tenant", "cells.secret": "s"})
    cells = tuple(replace(document.policy.cells[0], name=name) for name in ("default", "b"))
    upstream = document.proxy.upstreams[0]
    proxy = replace(document.proxy, upstreams=(upstream, replace(upstream, cell="b")))
    policy = replace(document.policy, cells=cells)
    base = snapshot_of(replace(document, policy=policy, proxy=proxy), revision=1)
    chance = random.Random(7)
    keys = [chance.getrandbits(64) | 1 for _ in range(20_000)]

    def signed(revision: int) -> bytes:
        table = build_cell_table(
            ["default", "b"], [revision % 2] * BUCKETS, dict.fromkeys(keys, revision % 2),
            version=revision, secret_id=secret_id("s"),
        )  # fmt: skip
        return managed.fleet.sign(replace(base, revision=revision, table=table))

    managed.publish(signed(2))
    await managed.start()
    worker = await in_thread(managed.proxy.worker_pid)
    waited = waited_s(worker)
    async with load(await in_thread(lambda: managed.proxy.address), 4) as clients:
        for revision in (3, 4):
            await in_thread(managed.publish, await in_thread(signed, revision))
            await eventually_async(lambda n=revision: _revision_is(managed, n), within_s=60)
            seen = clients.ok
            await eventually_async(lambda seen=seen: clients.ok > seen + 20)
    assert clients.errors == []
    assert set(clients.statuses) == {200}
    address = await in_thread(lambda: managed.proxy.address)
    cells = {cell["name"]: cell["admitted"] for cell in (await managed.status())["cells"]}
    managed.publish(await in_thread(signed, 5))
    await eventually_async(lambda: _revision_is(managed, 5), within_s=60)
    for _ in range(3):
        await in_thread(_ask_as, address, "somebody")
    await eventually_async(lambda: _admitted(managed, "b", cells["b"] + 3))
    # What the worker had to wait for a processor meanwhile may have been in a swap.
    waited_ms = (waited_s(worker) - waited) * 1000
    assert 0 < (await managed.status())["snapshot"]["swap_max_ms"] < 50 + waited_ms


def _ask_as(address: str, tenant: str) -> int:
    import httpx2

    return httpx2.get(f"http://{address}/", headers={"x-tenant": tenant}).status_code


async def _admitted(managed: Managed, cell: str, least: int) -> bool:
    cells = {each["name"]: each["admitted"] for each in (await managed.status())["cells"]}
    return cells[cell] >= least


async def _revision_is(managed: Managed, revision: int) -> bool:
    return (await managed.status())["snapshot"]["revision"] == revision
