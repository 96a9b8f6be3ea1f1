from __future__ import annotations

import errno
import json
import os
import ssl
from dataclasses import replace

import pytest

from shedproxy.core import CellPolicy, LimitPolicy, Policy, seconds
from shedproxy.dataplane.wire.upload import Upload
from shedproxy.observability.fault import Fault

pytestmark = pytest.mark.anyio

POST = b"POST /a HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx"
GET = b"GET /a HTTP/1.1\r\nHost: e\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_who_waits_for_a_connection_gets_the_next_one(still) -> None:
    bench = still(upstream={"connections_max": 1})
    first, second = bench.client(), bench.client()
    upstream = await bench.ask(first, GET)
    second.protocol.data_received(GET)
    await bench.settle()
    assert bench.dials == 1
    upstream.take()
    upstream.protocol.data_received(OK)
    assert upstream.take().startswith(b"GET /a")
    upstream.protocol.data_received(OK)
    assert second.take().endswith(b"ok")


async def test_who_waits_too_long_for_a_connection_is_told(still) -> None:
    bench = still(upstream={"connections_max": 1}, timeouts={"connect_ns": seconds(1)})
    first, second, third = bench.client(), bench.client(), bench.client()
    await bench.ask(first, GET)
    second.protocol.data_received(GET)
    await bench.advance(seconds(0.5))
    third.protocol.data_received(GET)
    await bench.advance(seconds(0.7))
    assert second.take().startswith(b"HTTP/1.1 504 ")
    assert third.take() == b""
    await bench.advance(seconds(0.5))
    assert third.take().startswith(b"HTTP/1.1 504 ")
    assert bench.driver.meter.faults(0, Fault.UPSTREAM_CONNECT_TIMEOUT) == 2
    assert bench.cell.in_flight == 1


async def test_who_stands_in_line_again_has_all_of_that_time_again(still) -> None:
    bench = still(upstream={"connections_max": 1}, timeouts={"connect_ns": seconds(1)})
    first, second, third = bench.client(), bench.client(), bench.client()
    upstream = await bench.ask(first, GET)
    second.protocol.data_received(GET)
    await bench.advance(seconds(0.5))
    third.protocol.data_received(GET)
    upstream.protocol.data_received(OK)
    assert second.protocol.exchange.upstream is upstream.protocol
    upstream.lose()
    assert second.protocol.exchange.upstream is None, "it has to wait behind the third"
    await bench.advance(seconds(0.8))
    assert second.take() == b""
    await bench.advance(seconds(0.4))
    assert second.take().startswith(b"HTTP/1.1 504 ")
    assert third.protocol.exchange is not None


async def test_who_left_the_line_is_not_told_anything(still) -> None:
    bench = still(upstream={"connections_max": 1})
    first, second = bench.client(), bench.client()
    upstream = await bench.ask(first, GET)
    second.protocol.data_received(GET)
    second.lose()
    upstream.protocol.data_received(OK)
    upstream.take()
    await bench.advance(seconds(3))
    assert upstream.take() == b""
    assert bench.cell.in_flight == 0


async def test_idle_connections_are_closed_after_a_while(still) -> None:
    bench = still(timeouts={"pool_idle_ns": seconds(15)})
    client = bench.client()
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    await bench.advance(seconds(14))
    assert not upstream.is_closed
    await bench.advance(seconds(3))
    assert upstream.is_closed
    assert bench.server.upstream_connections == 0


async def test_an_upstream_that_is_out_refuses_before_admission_until_a_probe(still) -> None:
    bench = still(upstream={"fail_after": 1, "retry_after_ns": seconds(5)})
    bench.failure = ConnectionRefusedError()
    client = bench.client()
    client.protocol.data_received(GET)
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert bench.server.upstream_health() == {"default": {"http://10.0.0.1:80": False}}
    admitted = bench.driver.meter.admitted(0)
    client.protocol.data_received(GET)
    assert b"shedproxy-reason: no_upstream" in client.take()
    assert bench.driver.meter.admitted(0) == admitted
    bench.failure = None
    await bench.advance(seconds(7))
    upstream = await bench.ask(client, GET)
    upstream.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert bench.server.upstream_health() == {"default": {"http://10.0.0.1:80": True}}


async def test_a_calibrated_limit_is_for_the_upstreams_in_service(still) -> None:
    """Half of the hosts have half of the slots, until they are back; a reload changes nothing."""
    bench = still(
        upstream={
            "urls": ("http://10.0.0.1:80", "http://10.0.0.2:80"),
            "fail_after": 1,
            "retry_after_ns": seconds(5),
        }
    )
    limit = LimitPolicy(algorithm="fixed", initial=8, minimum=8, maximum=8, weight=2)
    document = replace(bench.driver.document, policy=Policy(cells=(CellPolicy(limit=limit),)))

    def slots() -> int:
        return bench.driver.shedder.stats().cells[0].limit

    bench.server.apply(document)
    assert slots() == 8
    bench.failure = ConnectionRefusedError()
    client = bench.client()
    client.protocol.data_received(GET)
    await bench.settle()
    assert not all(bench.server.upstream_health()["default"].values())
    assert slots() == 4
    bench.server.apply(document)
    assert slots() == 4
    bench.failure = None
    await bench.advance(seconds(7))
    assert slots() == 8


