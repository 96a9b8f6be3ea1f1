"""Python's clients before a FastAPI application under uvicorn: requests, streams, WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import httpx2
import pytest
import websockets
from harness.peers import uvicorn
from harness.proxy import Shedproxy
from websockets.asyncio.client import connect

from shedproxy.testing import eventually, eventually_async

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def proxy(tmp_path_factory) -> Iterator[Shedproxy]:
    home = tmp_path_factory.mktemp("clients")
    with uvicorn(home) as service, Shedproxy(service.url, home=home) as running:
        yield running


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.anyio
async def test_async_clients_work_through_it(proxy: Shedproxy, library) -> None:
    """Requests of every form, many at once over one pool."""
    async with library.AsyncClient(base_url=proxy.url, timeout=20) as client:
        answers = await asyncio.gather(*(client.get(f"/api/items?n={n}") for n in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await client.get("/nothing")).status_code == 204
        assert (await client.get("/redirect")).headers["location"] == "/api/items"
        assert (await client.get("/chunks")).text == "".join(f"part {n}\n" for n in range(5))
        large = await client.get("/large-headers")
        assert sum(name.startswith("x-large-") for name in large.headers) == 40

        async def parts():
            for _ in range(50):
                yield b"y" * 20_000

        said = (await client.put("/echo?q=1", content=parts())).json()
        assert (said["size"], said["query"], said["method"]) == (1_000_000, "q=1", "PUT")


@pytest.mark.anyio
async def test_the_service_learns_who_asked(proxy: Shedproxy) -> None:
    """Forwarded fields are set, hop-by-hop fields are gone, Host is the client's."""
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        sent = {"x-own": "kept", "connection": "x-hop", "x-hop": "gone", "te": "trailers"}
        headers = (await client.post("/echo", headers=sent)).json()["headers"]
    assert headers["x-own"] == "kept"
    assert "x-hop" not in headers
    assert headers["host"] == f"127.0.0.1:{proxy.port}"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.anyio
async def test_events_arrive_as_they_are_sent(proxy: Shedproxy, library) -> None:
    """A stream is passed on piece by piece, as a resident, and ends when its client leaves."""
    async with library.AsyncClient(base_url=proxy.url, timeout=20) as client:
        async with client.stream("GET", "/events?count=4") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            seen = [await anext(lines)]
            await eventually_async(lambda: proxy.cell()["residents"] == 1, what="a resident")
            assert proxy.cell()["in_flight"] == 0, "a stream holds no slot of the limit"
            while len(seen) < 12:
                seen.append(await anext(lines))
    assert [line for line in seen if line.startswith("data")] == [
        f"data: event {n}" for n in range(4)
    ]
    await eventually_async(lambda: proxy.cell()["residents"] == 0, what="the stream's end")


@pytest.mark.anyio
async def test_websockets_pass_both_ways(proxy: Shedproxy) -> None:
    """Text, binary, large, fragmented, ping, subprotocol, close code."""
    async with connect(
        f"ws://127.0.0.1:{proxy.port}/ws", subprotocols=["chat"], max_size=None
    ) as socket:
        assert socket.subprotocol == "chat"
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await eventually_async(lambda: proxy.cell()["residents"] == 1, what="a resident")
        large = bytes(range(256)) * 8192
        await socket.send(large)
        assert await socket.recv() == large
        await socket.send(["in ", "three ", "parts"])
        assert await socket.recv() == "in three parts"
        await asyncio.wait_for(await socket.ping(), 5)
    assert socket.close_code == 1000
    await eventually_async(lambda: proxy.cell()["residents"] == 0, what="the tunnel's end")


@pytest.mark.anyio
async def test_a_websocket_that_the_service_refuses_is_refused(proxy: Shedproxy) -> None:
    """Whatever it answers instead of 101 reaches the client, and the permit comes back."""
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await connect(f"ws://127.0.0.1:{proxy.port}/no-socket-here")
    assert refusal.value.response.status_code in {403, 404}
    await eventually_async(proxy.is_idle, what="an idle proxy")


def test_refusals_are_readable_and_can_be_looked_up(tmp_path) -> None:
    """A client gets problem+json with an id, and the id leads to the numbers."""
    config = '[[rule]]\nname = "closed"\nlimit = 0\nmatch = { path = "/closed/**" }\n'
    with (
        uvicorn(tmp_path) as service,
        Shedproxy(service.url, home=tmp_path, config=config) as proxy,
    ):
        with httpx2.Client(base_url=proxy.url) as client:
            refused = client.post("/closed/shop", content=b"z" * 100_000)
            assert refused.status_code == 503
            assert refused.headers["shedproxy-reason"] == "route_limit"
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["status"] == 503
            assert client.get("/api/items").status_code == 200
        code, body = proxy.control("GET", f"/-/explain?id={refused.headers['shedproxy-id']}")
        assert code == 200
        found = json.loads(body)["refusal"]
        assert (found["reason"], found["route"], found["holds"]) == ("route_limit", "closed", True)
        eventually(proxy.is_idle, what="an idle proxy")
