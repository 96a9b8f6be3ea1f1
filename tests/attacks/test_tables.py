"""Names that clients make up: they cost no memory and no series that lasts (A3, A17, A25)."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import tracemalloc

import pytest
from harness.process import memory_bytes
from harness.proxy import Shedproxy

from shedproxy.core import Policy
from shedproxy.dataplane.classify import Classifier
from shedproxy.dataplane.driver import Driver
from shedproxy.dataplane.recent import Recent
from shedproxy.snapshot import Classification, Document

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CONFIG = """
[server]
trusted_proxies = ["127.0.0.0/8"]
[headers]
tenant = "x-tenant"
[[rule]]
name = "closed"
match = { path = "/closed/**" }
limit = 0
"""


async def pipelined(port: int, requests: list[bytes], *, size: int = 100) -> list[bytes]:
    """The status lines of requests sent on one connection, so many ahead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    statuses = []
    try:
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            writer.write(b"".join(batch))
            for _ in batch:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                statuses.append(head.partition(b"\r\n")[0])
    finally:
        writer.close()
    return statuses


def named(number: int) -> bytes:
    return b"GET /a HTTP/1.1\r\nHost: h\r\nX-Tenant: tenant-number-%d\r\n\r\n" % number


# --- A3: tenants ----------------------------------------------------------------------------


@pytest.mark.attack("A3")
def test_a_name_that_was_never_seen_leaves_nothing_behind():
    """Measured on what decides: head to permit and back, fifty thousand names."""
    classification = Classification(tenant_header="x-tenant", trusted_peers=("10.0.0.0/8",))
    driver = Driver(Document(policy=Policy(), classification=classification))
    classifier = Classifier(classification, Policy())

    def ask(numbers: range) -> None:
        for number in numbers:
            headers = [(b"host", b"h"), (b"x-tenant", b"tenant-number-%d" % number)]
            found = classifier.classify("GET", b"/a", headers, peer="10.0.0.1", serial=number)
            permit = driver.shedder.arrive(found.info, now=number, flow_hash=found.flow_hash)
            driver.shedder.release(permit, 0, now=number + 1000)

    # From the start: the warm-up fills the bounded memories of names, later names replace those.
    tracemalloc.start()
    try:
        ask(range(10_000))
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        ask(range(10_000, 60_000))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 50_000 < 1  # byte a name
    assert driver.shedder.stats().cells[0].in_flight == 0


@pytest.mark.attack("A3")
@pytest.mark.attack("A25")
def test_everything_that_is_remembered_of_clients_has_a_bound():
    """Paths, classes, addresses: two generations of each, whatever comes."""
    classification = Classification(tenant_header="@client", trusted_peers=("10.0.0.0/8",))
    classifier = Classifier(classification)
    for number in range(5000):
        peer = f"10.{number >> 8 & 255}.{number & 255}.1"
        headers = [
            (b"x-criticality", b"class-%d" % number),
            (b"x-forwarded-for", b"172.16.%d.%d" % (number >> 8, number & 255)),
            (b"x-shedproxy-task", b"task-%d" % number),
        ]
        classifier.classify("GET", b"/path/%d" % number, headers, peer=peer, serial=number)
    memories = [found for found in gc.get_objects() if type(found) is Recent]
    assert len(memories) >= 4
    assert max(len(memory) for memory in memories) <= 1024
    assert max(len(memory._older) for memory in memories) <= 1024


@pytest.mark.attack("A3")
@pytest.mark.attack("A17")
async def test_odd_requests_leave_a_worker_and_its_metrics_as_they_were(ring, tmp_path):
    """Ten thousand tenants and a thousand odd requests, to the real processes."""
    mirror = await ring.mirror()
    proxy = Shedproxy(mirror.url, home=tmp_path, config=CONFIG)
    await asyncio.to_thread(proxy.__enter__)
    try:
        await pipelined(proxy.port, [named(number) for number in range(2000)])
        size_before = memory_bytes(proxy.worker_pid)
        series_before = await asyncio.to_thread(series, proxy)
        statuses = await pipelined(proxy.port, [named(number) for number in range(2000, 12_000)])
        grown = memory_bytes(proxy.worker_pid) - size_before
        assert set(statuses) == {b"HTTP/1.1 200 OK"}
        assert grown < 2 * 1024 * 1024
        for number in range(250):
            await odd(proxy.port, number)
        new = await asyncio.to_thread(series, proxy) - series_before
        assert len(new) < 100
        text = " ".join(new)
        assert not re.search("odd|tenant|teapot", text)
    finally:
        await asyncio.to_thread(proxy.__exit__)


async def odd(port: int, number: int) -> None:
    """Four requests that nobody sent before."""
    plain = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n"
    methods = (b"PROPFIND", b"LOCK", b"M-SEARCH", b"ODD%d" % number, b"get", b"PATCH")
    status = b"/status/%d/odd-teapot-%d" % (200 + number, number)
    for raw in (
        plain % (methods[number % 6], b"/odd/%d" % number, b"h", b""),
        plain % (b"GET", b"/closed/odd-%d" % number, b"odd-%d" % number, b""),
        plain % (b"GET", status, b"h", b"X-Tenant: odd-%d\r\n" % number),
        plain % (b"GET", b"/", b"h", b"X-Criticality: odd%d\r\nOdd-%d: 1\r\n" % (number, number)),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.transport.abort()


def series(proxy: Shedproxy) -> set[str]:
    """Names of series with their labels."""
    code, body = proxy.control("GET", "/metrics")
    assert code == 200
    lines = body.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")}


# --- A25: hashes ----------------------------------------------------------------------------


@pytest.mark.attack("A25")
async def test_heads_of_many_fields_cost_what_their_bytes_cost(ring):
    """A bound on fields, and a hash that is keyed: Python's, for names and values as bytes."""
    front = await ring.front((await ring.mirror()).url)
    lines = [f"X-Name-{number}: {number}" for number in range(98)]
    assert (await front.get(*lines)).status == 200
    answer = await front.get(*[f"X-Name-{number}: {number}" for number in range(101)])
    assert answer.status == 431
    assert sys.hash_info.algorithm.startswith("siphash")