async def test_why_an_upstream_cannot_be_connected_to_is_said_once(still) -> None:
    bench = still()
    client = bench.client()

    async def ask() -> list[dict]:
        client.protocol.data_received(GET)
        await bench.settle()
        lines = [json.loads(line) for line in bench.server.log_lines()]
        return [line for line in lines if line["kind"] == "event"]

    bench.failure = ConnectionRefusedError("refused")
    (event,) = await ask()
    assert event["event"] == "upstream connect failed"
    assert (event["upstream"], event["error"]) == ("http://10.0.0.1:80", "refused")
    assert await ask() == []
    bench.failure = ssl.SSLCertVerificationError("certificate has expired")
    (event,) = await ask()
    assert "certificate has expired" in event["error"]


async def test_a_retired_cell_ends_what_it_has(still) -> None:
    bench = still()
    busy, done = bench.client(), bench.client()
    working = await bench.ask(busy, GET)
    idle = await bench.ask(done, GET)
    idle.protocol.data_received(OK)
    bench.group.retire()
    assert idle.is_closed
    assert not working.is_closed
    working.protocol.data_received(OK)
    assert working.is_closed
    assert busy.take().endswith(b"ok")


async def test_connections_to_addresses_that_a_name_lost_are_not_used_again(still) -> None:
    """U19."""
    bench = still(upstream={"urls": ("http://name.example:80",)})
    (target,) = bench.group.targets.values()
    target.addresses = ["192.0.2.7", "192.0.2.8"]
    target._resolve_at = 1 << 62
    first, second = bench.client(), bench.client()
    idle = await bench.ask(first, GET)
    busy = await bench.ask(second, GET)
    idle.protocol.data_received(OK)
    idle.peer = busy.peer = "192.0.2.7"
    target.addresses = ["192.0.2.7"]
    target.generation += 1
    await bench.advance(seconds(1.1))
    assert not idle.is_closed
    target.addresses = ["192.0.2.9"]
    target.generation += 1
    await bench.advance(seconds(1.1))
    assert idle.is_closed
    assert not busy.is_closed
    busy.protocol.data_received(OK)
    assert second.take().endswith(b"ok")
    assert busy.is_closed
    assert bench.server.upstream_connections == 0


async def test_who_cannot_be_sent_again_gets_no_connection_that_may_be_closing(still) -> None:
    """U17."""
    bench = still()
    client = bench.client()
    for idle_s, dials in ((0.9, 1), (1.1, 2), (0.9, 2)):
        upstream = await bench.ask(client, GET)
        upstream.protocol.data_received(OK)
        bench.clock.advance(seconds(idle_s))
        upstream = await bench.ask(client, POST)
        upstream.protocol.data_received(OK)
        assert bench.dials == dials
    bench.clock.advance(seconds(9))
    await bench.ask(client, GET)
    assert bench.dials == 2, "this one could be sent again"


async def test_what_was_said_between_two_requests_is_no_answer_to_the_second(still) -> None:
    """U16: a second answer, or a 408 to nobody, that came while the loop was busy elsewhere."""
    bench = still()
    client = bench.client()
    before = await bench.ask(client, GET)
    before.protocol.data_received(OK)
    client.take()
    said, says = os.pipe()
    before.socket.fileno = lambda: said
    os.write(says, b"x")
    assert await bench.ask(client, GET) is not before
    assert before.is_closed
    os.close(said)
    os.close(says)


async def test_when_a_host_has_vanished_its_idle_connections_go(still) -> None:
    """U18."""
    bench = still()
    clients = [bench.client() for _ in range(3)]
    upstreams = [await bench.ask(client, GET) for client in clients]
    for upstream in upstreams[1:]:
        upstream.protocol.data_received(OK)
    upstreams[0].lose(TimeoutError())
    assert upstreams[0].protocol.entry.failures == 1, "it is one event"
    await bench.settle()
    assert upstreams[1].is_closed
    assert upstreams[2].is_closed
    assert bench.upstreams[-1].take().startswith(b"GET /a"), "sent again over a new one"


