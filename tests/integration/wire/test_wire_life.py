"""Tunnels, TLS, unix sockets, several upstreams, drain."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import replace

import pytest
import trustme
from harness.wire_bench import answering_after

from shedproxy.core import milliseconds, seconds
from shedproxy.errors import DocumentInvalidError
from shedproxy.observability.fault import Fault
from shedproxy.snapshot import TlsDocument, UpstreamDocument
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: e\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def echo(talk) -> None:
    head = await talk.head()
    assert b"upgrade: websocket\r\n" in head
    talk.send(SWITCH + b"first")
    while data := await talk.reader.read(65536):
        talk.send(data)
        await talk.drain()


async def hang(talk) -> None:
    await talk.head()
    await talk.closed()


async def test_a_tunnel_passes_bytes_both_ways(bench) -> None:
    upstream = await bench.upstream(echo)
    proxy = await bench.proxy(upstream.url, limit=1)
    client = await proxy.connect()
    client.send(UPGRADE + b"ahead")
    answer = await client.answer()
    assert (answer.status, answer.field("upgrade")) == (101, "websocket")
    assert await client.reader.readexactly(10) == b"firstahead"
    assert (proxy.cell.in_flight, proxy.cell.residents, proxy.server.tunnels) == (0, 1, 1)
    blob = bytes(range(256)) * 20_000
    client.send(blob)
    assert await asyncio.wait_for(client.reader.readexactly(len(blob)), 10) == blob
    client.half_close()
    assert await client.rest() == b""
    await proxy.idle()
    assert proxy.server.tunnels == 0
    await eventually_async(lambda: proxy.server.upstream_connections == 0)


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_tunnel_ends_with_either_end(bench, who) -> None:
    over = asyncio.Event()

    async def handle(talk) -> None:
        await talk.head()
        talk.send(SWITCH)
        if who == "upstream":
            talk.send(b"bye")
            await talk.drain()
            talk.close()
        await talk.closed()
        over.set()

    upstream = await bench.upstream(handle)
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(UPGRADE)
    assert (await client.answer()).status == 101
    if who == "client":
        client.reset()
    else:
        assert await client.rest() == b"bye"
        client.close()
    await asyncio.wait_for(over.wait(), 10)
    await proxy.idle()
    assert proxy.server.tunnels == 0


async def test_an_idle_tunnel_is_closed(bench) -> None:
    upstream = await bench.upstream(echo)
    proxy = await bench.proxy(upstream.url, timeouts={"tunnel_idle_ns": milliseconds(150)})
    client = await proxy.connect()
    client.send(UPGRADE)
    await client.answer()
    assert await client.rest() == b"first"
    await proxy.idle()


async def test_an_upgrade_that_is_declined_is_an_ordinary_answer(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(UPGRADE)).body == b"hello"
    assert (await client.ask(GET)).body == b"hello"
    assert upstream.connections == 1
    await proxy.idle()


async def test_the_least_loaded_upstream_is_chosen(bench) -> None:
    gate = asyncio.Event()

    async def handle(talk) -> None:
        while True:
            await talk.head()
            await gate.wait()
            talk.send(OK)

    upstreams = [await bench.upstream(handle) for _ in range(3)]
    proxy = await bench.proxy(*(upstream.url for upstream in upstreams))
    clients = [await proxy.connect() for _ in range(9)]
    for client in clients:
        client.send(GET)
    await eventually_async(lambda: sum(len(u.heads) for u in upstreams) == 9)
    assert [len(upstream.heads) for upstream in upstreams] == [3, 3, 3]
    gate.set()
    for client in clients:
        assert (await client.answer()).status == 200
    await proxy.idle()


async def test_a_unix_socket_is_an_upstream_too(bench, tmp_path) -> None:
    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    path = str(tmp_path / "up.sock")
    server = await asyncio.start_unix_server(serve, path)
    proxy = await bench.proxy(f"unix:{path}")
    assert (await (await proxy.connect()).ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200
    server.close()
    await proxy.idle()


async def test_tls_on_both_sides(bench, files) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    upstream = await bench.upstream(_echo_body, ssl=context)
    proxy = await bench.proxy(
        f"https://localhost:{upstream.port}",
        upstream={"tls": TlsDocument(ca=files["ca"])},
        proxy={"tls": TlsDocument(cert=files["cert"], key=files["key"]), "via": ""},
    )
    client = await proxy.connect(
        ssl=ssl.create_default_context(cafile=files["ca"]), server_hostname="localhost"
    )
    for size in (10, 500_000):
        client.send(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(b"z" * size)
        assert (await client.answer()).body == b"z" * size
    assert b"x-forwarded-proto: https" in upstream.heads[0]
    assert upstream.connections == 1
    await proxy.idle()


async def _echo_body(talk) -> None:
    while True:
        head = await talk.head()
        size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await talk.exactly(size)
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)


async def test_an_upstream_certificate_that_is_not_trusted_is_a_502(bench, files) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    upstream = await bench.upstream(hang, ssl=context)
    proxy = await bench.proxy(f"https://localhost:{upstream.port}")
    answer = await (await proxy.connect()).ask(GET)
    assert (answer.status, answer.field("shedproxy-reason")) == (502, "upstream_connect")
    insecure = replace(
        proxy.document,
        proxy=replace(
            proxy.document.proxy,
            upstreams=(
                UpstreamDocument(
                    urls=(f"https://127.0.0.1:{upstream.port}",), tls=TlsDocument(verify=False)
                ),
            ),
        ),
    )
    proxy.server.apply(insecure)
    client = await proxy.connect()
    client.send(GET)
    await eventually_async(lambda: upstream.heads)


async def test_a_drain_lets_what_is_under_way_end_and_accepts_nothing_new(bench) -> None:
    """H1."""
    go = asyncio.Event()

    upstream = await bench.upstream(answering_after(go, OK))
    proxy = await bench.proxy(upstream.url)
    busy, idle = await proxy.connect(), await proxy.connect()
    await eventually_async(lambda: len(proxy.server.clients) == 2)
    busy.send(GET)
    await eventually_async(lambda: upstream.heads)
    draining = asyncio.create_task(proxy.server.drain(seconds(10)))
    assert await idle.rest() == b""
    assert not draining.done()
    go.set()
    answer = await busy.answer()
    assert (answer.status, answer.field("connection")) == (200, "close")
    assert await asyncio.wait_for(draining, 10) == 0


async def test_a_drain_serves_who_was_connected_but_not_accepted_yet(bench, answering) -> None:
    """The kernel has told them that they are connected; closing the listener would reset them."""
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    waiting = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(20)]
    for sock in waiting[:10]:
        sock.sendall(GET)
    draining = asyncio.create_task(proxy.server.drain(seconds(10)))
    clients = [await proxy.adopt(sock) for sock in waiting]
    # Those who are there may be answered and gone before anybody looks.
    await eventually_async(lambda: len(upstream.heads) >= 10)
    for client in clients[10:15]:
        client.send(GET)
    for client in clients[:15]:
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (200, "close")
    for client in clients[15:]:
        assert await client.rest() == b"", "who has nothing to ask is let go"
    assert await asyncio.wait_for(draining, 10) == 0


async def test_a_drain_serves_who_was_accepted_in_the_same_turn(bench, answering) -> None:
    """The loop has taken it from the kernel, and not told us yet."""
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    loop = asyncio.get_running_loop()
    reads, writes = os.pipe()
    begun: asyncio.Future[asyncio.Task[int]] = loop.create_future()

    def begin() -> None:
        loop.remove_reader(reads)
        begun.set_result(loop.create_task(proxy.server.drain(seconds(10))))

    loop.add_reader(reads, begin)
    await asyncio.sleep(0)  # the kernel is asked from now on
    os.write(writes, b"x")
    # Behind the word to drain, and seen by the same look at the sockets.
    newcomer = socket.create_connection(("127.0.0.1", proxy.port))
    newcomer.sendall(GET)
    draining = await begun
    for end in (reads, writes):
        os.close(end)
    answer = await (await proxy.adopt(newcomer)).answer()
    assert (answer.status, answer.field("connection")) == (200, "close")
    assert await asyncio.wait_for(draining, 10) == 0


async def test_a_drain_answers_who_asks_again_right_away_and_lets_go_of_the_others(
    bench, answering
) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    quick, silent = await proxy.connect(), await proxy.connect()
    for client in (quick, silent):
        assert (await client.ask(GET)).field("connection") is None
    draining = asyncio.create_task(proxy.server.drain(seconds(10)))
    await eventually_async(lambda: proxy.server.is_announcing)
    assert (await quick.ask(GET)).field("connection") == "close"
    assert await silent.rest() == b""
    assert await asyncio.wait_for(draining, 10) == 0


async def test_a_drain_lets_go_at_once_of_who_has_been_silent(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 200
    (end,) = proxy.server.clients
    end.deadline_at -= seconds(1)  # as it would be after one second more
    proxy.server.is_announcing = True
    end.say_goodbye(idle_for_ns=seconds(2))
    assert not end.is_ending
    end.say_goodbye(idle_for_ns=seconds(1))
    assert end.is_ending
    assert await client.rest() == b""


async def test_nobody_goes_for_a_newcomer_whose_request_nobody_has_read_yet(
    bench, answering
) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url, proxy={"connections_max": 1})
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 200
    assert proxy.server.reception.can_make_room(), "it keeps us waiting"
    os.write(client.writer.get_extra_info("socket").fileno(), GET)
    # Not a turn of the loop between: the kernel has it, and nobody else.
    assert not proxy.server.reception.make_room()
    assert (await client.answer()).status == 200


async def test_a_good_bye_waits_for_a_request_that_nobody_has_read_yet(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(GET)).status == 200
    (end,) = proxy.server.clients
    os.write(client.writer.get_extra_info("socket").fileno(), GET)
    # Not a turn of the loop between: the kernel has it, and nobody else.
    end.say_goodbye(idle_for_ns=0)
    assert not end.is_ending
    assert (await client.answer()).status == 200


async def test_a_drain_shakes_hands_with_who_was_connected(bench, answering, files) -> None:
    upstream = await bench.upstream(answering(OK))
    tls = TlsDocument(cert=files["cert"], key=files["key"])
    proxy = await bench.proxy(upstream.url, proxy={"tls": tls})
    waiting = socket.create_connection(("127.0.0.1", proxy.port))
    draining = asyncio.create_task(proxy.server.drain(seconds(10)))
    context = ssl.create_default_context(cafile=files["ca"])
    client = await proxy.adopt(waiting, ssl=context, server_hostname="localhost")
    assert (await client.ask(GET)).status == 200
    assert await asyncio.wait_for(draining, 10) == 0


async def test_a_drain_waits_half_a_second_for_the_rest_of_a_head(bench, answering) -> None:
    """And for half a second from the first byte of one that begins meanwhile, but no longer."""
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    slow, late, quick = [await proxy.connect() for _ in range(3)]
    assert (await late.ask(GET)).status == 200
    for client in (slow, quick):
        client.send(b"HEAD / HTTP/1.1\r\n" if client is slow else GET[:9])
    await eventually_async(lambda: sum(end._seen > 0 for end in proxy.server.clients) == 2)
    began = asyncio.get_running_loop().time()
    draining = asyncio.create_task(proxy.server.drain(seconds(10)))
    await asyncio.sleep(0.2)
    late.send(GET[:9])
    quick.send(GET[9:])
    assert (await quick.answer()).status == 200
    refusal = await slow.answer(head=True)
    assert (refusal.status, refusal.field("connection")) == (503, "close")
    assert refusal.field("shedproxy-reason") == "draining"
    assert int(refusal.field("retry-after")) >= 1
    assert await slow.rest() == b"", "a HEAD has no body"
    late.send(GET[9:])
    assert (await late.answer()).status == 200
    assert await asyncio.wait_for(draining, 10) == 0
    assert asyncio.get_running_loop().time() - began < 2, "the bound of a head is 5 s"


async def test_a_head_that_begins_when_all_others_have_gone_has_no_longer(bench, answering) -> None:
    go = asyncio.Event()
    upstream = await bench.upstream(answering_after(go, OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    client.send(GET)
    await eventually_async(lambda: upstream.heads)
    proxy.server.is_draining = True  # but not announcing: it answers, and keeps the connection
    (end,) = proxy.server.clients
    client.send(GET[:9])
    await eventually_async(lambda: end._buffer)
    go.set()
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 503


@pytest.mark.parametrize("said", [0, 9], ids=["silent", "half-a-hello"])
async def test_a_drain_does_not_wait_for_a_hello(bench, files, said) -> None:
    tls = TlsDocument(cert=files["cert"], key=files["key"])
    proxy = await bench.proxy("http://127.0.0.1:9", proxy={"tls": tls})
    client = await proxy.connect()
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[:said])
    await eventually_async(lambda: len(proxy.server.reception.crowd) == 1)
    assert await asyncio.wait_for(proxy.server.drain(seconds(10)), 3) == 0
    await client.rest()


async def test_a_drain_does_not_wait_for_the_rest_of_a_handshake(bench, files) -> None:
    tls = TlsDocument(cert=files["cert"], key=files["key"])
    proxy = await bench.proxy("http://127.0.0.1:9", proxy={"tls": tls})
    client = await proxy.connect()
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(
            ssl.MemoryBIO(), outgoing, server_hostname="localhost"
        ).do_handshake()
    client.send(outgoing.read())
    await client.reader.readexactly(1)
    assert await asyncio.wait_for(proxy.server.drain(seconds(10)), 3) == 0


@pytest.mark.fault("K13")
async def test_a_renewed_certificate_is_shown_after_a_reload(
    bench, answering, tmp_path, figure
) -> None:
    """Connections that are open keep theirs; files that do not fit change nothing."""
    file = tmp_path / "own.pem"
    tls = TlsDocument(cert=str(file), key=str(file))
    authorities = [trustme.CA(), trustme.CA()]

    def write(authority) -> None:
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))

    async def shake(authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        return await proxy.connect(ssl=context, server_hostname="localhost")

    write(authorities[0])
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url, proxy={"tls": tls})
    old = await shake(authorities[0])
    write(authorities[1])
    proxy.server.apply(proxy.document)
    assert (await (await shake(authorities[1])).ask(GET)).status == 200
    assert (await old.ask(GET)).status == 200
    key = authorities[0].issue_cert("localhost").private_key_pem.bytes()
    certificate = authorities[1].issue_cert("localhost").cert_chain_pems[0].bytes()
    for unfit in (b"junk", key + certificate):
        file.write_bytes(unfit)
        with pytest.raises(DocumentInvalidError):
            proxy.server.apply(proxy.document)
        assert (await (await shake(authorities[1])).ask(GET)).status == 200
    figure("the new pair is shown, open connections go on; junk and a foreign key change nothing")


async def test_a_drain_ends_at_its_grace_with_an_answer_for_the_rest(bench) -> None:
    """H2."""
    upstream = await bench.upstream(hang)
    proxy = await bench.proxy(upstream.url)
    client, slow = await proxy.connect(), await proxy.connect()
    client.send(GET)
    slow.send(GET[:9])
    await eventually_async(lambda: upstream.heads)
    await eventually_async(lambda: any(end._seen for end in proxy.server.clients))
    assert await asyncio.wait_for(proxy.server.drain(milliseconds(100)), 10) == 2
    assert (await client.answer()).status == 504
    assert (await slow.answer()).status == 503
    await proxy.idle()


async def test_announced_servers_ask_clients_to_go(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    client = await proxy.connect()
    assert (await client.ask(GET)).field("connection") is None
    proxy.server.announce()
    assert (await client.ask(GET)).field("connection") == "close"
    assert (await (await proxy.connect()).ask(GET)).status == 200


async def test_a_document_that_cannot_be_served_changes_nothing(bench, answering) -> None:
    upstream = await bench.upstream(answering(OK))
    proxy = await bench.proxy(upstream.url)
    bad = replace(
        proxy.document,
        proxy=replace(proxy.document.proxy, upstreams=(UpstreamDocument(urls=("ftp://x",)),)),
    )
    with pytest.raises(DocumentInvalidError):
        proxy.server.apply(bad)
    assert (await (await proxy.connect()).ask(GET)).status == 200


async def test_a_removed_upstream_ends_what_it_has_and_gets_nothing_new(bench) -> None:
    go = asyncio.Event()

    old, new = (
        await bench.upstream(answering_after(go, OK)),
        await bench.upstream(answering_after(go, OK)),
    )
    proxy = await bench.proxy(old.url)
    busy, client = await proxy.connect(), await proxy.connect()
    busy.send(GET)
    await eventually_async(lambda: old.heads)
    proxy.server.apply(
        replace(
            proxy.document,
            proxy=replace(proxy.document.proxy, upstreams=(UpstreamDocument(urls=(new.url,)),)),
        )
    )
    go.set()
    assert (await busy.answer()).status == 200
    assert (await client.ask(GET)).status == 200
    assert (len(old.heads), len(new.heads)) == (1, 1)
    await eventually_async(lambda: old.open == 0)
    assert proxy.driver.meter.faults(0, Fault.UPSTREAM_CLOSED) == 0
