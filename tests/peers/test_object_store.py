"""Snapshots and fleets in a store that speaks S3: moto, as a server of its own, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys

import pytest
from harness.control_plane import PaperFleet, settings
from harness.process import Listening
from typer.testing import CliRunner

from shedproxy.cli.main import app
from shedproxy.controlplane.fleet import Cell, Fleet
from shedproxy.controlplane.ledger import Act, Ledger
from shedproxy.core import milliseconds, seconds
from shedproxy.store import PlaceFailedError, open_place, open_store
from shedproxy.testing import eventually_async, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.peers("moto")]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with Listening("moto", command, port=port, home=tmp_path_factory.mktemp("moto")) as server:
        environ = {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            import boto3

            boto3.client("s3").create_bucket(Bucket="fleet")
            yield "s3://fleet/edge"


async def test_objects_are_put_got_and_listed(bucket):
    store = open_store(bucket, timeout=seconds(10))
    await store.put("revisions/1", b"one")
    await store.put("revisions/2", bytes(3_000_000))
    assert await store.get("revisions/1", 10) == b"one"
    assert len(await store.get("revisions/2", 1000)) == 1001
    assert await store.names("revisions") == ["revisions/1", "revisions/2"]
    await store.delete("revisions/2")
    assert await store.names() == ["revisions/1"]
    with pytest.raises(FileNotFoundError):
        await store.get("revisions/2", 10)


async def test_put_if_absent_is_won_once(bucket):
    store = open_store(bucket, timeout=seconds(10))
    assert await store.create("lock", b"first")
    assert not await store.create("lock", b"second")
    assert await store.get("lock", 10) == b"first"


async def test_a_snapshot_is_fetched_and_a_report_left(bucket):
    place = open_place(f"{bucket}/current", timeout=seconds(10))
    with pytest.raises(PlaceFailedError, match=r"edge/current"):
        await place.read(100)
    await place.write(b"snapshot")
    assert await place.read(100) == b"snapshot"


def act(number: int) -> Act:
    return Act(id=f"id-{number}", at_s=float(number), who="ann", verb="promote")


async def test_a_ledger_is_there_as_in_a_folder(bucket):
    store = open_store(f"{bucket}/ledger", timeout=seconds(10))
    ledger = Ledger(store, page=4)
    head = None
    for number in range(1, 12):
        head = await ledger.append(head, act(number), Fleet(cells=(Cell(name=f"c{number}"),)))
        assert head is not None
    assert await Ledger(store).head() == head
    tries = [ledger.append(head, act(each), head.fleet) for each in (98, 99)]
    made = await asyncio.gather(*tries)
    assert sum(each is not None for each in made) == 1, "one of two makes the next revision"
    await ledger.compact(head)
    assert await store.names("audit") == ["audit/000000000000"]
    assert [entry.revision for entry in await ledger.entries()] == list(range(1, 13))


async def test_a_fleet_is_kept_there_and_releases_go_out_and_back(bucket, tmp_path):
    fleet = PaperFleet(tmp_path, url=f"{bucket}/fleet")
    await fleet.begin()

    async def until_over() -> None:
        for _ in range(40):
            await fleet.period()
            if fleet.service.head.fleet.book.rollout is None:
                return
        raise AssertionError(await fleet.verbs())

    good = await fleet.publish(8)
    await fleet.order("promote", digest=good, bake="1s", requests=1, miss=1)
    await until_over()
    assert fleet.service.head.fleet.book.base == good
    bad = await fleet.publish(9)
    await fleet.order("promote", digest=bad)
    await fleet.period()
    fleet.bad[await fleet.pulled("p1")] = 50
    fleet.service = fleet.another()  # whoever follows goes on where the store says it stood
    await until_over()
    assert fleet.service.head.fleet.book.refused == (bad,)
    assert set(fleet.service.head.fleet.wanted().values()) == {good}
    verbs = await fleet.verbs()
    assert verbs[verbs.index("alarm") :] == ["alarm", "move", "rolled back"]


async def test_a_store_that_is_gone_or_silent_is_a_failure_in_time(bucket, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], free_port()):
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            place = open_place(f"{bucket}/current", timeout=milliseconds(300))
            began = asyncio.get_running_loop().time()
            said = set()
            for _ in range(2):
                with pytest.raises(PlaceFailedError) as caught:
                    await place.read(100)
                said.add(str(caught.value))
            assert len(said) == 1, "the same words, so that it is logged once"
            assert asyncio.get_running_loop().time() - began < 10, "the library's own is longer"


class Hosts:
    """Three that take what they are given and say so; those with what was first fail at times."""

    def __init__(self, folder, url: str) -> None:
        folder.mkdir()
        self.paper = PaperFleet(folder, url=url)
        self.first: dict[str, str] = {}

    async def run(self) -> None:
        requests, errors = 0, dict.fromkeys(HOSTS, 0)
        while True:
            self.paper.now_s += 1
            requests += 1000
            for host in HOSTS:
                now = await self.paper.pulled(host)
                errors[host] += 20 * (now == self.first.setdefault(host, now))
                self.paper._counts[host] = requests, errors[host]
                await self.paper.report(host)
            await asyncio.sleep(0.05)


HOSTS = ("p1", "p2", "q1")


def plane(folder) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "shedproxy", "control", "run", "control.toml"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)


async def test_a_control_plane_over_it_is_killed_in_a_promotion_and_goes_on(
    bucket, tmp_path, monkeypatch
):
    """All by the command line, as its users do."""
    monkeypatch.chdir(tmp_path)
    store, port = f"{bucket}/live", free_port()
    for limit in (7, 8):
        (tmp_path / f"{limit}.toml").write_text(settings(limit))

    async def control(*words: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["control", *words])
        assert done.exit_code == 0, done.output
        return done.output

    async def status() -> dict:
        return json.loads(await control("status", "--json"))

    async def is_there() -> bool:
        with contextlib.suppress(AssertionError):
            return bool(await status())
        return False

    async def is_watched() -> bool:
        entries = json.loads(await control("audit", "--all", "--json"))["entries"]
        return any(entry["verb"] == "watch" for entry in entries)

    async def is_over() -> bool:
        return (await status())["promotion"] is None

    named = [part for name in ("p1=a@p", "p2=a@p", "q1=b@q") for part in ("--host", name)]
    await control("init", "7.toml", "--store", store, "--listen", f"127.0.0.1:{port}", *named)
    (tmp_path / "control.toml").write_text(
        'period = "100ms"\n' + (tmp_path / "control.toml").read_text()
    )
    monkeypatch.setenv("SHEDPROXY_CONTROL_PLANE", f"http://127.0.0.1:{port}")
    (token,) = tmp_path.glob("*.token")
    monkeypatch.setenv("SHEDPROXY_CONTROL_PLANE_TOKEN_FILE", str(token))
    running, hosts = plane(tmp_path), asyncio.create_task(Hosts(tmp_path / "hosts", store).run())
    try:
        await eventually_async(is_there, within_s=60)
        base = (await status())["base"]
        published = json.loads(await control("publish", "8.toml", "--json"))["digest"]
        await control("promote", published, "--bake", "4s")
        await eventually_async(is_watched, within_s=60)
        running.kill()
        await asyncio.to_thread(running.wait)
        running = plane(tmp_path)
        await eventually_async(is_there, within_s=60)
        assert (await status())["promotion"]["digest"] == published
        await control("roll-back", "--why", "seen enough")
        await eventually_async(is_over, within_s=60)
        assert ((await status())["base"], (await status())["refused"]) == (base, [published])
        assert "rolled back" in await control("audit")
    finally:
        hosts.cancel()
        await asyncio.gather(hosts, return_exceptions=True)
        running.terminate()
        assert await asyncio.to_thread(running.wait, 20) == 0