async def test_with_none_in_service_a_connect_is_enough_to_be_back(still) -> None:
    """Else an instance that nobody sends requests to, as it is not ready, would never be again."""
    bench = still(upstream={"fail_after": 1, "retry_after_ns": seconds(2)})
    bench.failure = ConnectionRefusedError()
    client = bench.client()
    client.protocol.data_received(GET)
    await bench.settle()
    client.take()
    await bench.advance(seconds(6))
    assert bench.server.upstream_health() == {"default": {"http://10.0.0.1:80": False}}
    assert bench.server.upstream_connections == 0
    bench.failure = None
    await bench.advance(seconds(4))
    assert bench.server.upstream_health() == {"default": {"http://10.0.0.1:80": True}}
    dials = bench.dials
    client.protocol.data_received(GET)
    await bench.settle()
    assert bench.dials == dials, "the probe's connection is used"
    assert bench.cell.in_flight == 1


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EADDRNOTAVAIL])
async def test_what_this_side_lacks_puts_no_upstream_out_of_service(still, code) -> None:
    """H9, H16: connections that are there are still used."""
    bench = still(upstream={"fail_after": 1})
    upstream = await bench.ask(bench.client(), GET)
    bench.failure = OSError(code, os.strerror(code))
    client = bench.client()
    client.protocol.data_received(GET)
    await bench.settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    upstream.protocol.data_received(OK)
    assert await bench.ask(client, GET) is upstream


@pytest.mark.parametrize("kept", [False, True])
async def test_a_bug_when_a_request_is_sent_costs_no_slot(still, monkeypatch, kept) -> None:
    bench = still(upstream={"connections_max": 1})
    bench.server.loop.set_exception_handler(lambda *_: None)
    if kept:
        upstream = await bench.ask(bench.client(), GET)
        upstream.protocol.data_received(OK)

    def fail(*_, **__):
        raise ValueError("bug")

    client = bench.client()
    with monkeypatch.context() as patch:
        patch.setattr(Upload, "build_head", fail)
        client.protocol.data_received(GET)
        await bench.settle()
    bench.server.loop.set_exception_handler(None)
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert bench.cell.in_flight == 0
    assert bench.server.upstream_connections == 0
    assert await bench.ask(bench.client(), GET) is bench.upstreams[-1]


async def test_a_reload_makes_one_tls_context_for_a_cell_and_none_where_nothing_changed(
    still,
) -> None:
    """To make one takes tens of milliseconds, in which nobody is served."""
    urls = ("https://10.0.0.1", "https://10.0.0.2")
    bench = still(upstream={"urls": urls})
    before = bench.group.targets
    assert len({id(target.context) for target in before.values()}) == 1
    bench.server.apply(replace(bench.driver.document, revision=2))
    assert bench.group.targets is before
    upstream = replace(bench.group.document, urls=(urls[1], "https://10.0.0.3"))
    proxy = replace(bench.driver.document.proxy, upstreams=(upstream,))
    bench.server.apply(replace(bench.driver.document, proxy=proxy, revision=3))
    contexts = {id(target.context) for target in bench.group.targets.values()}
    assert len(contexts) == 1
    assert contexts.isdisjoint(id(target.context) for target in before.values())


async def test_nothing_is_kept_of_upstreams_that_went(still) -> None:
    bench = still(upstream={"urls": ("http://10.0.0.1", "http://10.0.0.2")})
    client = bench.client()
    busy = await bench.ask(client, GET)
    for number in range(3, 9):
        upstream = replace(bench.group.document, urls=(f"http://10.0.0.{number}",))
        proxy = replace(bench.driver.document.proxy, upstreams=(upstream,))
        bench.server.apply(replace(bench.driver.document, proxy=proxy, revision=number))
    assert list(bench.group.targets) == ["http://10.0.0.8"]
    busy.protocol.data_received(OK)
    assert client.take().endswith(b"ok")
    assert busy.is_closed
    assert bench.server.upstream_connections == 0


async def test_one_tenant_without_upstreams_puts_no_other_out(still, monkeypatch) -> None:
    """The poison case that hands are for."""
    bench = still(
        upstream={
            "urls": ("http://10.0.0.1", "http://10.0.0.2"),
            "connections_max": 1,
            "fail_after": 1,
        }
    )
    group = bench.group
    ill, well = group._pool.upstreams
    monkeypatch.setattr(type(group._hands), "of", lambda _, tenant: (ill,))
    first, second, third = bench.client(), bench.client(), bench.client()
    upstream = await bench.ask(first, GET)
    second.protocol.data_received(GET)
    await bench.settle()
    assert bench.dials == 1
    ill.out_until = bench.clock() + seconds(10)
    upstream.lose()
    await bench.settle()
    assert second.take().startswith(b"HTTP/1.1 503 ")
    assert not group.is_out
    monkeypatch.setattr(type(group._hands), "of", lambda _, tenant: (well,))
    upstream = await bench.ask(third, GET)
    upstream.protocol.data_received(OK)
    assert third.take().endswith(b"ok")
