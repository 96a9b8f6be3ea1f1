"""Clients that leave in the middle, that ask again and again, and that ask too much."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress

import pytest
from harness.own_time import own_time
from harness.process import Service, memory_bytes
from harness.proxy import Shedproxy
from harness.storm import Crowd
from harness.tries import in_time, three_tries

from shedproxy.loadgen.station import Station
from shedproxy.observability.fault import Fault
from shedproxy.testing import eventually, eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LENGTH = 500_000
SERVICE_MS = 60
DEADLINE_S = 2.0


def posted(is_chunked: bool, size: int) -> bytes:
    """The begin of a request with a body, `size` bytes of it."""
    if is_chunked:
        head, body = b"Transfer-Encoding: chunked", b"%x\r\n" % LENGTH + b"x" * size
    else:
        head, body = b"Content-Length: %d" % LENGTH, b"x" * size
    return b"POST / HTTP/1.1\r\nHost: e\r\n%b\r\n\r\n%b" % (head, body)


@pytest.mark.fault("C1")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["counted", "chunked"])
@three_tries
async def test_a_reset_in_the_body_ends_the_request_everywhere(bench, figure, is_chunked) -> None:
    """Once with the request at the upstream, once before it had a slot."""
    bodies = []

    async def handle(talk) -> None:
        await talk.head()
        bodies.append(await talk.closed())

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    slowest_s = 0.0
    for _ in range(20):
        client = await proxy.connect()
        client.send(posted(is_chunked, 100_000))
        await eventually_async(lambda: proxy.cell.in_flight == 1 and upstream.open == 1)
        began = own_time()
        client.reset()
        await proxy.idle()
        slowest_s = max(slowest_s, own_time() - began)
        await eventually_async(lambda: upstream.open == 0)
    early = await proxy.connect()
    early.send(posted(is_chunked, 1000))
    await eventually_async(lambda: len(proxy.server.clients) == 1)
    early.reset()
    await eventually_async(lambda: not proxy.server.clients)
    assert len(bodies) == len(upstream.heads) == 20
    assert all(len(body) < LENGTH and not body.endswith(b"0\r\n\r\n") for body in bodies)
    in_time(slowest_s, 0.1)
    kind = "chunked" if is_chunked else "counted"
    figure(
        f"{kind}: slot back after {slowest_s * 1000:.0f} ms at most; 0 of 20 requests seen whole"
    )


@pytest.mark.fault("C2")
@pytest.mark.parametrize("cancels", ["true", "auto"])
@three_tries
async def test_a_reset_while_waiting_closes_the_upstream(bench, figure, cancels) -> None:
    """A hundred clients leave: each connection is closed, each slot is back, none is an error."""

    async def hang(talk) -> None:
        await talk.head()
        await talk.closed()

    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(upstream.url, limit=16, upstream={"cancels": cancels})
    took = []
    for _ in range(100):
        client = await proxy.connect()
        client.send(GET)
        await eventually_async(lambda: upstream.open == 1)
        began = own_time()
        client.reset()
        await eventually_async(lambda: upstream.open == 0)
        took.append(own_time() - began)
        await proxy.idle()
    took.sort()
    meter = proxy.driver.meter
    assert meter.faults(0, Fault.CLIENT_GONE) == 100
    assert sum(meter.faults(0, fault) for fault in Fault) == 100
    in_time(took[98], 0.2)
    assert took[99] < 1.0
    figure(f"cancels = {cancels}: upstream closed after {took[98] * 1000:.0f} ms at p99")


@pytest.mark.fault("C2")
async def test_clients_that_leave_the_queue_take_no_slot(bench, figure) -> None:
    """Twenty times the limit wait and leave; then everybody is served as before."""
    answers = asyncio.Event()

    async def handle(talk) -> None:
        while True:
            await talk.head()
            await answers.wait()
            talk.send(OK)

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, limit=4, upstream={"cancels": "true"})
    holders = [await proxy.connect() for _ in range(4)]
    for holder in holders:
        holder.send(GET)
    await eventually_async(lambda: proxy.cell.in_flight == 4)
    leavers = [await proxy.connect() for _ in range(80)]
    for leaver in leavers:
        leaver.send(GET)
    await eventually_async(lambda: proxy.cell.queue_length + proxy.driver.meter.rejected(0) == 80)
    for leaver in leavers:
        leaver.reset()
    await eventually_async(lambda: proxy.cell.queue_length == 0)
    answers.set()
    assert [(await holder.answer()).status for holder in holders] == [200] * 4
    assert [(await holder.ask(GET)).status for holder in holders] == [200] * 4
    assert len(upstream.heads) == 8
    figure("80 waiters left a limit of 4: 4 of 4 slots back, 0 of their requests sent")


@pytest.mark.fault("C6")
def test_idle_connections_cost_little_and_no_slot(tmp_path, figure) -> None:
    """A thousand that are silent, and a thousand that were served and stay."""
    count = 1000
    patient = (
        '[server.timeouts]\nclient_head = "5m"\nclient_idle = "5m"\n'  # until the last is there
    )
    with (
        Service(home=tmp_path, slots=4, service_ms=1) as service,
        Shedproxy(service.url, home=tmp_path, config=patient) as proxy,
        ExitStack() as stack,
    ):
        before = memory_bytes(proxy.worker_pid)
        for number in range(2 * count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
            if number % 2:
                sock.sendall(GET)
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        eventually(lambda: proxy.status()["workers"][0]["connections"] == 2 * count)
        each = (memory_bytes(proxy.worker_pid) - before) / (2 * count)
        in_flight = proxy.cell()["in_flight"]
    assert in_flight == 0
    assert each <= 20 * 1024
    figure(f"{2 * count} idle: {each / 1024:.1f} KiB each, {in_flight} slots")


@pytest.mark.fault("C10")
def test_a_flood_of_connections_is_over_when_it_is_over(tmp_path, figure) -> None:
    """Ten times what fits connect and ask; a second later everybody is served as before."""
    config = "[server]\nconnections_max = 200\n"
    with (
        Service(home=tmp_path, slots=4, service_ms=1) as service,
        Shedproxy(service.url, home=tmp_path, config=config) as proxy,
    ):
        with ExitStack() as stack:
            for _ in range(2000):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
                with suppress(ConnectionError):  # told that there is no room, and closed
                    sock.sendall(GET)
            eventually(lambda: proxy.status()["workers"][0]["connections"] == 200)
        ended = own_time(proxy.pid, proxy.worker_pid)
        eventually(lambda: served(proxy))
        took_s = own_time(proxy.pid, proxy.worker_pid) - ended
        assert all(served(proxy) for _ in range(100))
    assert took_s < 1
    figure(f"2000 connections for 200 places: served again {took_s * 1000:.0f} ms after they left")


def served(proxy: Shedproxy) -> bool:
    """Whether somebody new is served."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(GET)
        return sock.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.fault("C11")
