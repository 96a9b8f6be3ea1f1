"""Hands and zones on real connections: poison stays in its hand, a lost zone costs nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shedproxy.core import HandDealer, RetryPolicy
from shedproxy.snapshot import (
    CellRouting,
    Classification,
    canonical_key,
    flow_hash,
    flow_key,
    member_hash,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "for this test"
TENANTS = {
    "classification": Classification(
        tenant_header="x-tenant",
        trusted_peers=("127.0.0.0/8",),
        cells=CellRouting(secret=SECRET),
    )
}


def get(tenant: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: e\r\nX-Tenant: {tenant}\r\n\r\n".encode()


async def fragile(conversation) -> None:
    """A process that poison ends: from then on it takes connections and answers nobody."""
    while True:
        head = await conversation.head()
        if b"poison" in head:
            conversation.upstream.is_dead = True
        if getattr(conversation.upstream, "is_dead", False):
            return
        conversation.send(OK)


async def test_poison_takes_down_its_own_hand_and_no_other(bench) -> None:
    """12 upstreams, hands of 3, no ejection: who shares less than the hand loses nothing.

    Hands are dealt by the upstreams' names, and ports are the kernel's: now and then several of
    thirty tenants have the very hand of the poison.
    """
    upstreams = [await bench.upstream(fragile) for _ in range(12)]
    members = [(member_hash(upstream.url), "", "") for upstream in upstreams]
    dealer, hashed = HandDealer(members, hand_size=3), flow_hash(flow_key(SECRET))

    def hand_of(tenant: str) -> set[str]:
        places = dealer.deal(hashed(canonical_key("header", tenant.encode())))
        return {upstreams[place].url for place in places}

    proxy = await bench.proxy(
        *(upstream.url for upstream in upstreams),
        upstream={
            "hand": 3,
            "fail_after": 1000,
            "retries": RetryPolicy(attempts_max=3, floor_rps=1000),
        },
        document=TENANTS,
    )
    client = await proxy.connect()
    for _ in range(20):
        await client.ask(get("poison"))
    dead = {upstream.url for upstream in upstreams if getattr(upstream, "is_dead", False)}
    assert dead == hand_of("poison")
    assert len(dead) == 3
    before = [len(upstream.heads) for upstream in upstreams]
    spared = 0
    for tenant in range(30):
        name = f"tenant-{tenant}"
        answers = [(await client.ask(get(name))).status for _ in range(6)]
        used = {u.url for u, count in zip(upstreams, before, strict=True) if len(u.heads) > count}
        before = [len(upstream.heads) for upstream in upstreams]
        # Who failed in the last second is wanted least: not all of a hand need be asked.
        assert used
        assert used <= hand_of(name)
        if hand_of(name) != dead:
            assert answers == [200] * 6
            spared += 1
    assert spared
    await proxy.idle()


async def test_a_lost_zone_costs_no_request_beyond_its_first_retry(bench, answering) -> None:
    upstreams = [await bench.upstream(answering(OK)) for _ in range(6)]
    zones = ("a", "a", "b", "b", "c", "c")
    proxy = await bench.proxy(
        *(upstream.url for upstream in upstreams),
        upstream={"zones": zones, "retries": RetryPolicy(attempts_max=2)},
        proxy={"zone": "a"},
    )
    client = await proxy.connect()
    for _ in range(20):
        assert (await client.ask(get("t"))).status == 200
    assert [bool(upstream.heads) for upstream in upstreams] == [True, True, *[False] * 4]
    for upstream in upstreams[:2]:
        await upstream.aclose()
    for _ in range(50):
        assert (await client.ask(get("t"))).status == 200
    assert all(upstream.heads for upstream in upstreams[2:])
    await proxy.idle()


async def test_a_zone_that_is_weighed_away_gets_nothing_until_it_is_back(bench, answering) -> None:
    upstreams = [await bench.upstream(answering(OK)) for _ in range(2)]
    proxy = await bench.proxy(
        *(upstream.url for upstream in upstreams),
        upstream={"zones": ("a", "b")},
        proxy={"zone": "a"},
    )
    document = proxy.document
    client = await proxy.connect()

    async def ask(away: tuple[str, ...]) -> list[int]:
        proxy.server.apply(replace(document, proxy=replace(document.proxy, zones_away=away)))
        before = [len(upstream.heads) for upstream in upstreams]
        for _ in range(10):
            assert (await client.ask(get("t"))).status == 200
        return [len(u.heads) - count for u, count in zip(upstreams, before, strict=True)]

    assert await ask(()) == [10, 0]
    assert await ask(("a",)) == [0, 10]
    assert await ask(()) == [10, 0]
    await upstreams[1].aclose()
    await asyncio.sleep(0)
    assert await ask(("a",)) == [10, 0]  # away or not: there is no other
    await proxy.idle()
