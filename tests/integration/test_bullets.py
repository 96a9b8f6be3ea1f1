"""Bad hosts behind a real proxy: out for all workers, and remembered by whoever comes next."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from harness.beside import entered
from harness.proxy import Shedproxy
from harness.wire_bench import Conversation, Upstream

from shedproxy.testing import eventually, eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CONFIG = """
[server]
workers = 2
state_file = "state"
[cell.default.outliers]
out = "3s"
ramp = "1s"
bake = "1s"
bake_requests = 10
reload = "1s"
[cell.default.retries]
budget = 1.0
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


class Hosts:
    """Four services, of which some answer with an error at once."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.services: list[Upstream] = []

    async def __aenter__(self) -> Hosts:
        for number in range(4):
            self.services.append(await Upstream(self.handler(number)).start())
        return self

    async def __aexit__(self, *_: object) -> None:
        for service in self.services:
            await service.aclose()

    def handler(self, number: int):
        async def serve(conversation: Conversation) -> None:
            while True:
                await conversation.head()
                await asyncio.sleep(0.002)
                conversation.send(BROKEN if number in self.bad else OK)

        return serve

    @property
    def urls(self) -> list[str]:
        return [service.url for service in self.services]


class Crowd:
    """Clients that ask all the time."""

    def __init__(self, port: int, count: int = 12) -> None:
        self.statuses: list[int] = []
        self._tasks = [asyncio.create_task(self._ask(port)) for _ in range(count)]

    async def _ask(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                writer.write(b"GET / HTTP/1.1\r\nhost: e\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(size)
                self.statuses.append(int(head[9:12]))
                # So few that four hosts have room to lose one, however busy this machine is.
                await asyncio.sleep(0.04)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def hosts_of(proxy: Shedproxy) -> dict:
    return json.loads((await asyncio.to_thread(proxy.control, "GET", "/-/upstreams"))[1])


async def magazines_of(proxy: Shedproxy) -> list[dict]:
    return (await hosts_of(proxy))["magazines"]


async def state_of(proxy: Shedproxy, url: str) -> str:
    hosts = (await hosts_of(proxy))["hosts"]
    return next(host["state"] for host in hosts if host["host"] == url)


async def test_a_bad_host_is_out_and_known_after_a_kill_and_pays_when_it_is_well(tmp_path: Path):
    config = CONFIG.replace('"state"', f'"{tmp_path}/state"')
    async with Hosts() as hosts:
        bad = hosts.urls[2]
        async with entered(Shedproxy(*hosts.urls, home=tmp_path, config=config)) as proxy:
            crowd = Crowd(proxy.port)
            await eventually_async(lambda: len(crowd.statuses) > 300)
            hosts.bad = {2}
            before = len(crowd.statuses)

            async def is_out() -> bool:
                return await state_of(proxy, bad) == "out"

            await eventually_async(is_out, within_s=60)
            # It failed fast, and drew no traffic by that.
            seen = crowd.statuses[before:]
            assert 0 < seen.count(500) < len(seen) / 10
            os.kill(proxy.pid, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: proxy.returncode is not None)
            await crowd.leave()
        async with entered(Shedproxy(*hosts.urls, home=tmp_path, config=config)) as successor:
            await eventually_async(lambda: knows(successor, bad))
            hosts.bad = set()
            crowd = Crowd(successor.port)

            async def is_paid() -> bool:
                return not (await hosts_of(successor))["bullets"]

            await eventually_async(is_paid, within_s=60)
            spent = [(row["spent"], row["reloaded"]) for row in await magazines_of(successor)]
            assert spent == [(1, 1)] * 2
            assert set(crowd.statuses) == {200}
            await crowd.leave()
            events = [successor.events(name) for name in ("host out", "host back", "bullet back")]
            assert [len(found) for found in events] == [0, 1, 1]


async def knows(proxy: Shedproxy, url: str) -> bool:
    (bullet,) = (await hosts_of(proxy))["bullets"]
    assert (bullet["serial"], bullet["host"]) == (1, url)
    return await state_of(proxy, url) == "out"


async def test_a_zone_that_goes_takes_no_request_with_it(tmp_path: Path):
    """Half of the hosts close all they have and take nothing more; nobody sees that."""
    config = CONFIG.replace('"state"', f'"{tmp_path}/state"')
    async with Hosts() as hosts:
        zoned = [f"{url} zone={'pq'[n % 2]}" for n, url in enumerate(hosts.urls)]
        config += f"[cell.default]\nupstream = {json.dumps(zoned)}\n"
        async with entered(Shedproxy(home=tmp_path, config=config)) as proxy:
            crowd = Crowd(proxy.port)
            await eventually_async(lambda: len(crowd.statuses) > 500)
            for service in hosts.services[::2]:
                await service.aclose()
            begin = len(crowd.statuses)
            await eventually_async(lambda: len(crowd.statuses) > begin + 500, within_s=60)
            assert set(crowd.statuses) == {200}
            assert [row["out"] for row in await magazines_of(proxy)] == [0] * 4
            await crowd.leave()