def test_a_retry_storm_costs_no_goodput(tmp_path, figure) -> None:
    """Twice the capacity asks, and whoever is refused asks three times more at once.

    The service is slow: a few hundred tries a second leave the processors idle, so that what is
    lost was lost by decisions.
    """
    with (
        Station(slots=4, service_ms=SERVICE_MS) as station,
        Shedproxy(station.url, home=tmp_path) as proxy,
    ):
        crowd = Crowd(
            proxy.port,
            rate_rps=2 * station.capacity_rps,
            for_s=8,
            seed=1,
            retries=3,
            deadline_s=DEADLINE_S,
        )
        asyncio.run(crowd.play())
        goodput = crowd.goodput_rps(3, 8) / station.capacity_rps
    values = sorted(int(value) for value in crowd.retry_after)
    assert goodput >= 0.9
    assert len(values) >= 5
    assert crowd.tries_per_user > 1.5, "no storm"
    figure(
        f"goodput {goodput:.0%} of capacity with {crowd.tries_per_user:.1f} tries per user; "
        f"Retry-After {values[0]} to {values[-1]} s, {len(values)} values"
    )


@pytest.mark.fault("C12")
def test_one_greedy_tenant_leaves_the_others_their_share(tmp_path, figure) -> None:
    """Four ask for 0.6 of an equal share, as one may hold 1.5 (`fairness.slack`); one for 20."""
    config = (
        '[server]\ntrusted_proxies = ["127.0.0.0/8"]\ntrusted_strip_headers = true\n'
        '[headers]\ntenant = "x-tenant"\n'
    )

    async def play(port: int, share_rps: float) -> list[Crowd]:
        rates = [0.6 * share_rps] * 4 + [20 * share_rps]
        crowds = [
            Crowd(
                port,
                rate_rps=rate,
                for_s=8,
                seed=n,
                deadline_s=DEADLINE_S,
                headers=[f"x-tenant: t{n}"],
            )
            for n, rate in enumerate(rates)
        ]
        return await asyncio.gather(*(crowd.play() for crowd in crowds))

    # A machine that stands still makes a burst of what was due meanwhile, and some of a burst is
    # refused: three tries at most.
    served_ratio = 0.0
    for _ in range(3):
        with (
            Station(slots=4, service_ms=SERVICE_MS) as station,
            Shedproxy(station.url, home=tmp_path, config=config) as proxy,
        ):
            *others, greedy = asyncio.run(play(proxy.port, station.capacity_rps / 5))
        settled = [call for crowd in others for call in crowd.told if call.intended_s >= 3]
        served_ratio = sum(call.status == 200 for call in settled) / len(settled)
        if served_ratio >= 0.95:
            break
    assert served_ratio >= 0.95
    figure(
        f"of 0.6 of a share each the others got {served_ratio:.1%}, "
        f"the greedy one {greedy.served_ratio(3):.1%} of 20 shares"
    )
