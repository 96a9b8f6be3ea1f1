"""Clients that ask and leave (A12): every slot comes back, and nobody else pays."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

LIMIT = 8
GET = b"GET /wait/%b HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n"

PHASES = {
    "connected": b"",
    "in the head": b"GET /wait/1 HTTP/1.1\r\nHos",
    "in the body": POST + b"x" * 1000,
    "in the body with a slot": POST + b"x" * 100_000,
    "waiting or in flight": GET % b"0.4",
    "with more sent ahead": GET % b"0.4" + GET % b"0.4",
}


@pytest.mark.attack("A12")
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("cancels", ["true", "false"])
async def test_no_slot_is_lost_to_clients_that_leave(ring, phase, cancels):
    """Twenty times as many as there are slots; then all slots are there, and can be had at once."""
    mirror = await ring.mirror()
    front = await ring.front(mirror.url, limit=LIMIT, upstream={"cancels": cancels})
    for _ in range(5):
        clients = [await front.connect() for _ in range(4 * LIMIT)]
        for client in clients:
            client.writer.write(PHASES[phase])
        await asyncio.sleep(0.02)
        for client in clients:
            client.reset()

    def is_idle() -> bool:
        cell = front.cell
        return not (cell.in_flight or cell.queue_length or front.server.clients)

    await eventually_async(is_idle, what="every slot being back")
    clients = [await front.connect() for _ in range(LIMIT)]
    for client in clients:
        client.writer.write(GET % b"0.2")
    await eventually_async(lambda: front.cell.in_flight == LIMIT, what="all slots in use")
    assert {(await client.answer()).status for client in clients} == {200}


@pytest.mark.attack("A12")
async def test_probing_connections_cost_nothing_that_lasts(ring):
    """Connect and drop, a thousand times."""
    front = await ring.front((await ring.mirror()).url, limit=LIMIT)
    for _ in range(1000):
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.transport.abort()
    await eventually_async(lambda: not front.server.clients, what="all being gone")
    assert not front.decided
    assert (await front.get()).status == 200
