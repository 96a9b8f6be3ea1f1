"""The end of an answer over TLS is as sure as without: between the two is a loop that buffers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest

from shedproxy.clock import monotonic_now
from shedproxy.core import Instant, seconds
from shedproxy.dataplane.wire.client_end import LINGER_NS
from shedproxy.snapshot import TlsDocument
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n"


class ShiftedClock:
    """Time as it is, and a little later."""

    def __init__(self) -> None:
        self.shift_ns = 0

    def __call__(self) -> Instant:
        return Instant(monotonic_now() + self.shift_ns)


def narrow(port: int) -> socket.socket:
    """A client whose kernel takes little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    return sock


async def end_of(proxy):
    """The proxy's side of its one client; its kernel takes little, too."""
    await eventually_async(lambda: proxy.server.clients)
    (end,) = proxy.server.clients
    sock = end.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return end


@pytest.mark.parametrize("says", ["a length", "nothing"])
async def test_an_upstream_may_close_before_a_slow_client_has_read(bench, files, says) -> None:
    """As most do: they say that this is the end, and wait for nobody to answer that."""
    size = 120_000  # more than the proxy holds by itself, and less than its kernel does beside that
    has_closed = asyncio.Event()

    async def handle(talk) -> None:
        await talk.head()
        head = b"Content-Length: %d\r\n" % size if says == "a length" else b""
        talk.send(b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\n" % head)
        talk.send(b"y" * size)
        talk.close()
        with contextlib.suppress(OSError):
            await talk.writer.wait_closed()
        has_closed.set()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    upstream = await bench.upstream(handle, ssl=context, ssl_shutdown_timeout=0.01)
    proxy = await bench.proxy(
        f"https://localhost:{upstream.port}",
        upstream={"tls": TlsDocument(ca=files["ca"])},
        proxy={"buffer_size": 16 * 1024},
    )
    client = await proxy.adopt(narrow(proxy.port), limit=1024)
    end = await end_of(proxy)
    client.send(GET)
    await eventually_async(lambda: end.is_write_blocked)
    await has_closed.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    answer = await client.answer(head=True)
    is_chunked = answer.field("transfer-encoding") == "chunked"
    got = 0
    while piece := await client.reader.read(1024):
        got += piece.count(b"y") if is_chunked else len(piece)
    assert (answer.status, got) == (200, size)


async def test_a_reader_that_takes_its_time_gets_the_end(bench, answering, files) -> None:
    body = b"y" * 60_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    upstream = await bench.upstream(answering(answer))
    clock = ShiftedClock()
    proxy = await bench.proxy(
        upstream.url,
        proxy={"tls": TlsDocument(cert=files["cert"], key=files["key"])},
        clock=clock,
    )
    context = ssl.create_default_context(cafile=files["ca"])
    client = await proxy.adopt(
        narrow(proxy.port), ssl=context, server_hostname="localhost", limit=1024
    )
    end = await end_of(proxy)
    client.writer.transport.set_read_buffer_limits(high=1)
    client.writer.transport.pause_reading()
    client.send(GET)
    await eventually_async(lambda: end.is_ending)
    clock.shift_ns += LINGER_NS + seconds(1)
    looks = end.deadline_at
    await eventually_async(lambda: end.is_closed or end.deadline_at != looks)
    client.writer.transport.resume_reading()
    assert (await client.answer()).body == body
