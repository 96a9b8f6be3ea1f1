"""A control plane, three proxies that never hear of it, and a release that is bad."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

import httpx2
import pytest
from harness.beside import in_thread
from typer.testing import CliRunner

from shedproxy.cli.main import app
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

HOSTS = {"edge-1": "zone-a", "edge-2": "zone-a", "edge-3": "zone-b"}
SNAPSHOT = """\
[snapshot]
source = "file://{store}/hosts/{{instance}}"
keys = "fleet.pub"
folder = "kept-{name}"
period = "100ms"
instance = "{name}"
"""
GOOD = 'log.access = "off"\n[cell.default]\nupstream = "{url}"\n'
BAD = GOOD + '[[rule]]\nname = "typo"\nmatch.path = "/**"\nlimit = 0\n'


class Plane:
    """`shedproxy control run`, and its API."""

    def __init__(self, folder) -> None:
        self.folder = folder
        file = folder / "control.toml"
        file.write_text('period = "100ms"\n' + file.read_text().replace(":9800", ":0"))
        self.log = (folder / "control.log").open("w")
        self._command = [sys.executable, "-m", "shedproxy", "control", "run", str(file)]
        (token,) = folder.glob("*.token")
        self._headers = {"authorization": f"Bearer {token.read_text().strip()}"}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stderr=self.log, cwd=self.folder
        )

    def events(self, name: str) -> list[dict]:
        lines = (self.folder / "control.log").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    @property
    def url(self) -> str:
        return f"http://{self.events('started')[-1]['listening']}"

    async def ask(self, method: str, path: str, **options) -> dict:
        async with httpx2.AsyncClient(headers=self._headers, timeout=20, trust_env=False) as http:
            answer = await http.request(method, f"{self.url}{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self) -> dict:
        return await self.ask("GET", "/v1/status")

    async def runs(self) -> set[str]:
        """The releases that hosts run; "" for one that is not heard of."""
        with contextlib.suppress(IndexError, httpx2.ConnectError, AssertionError):
            return {host["runs"] for host in (await self.status())["hosts"]}
        return set()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.log.close()
        return self.process.wait(20)


async def ask_in_turns(address: str, statuses: list[int], connect) -> None:
    """One client, some fifty requests in a second."""
    connection = await connect(address)
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            statuses.append((await connection.get())[0])
            if connection.must_close:
                connection.close()
                connection = await connect(address)
            await asyncio.sleep(0.02)
    connection.close()


@pytest.fixture
async def plane(service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge.toml").write_text(GOOD.format(url=service.url))
    hosts = [part for name, zone in HOSTS.items() for part in ("--host", f"{name}=eu@{zone}")]
    store = f"file://{tmp_path}/fleet"
    command = ["control", "init", "edge.toml", "--store", store, *hosts]
    done = await in_thread(lambda: CliRunner().invoke(app, command))
    assert done.exit_code == 0, done.output
    plane = Plane(tmp_path)
    yield plane
    assert await in_thread(plane.end) == 0


async def test_a_bad_release_hurts_one_instance_and_goes_back_by_itself(
    plane, start, service, connect, tmp_path
):
    for name in HOSTS:
        text = SNAPSHOT.format(store=tmp_path / "fleet", name=name)
        (tmp_path / f"{name}.toml").write_text(text)
    proxies = await asyncio.gather(
        *(in_thread(lambda name=name: start("run", "--config", f"{name}.toml")) for name in HOSTS)
    )
    statuses: dict[str, list[int]] = {name: [] for name in HOSTS}
    clients = []
    for name, proxy in zip(HOSTS, proxies, strict=True):
        address = await in_thread(lambda proxy=proxy: proxy.address)
        clients.append(asyncio.create_task(ask_in_turns(address, statuses[name], connect)))
    base = (await eventually_status(plane))["base"]
    await eventually_async(lambda: runs_only(plane, base))
    settings = {"texts": {"": BAD.format(url=service.url)}}
    bad = (await plane.ask("POST", "/v1/publish", json=settings))["digest"]
    order = {"digest": bad, "first": "edge-1", "bake": "20s", "why": "to see it go"}
    await plane.ask("POST", "/v1/promote", json=order)
    await eventually_async(lambda: 503 in statuses["edge-1"])

    async def is_over() -> bool:
        return (await plane.status())["promotion"] is None

    await eventually_async(is_over, within_s=60)
    await eventually_async(lambda: statuses["edge-1"][-5:] == [200] * 5)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients)
    assert set(statuses["edge-2"]) == set(statuses["edge-3"]) == {200}
    fleet = await plane.status()
    assert (fleet["base"], fleet["refused"]) == (base, [bad])
    entries = (await plane.ask("GET", "/v1/audit"))["entries"]
    (alarm,) = (entry for entry in entries if entry["verb"] == "alarm")
    assert alarm["facts"]["cause"].startswith("refusals: ")
    assert (alarm["facts"]["scope"], alarm["facts"]["hosts"]) == ("instance", 1)
    hurt = statuses["edge-1"].count(503)
    print(f"refused {hurt} of {sum(map(len, statuses.values()))} requests, all at one of three")


async def eventually_status(plane: Plane) -> dict:
    """The status, as soon as there is one."""
    await eventually_async(lambda: bool(plane.events("started")))
    await eventually_async(lambda: has_looked(plane))
    return await plane.status()


async def has_looked(plane: Plane) -> bool:
    return bool(await plane.runs())


async def runs_only(plane: Plane, digest: str) -> bool:
    return await plane.runs() == {digest}
