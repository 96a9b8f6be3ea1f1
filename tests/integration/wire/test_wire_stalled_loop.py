"""The worker's loop stands still: what its peers sent meanwhile counts as sent in time."""

from __future__ import annotations

import asyncio
import os
import ssl
import time

import pytest
import trustme

from shedproxy.core import milliseconds
from shedproxy.snapshot import TlsDocument
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 4\r\n\r\nbody"
BOUND = milliseconds(150)
BOUNDS = {"client_head_ns": BOUND, "client_body_ns": BOUND, "client_idle_ns": BOUND}
STALL_S = 0.25


async def answer_all(talk) -> None:
    while True:
        head = await talk.head()
        await talk.exactly(4 if head.startswith(b"POST") else 0)
        talk.send(OK)


async def stall(peer, data: bytes) -> None:
    """The peer says it when the sockets have just been looked at, and nobody looks again for
    longer than any bound: timers are next.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    reads, writes = os.pipe()
    os.write(writes, b"x")

    def stand_still() -> None:
        loop.remove_reader(reads)
        os.write(peer.writer.get_extra_info("socket").fileno(), data)
        time.sleep(STALL_S)
        over.set()

    loop.add_reader(reads, stand_still)
    await over.wait()
    os.close(reads)
    os.close(writes)


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [(b"", GET), (GET[:9], GET[9:]), (POST[:-2], POST[-2:]), (POST[:-4], POST[-4:])],
    ids=["nothing", "half-a-head", "half-a-body", "a-head"],
)
@pytest.mark.fault("H7")
async def test_what_came_in_time_is_read_before_a_bound_is_kept(bench, before, meanwhile) -> None:
    upstream = await bench.upstream(answer_all)
    proxy = await bench.proxy(upstream.url, timeouts=BOUNDS)
    client = await proxy.connect()
    client.send(before)
    await eventually_async(lambda: len(proxy.server.clients) == 1)
    (end,) = proxy.server.clients
    await eventually_async(lambda: not before or end._seen or end._body is not None)
    await stall(client, meanwhile)
    assert (await client.answer()).status == 200
    await stall(client, GET)
    assert (await client.answer()).status == 200, "idle, it asked again in time"


async def test_what_did_not_come_is_late_however_often_the_loop_stands_still(bench) -> None:
    """One look at the sockets and no more: a deadline is not put off from stall to stall."""
    proxy = await bench.proxy("http://127.0.0.1:9", timeouts=BOUNDS)
    client = await proxy.connect()
    client.send(GET[:3])
    await eventually_async(lambda: len(proxy.server.clients) == 1)
    (end,) = proxy.server.clients
    await eventually_async(lambda: end._seen)
    for at in (3, 4, 5):
        await stall(client, GET[at : at + 1])
    assert end.is_ending
    assert (await client.answer()).status == 408


async def test_an_answer_that_came_in_time_is_passed_on(bench) -> None:
    talks = []

    async def handle(talk) -> None:
        talks.append(talk)
        for _ in range(2):
            await talk.head()
        await talk.closed()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url, timeouts={"response_ns": BOUND})
    client = await proxy.connect()
    for answer, status in ((OK, 200), (b"HTTP/1.1 200", 504)):
        client.send(GET)
        await eventually_async(lambda: len(upstream.heads) == 1)
        upstream.heads.clear()
        await stall(talks[0], answer)
        assert (await client.answer()).status == status


@pytest.mark.parametrize("phase", ["hello", "finished"])
async def test_a_handshake_outlives_a_loop_that_stood_still(bench, phase, tmp_path) -> None:
    authority = trustme.CA()
    file = tmp_path / "own.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    upstream = await bench.upstream(answer_all)
    proxy = await bench.proxy(
        upstream.url, timeouts=BOUNDS, proxy={"tls": TlsDocument(cert=str(file), key=str(file))}
    )
    client = await proxy.connect()
    await eventually_async(lambda: len(proxy.server.reception.crowd) == 1)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    if phase == "hello":
        await stall(client, outgoing.read())
    else:
        client.send(outgoing.read())
    while True:
        incoming.write(await asyncio.wait_for(client.reader.read(65536), 10))
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.send(outgoing.read())
    tls.write(GET)
    await stall(client, outgoing.read())
    answer = b""
    while not answer.endswith(b"hello"):
        incoming.write(await asyncio.wait_for(client.reader.read(65536), 10))
        try:
            answer += tls.read(65536)
        except ssl.SSLWantReadError:
            assert not incoming.eof
    assert answer.startswith(b"HTTP/1.1 200 ")
