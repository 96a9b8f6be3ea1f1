"""What one cell has no room for is served by another's upstreams, whose own is not hurt by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from harness.wire_bench import QUICK, Client, Proxy, Upstream, answering_after

from shedproxy.clock import monotonic_now
from shedproxy.core import (
    NS_PER_S,
    WATCH_NS,
    CellPolicy,
    Criticality,
    Instant,
    LimitPolicy,
    Policy,
    QueuePolicy,
    RejectReason,
    RetryPolicy,
    SpillBar,
    SpillPolicy,
    explain_refusal,
    seconds,
)
from shedproxy.observability.metric import SpillSide
from shedproxy.snapshot import (
    Classification,
    Document,
    Match,
    ProxyDocument,
    Rule,
    UpstreamDocument,
)
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOW = b"GET /a/low HTTP/1.1\r\nHost: e\r\nshedproxy-spilled-from: x\r\n\r\n"
HIGH = b"GET /a/high HTTP/1.1\r\nHost: e\r\n\r\n"
UPLOAD = b"POST /a/low HTTP/1.1\r\nHost: e\r\nContent-Length: 4\r\n\r\n"
OWN = b"GET /b HTTP/1.1\r\nHost: e\r\n\r\n"
SERVICE_S = 0.02
LIMIT = 12
PATIENT = replace(
    QUICK, response_ns=seconds(60), client_head_ns=seconds(60), client_body_ns=seconds(60)
)
"""The clock is put forward by seconds while requests are under way."""


def cell(name: str, limit: int, **more) -> CellPolicy:
    fixed = LimitPolicy(algorithm="fixed", initial=limit, minimum=limit, maximum=limit)
    return CellPolicy(name=name, limit=fixed, queue=QueuePolicy(length_max=0), **more)


def document_for(a: Upstream, b: Upstream) -> Document:
    """Cell a has one slot and may send what is sheddable to b, which has twelve."""
    spill = SpillPolicy(to=("b",), classes=(Criticality.SHEDDABLE,))

    def upstream(name: str, url: str) -> UpstreamDocument:
        return UpstreamDocument(cell=name, urls=(url,), retries=RetryPolicy(floor_rps=100))

    def rule(path: str, name: str, criticality: Criticality) -> Rule:
        return Rule(match=Match(path=(path,)), cell=name, criticality=criticality)

    return Document(
        policy=Policy(cells=(cell("a", 1, spill=spill), cell("b", LIMIT))),
        classification=Classification(
            rules=(
                rule("/a/low", "a", Criticality.SHEDDABLE),
                rule("/a/high", "a", Criticality.CRITICAL),
                rule("/b", "b", Criticality.CRITICAL),
            )
        ),
        proxy=ProxyDocument(
            upstreams=(upstream("a", a.url), upstream("b", b.url)),
            timeouts=PATIENT,
            access_log="all",
        ),
    )


class Bench:
    """Two upstreams that answer when they may, and the proxy; its clock can be put forward."""

    def __init__(self) -> None:
        self.ahead_ns = 0
        self.go = asyncio.Event()

    async def start(self) -> Bench:
        self.a = await Upstream(answering_after(self.go, OK)).start()
        self.b = await Upstream(answering_after(self.go, OK)).start()
        self.proxy = await Proxy(document_for(self.a, self.b), clock=self.clock).start()
        self.watch()
        return self

    def clock(self) -> Instant:
        return Instant(monotonic_now() + self.ahead_ns)

    def watch(self) -> None:
        """Let so much time pass that a cell knows its peak."""
        for _ in range(2 * WATCH_NS // NS_PER_S + 2):
            self.ahead_ns += NS_PER_S // 2
            self.proxy.driver.tick()

    async def ask(self, data: bytes) -> Client:
        """A client that has asked, and has no answer yet."""
        client = await self.proxy.connect()
        client.send(data)
        return client

    async def fill(self) -> Client:
        """Somebody has the slot of cell a."""
        client = await self.ask(HIGH)
        await eventually_async(lambda: len(self.a.heads) == 1)
        return client

    async def statuses(self, *clients: Client) -> list[int]:
        self.go.set()
        return [(await client.answer()).status for client in clients]

    def cell(self, name: str):
        cells = self.proxy.driver.shedder.stats().cells
        return next(found for found in cells if found.name == name)

    def spilled(self) -> tuple[int, int]:
        """As published: sent by a, and taken by b."""
        driver = self.proxy.driver
        driver.publish_gauges()
        return (
            driver.meter.spilled(driver.cell_index("a"), SpillSide.SENT),
            driver.meter.spilled(driver.cell_index("b"), SpillSide.TAKEN),
        )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = await Bench().start()
    yield made
    await made.proxy.aclose()
    for upstream in (made.a, made.b):
        await upstream.aclose()


async def test_a_class_that_may_is_served_by_the_other_cell_and_says_where_it_is_from(bench):
    first = await bench.fill()
    guest = await bench.ask(LOW)
    await eventually_async(lambda: len(bench.b.heads) == 1)
    assert b"shedproxy-spilled-from: a\r\n" in bench.b.heads[0]
    assert b"shedproxy-spilled-from: x" not in bench.b.heads[0], "nobody else may say so"
    refused = await bench.ask(HIGH)
    assert (await refused.answer()).field("shedproxy-reason") == "queue_full"
    assert (bench.cell("a").in_flight, bench.cell("b").guests) == (1, 1)
    assert await bench.statuses(first, guest) == [200, 200]
    own = await bench.ask(OWN)
    assert await bench.statuses(own) == [200]
    assert b"spilled-from" not in bench.b.heads[1]
    assert bench.spilled() == (1, 1)
    lines = [line for line in bench.proxy.server.log.flush() if "/a/low" in line]
    assert len(lines) == 1
    assert '"cell": "b"' in lines[0]
    assert '"spilled_from": "a"' in lines[0]
    await bench.proxy.idle()
    assert [bench.proxy.server.live.group_of(name).clients for name in "ab"] == [0, 0]


async def test_half_of_the_limit_is_lent_and_then_no_more_and_the_refusal_says_why(bench):
    first = await bench.fill()
    guests = [await bench.ask(LOW) for _ in range(LIMIT // 2)]
    await eventually_async(lambda: len(bench.b.heads) == LIMIT // 2)
    refused = await bench.ask(LOW)
    answer = await refused.answer()
    assert (answer.status, answer.field("shedproxy-reason")) == (503, "queue_full")
    record = bench.proxy.driver.ring.recent(1)[0]
    assert (record.reason, record.spill_bar) == (RejectReason.QUEUE_FULL, SpillBar.NO_ROOM)
    told = explain_refusal(record.to_rejected("a"))
    assert told.endswith("no other cell took it: half of the limit there is taken, or was lately"
                         " by its own")  # fmt: skip
    own = [await bench.ask(OWN) for _ in range(LIMIT // 2)]
    assert await bench.statuses(first, *guests, *own) == [200] * (LIMIT + 1)
    await bench.proxy.idle()


async def test_a_cell_at_its_capacity_takes_nobody(bench):
    first = await bench.fill()
    own = [await bench.ask(OWN) for _ in range(LIMIT)]
    await eventually_async(lambda: len(bench.b.heads) == LIMIT)
    refused = await bench.ask(LOW)
    assert (await refused.answer()).status == 503
    assert bench.proxy.driver.ring.recent(1)[0].spill_bar == SpillBar.NO_ROOM
    assert await bench.statuses(first, *own) == [200] * (LIMIT + 1)
    assert bench.cell("b").taken_count == 0
    await bench.proxy.idle()


async def test_a_request_with_a_body_to_come_is_not_refused_on_its_head(bench):
    first = await bench.fill()
    upload = await bench.ask(UPLOAD)
    await asyncio.sleep(0)
    upload.send(b"body")
    await eventually_async(lambda: len(bench.b.heads) == 1)
    assert bench.b.heads[0].startswith(b"POST /a/low")
    bench.go.set()
    assert await bench.statuses(first) == [200]
    await bench.proxy.idle()


async def test_nothing_goes_to_a_cell_whose_upstreams_are_gone(bench):
    first = await bench.fill()
    bench.proxy.driver.set_healthy_weight("b", 0)
    refused = await bench.ask(LOW)
    assert (await refused.answer()).field("shedproxy-reason") == "queue_full"
    bench.proxy.driver.set_healthy_weight("b", 1)
    guest = await bench.ask(LOW)
    assert await bench.statuses(first, guest) == [200, 200]
    await bench.proxy.idle()


async def test_a_guest_has_no_retry_from_what_others_saved(bench):
    async def closing(talk) -> None:
        await talk.head()

    first = await bench.fill()
    bench.b.handler = closing
    guest = await bench.ask(LOW)
    assert (await guest.answer()).status == 502
    assert len(bench.b.heads) == 1
    assert await bench.statuses(first) == [200]
    await bench.proxy.idle()


async def test_one_at_many_times_its_capacity_leaves_the_others_own_alone(bench):
    """A flood of a while b serves its own: each of those has its slot at once, or it would be
    refused, because nobody may wait here; and b's upstream never has more than half of the limit.
    """
    now = most = 0

    async def working(talk) -> None:
        nonlocal now, most
        while True:
            await talk.head()
            now += 1
            most = max(most, now)
            await asyncio.sleep(SERVICE_S)
            now -= 1
            talk.send(OK)

    bench.a.handler = bench.b.handler = working
    until = asyncio.Event()

    async def own() -> None:
        """One request after the other, until others have had enough of it."""
        client = await bench.proxy.connect()
        while not until.is_set():
            assert (await client.ask(OWN)).status == 200

    async def flood() -> list[int]:
        client = await bench.proxy.connect()
        statuses = []
        while not until.is_set():
            statuses.append((await client.ask(LOW)).status)
            if statuses[-1] != 200:
                await asyncio.sleep(SERVICE_S)
        return statuses

    owns = [asyncio.ensure_future(own()) for _ in range(2)]
    await eventually_async(lambda: len(bench.b.heads) > 10)
    now_at_a = len(bench.a.heads)
    floods = [asyncio.ensure_future(flood()) for _ in range(10)]
    await eventually_async(lambda: bench.cell("b").taken_count > 60, what="guests of b")
    until.set()
    await asyncio.gather(*owns)
    statuses = sum(await asyncio.gather(*floods), [])
    assert 503 in statuses
    assert statuses.count(200) > 1.5 * (len(bench.a.heads) - now_at_a), "most was b's to serve"
    assert most <= LIMIT // 2 + 1, "of both cells: half of what b has, and the slot of a"
    await bench.proxy.idle()


async def test_a_guest_goes_to_a_host_that_came_with_a_reload_after_its_head(bench):
    document = bench.proxy.document
    (own, _), (a, _) = document.policy.cells, document.proxy.upstreams
    policy = replace(document.policy, cells=(replace(own, spill=SpillPolicy()),))
    proxy = replace(document.proxy, upstreams=(a,))
    bench.proxy.server.apply(replace(document, policy=policy, proxy=proxy))
    upload = await bench.ask(UPLOAD)
    first = await bench.fill()
    bench.proxy.server.apply(document)
    bench.watch()
    upload.send(b"body")
    await eventually_async(lambda: bench.cell("b").guests == 1)
    assert await bench.statuses(first, upload) == [200, 200]
    assert len(bench.b.heads) == 1
    await bench.proxy.idle()


async def test_a_guest_whose_host_is_removed_gives_back_its_place_at_home(bench):
    document = bench.proxy.document
    (own, _), (a, b) = document.policy.cells, document.proxy.upstreams
    proxy = replace(document.proxy, upstreams=(a, replace(b, connections_max=1)))
    bench.proxy.server.apply(replace(document, proxy=proxy))
    first = await bench.fill()
    served, in_line = [await bench.ask(LOW) for _ in range(2)]
    await eventually_async(lambda: bench.cell("b").guests == 2)
    policy = replace(document.policy, cells=(replace(own, spill=SpillPolicy()),))
    bench.proxy.server.apply(replace(document, policy=policy, proxy=replace(proxy, upstreams=(a,))))
    assert (await in_line.answer()).field("shedproxy-reason") == "no_upstream"
    assert await bench.statuses(first, served) == [200, 200]
    await bench.proxy.idle()
    assert bench.proxy.server.live.group_of("a").clients == 0


async def test_a_reload_that_ends_it_lets_guests_end_in_order(bench):
    first = await bench.fill()
    guest = await bench.ask(LOW)
    await eventually_async(lambda: len(bench.b.heads) == 1)
    document = bench.proxy.document
    a, b = document.policy.cells
    policy = replace(document.policy, cells=(replace(a, spill=SpillPolicy()), b))
    bench.proxy.server.apply(replace(document, policy=policy))
    refused = await bench.ask(LOW)
    assert (await refused.answer()).status == 503
    assert await bench.statuses(first, guest) == [200, 200]
    await bench.proxy.idle()
