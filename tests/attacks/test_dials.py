"""Where the proxy connects to is the operator's word alone (A16)."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def requests(port: int) -> list[bytes]:
    """Every way to name a foreign address: `port` is one where somebody listens."""
    foreign = f"127.0.0.66:{port}".encode()
    plain = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n"
    named = [
        b"X-Forwarded-Host: " + foreign, b"X-Forwarded-For: 127.0.0.66", b"X-Host: " + foreign,
        b"Forwarded: host=" + foreign, b"X-Original-Url: http://" + foreign + b"/",
        b"X-Rewrite-Url: http://" + foreign + b"/", b"X-Forwarded-Server: " + foreign,
        b"X-Forwarded-Port: %d" % port, b"Proxy: http://" + foreign, b"Via: 1.1 " + foreign,
        b"Referer: http://" + foreign, b"Origin: http://" + foreign, b"Alt-Svc: h2=" + foreign,
        b"X-Envoy-Original-Path: http://" + foreign, b"Destination: http://" + foreign,
        b"Location: http://" + foreign, b"X-Accel-Redirect: http://" + foreign,
    ]  # fmt: skip
    return [
        plain % (b"/a", foreign, b""),
        plain % (b"http://" + foreign + b"/a", foreign, b""),
        plain % (b"http://" + foreign + b"/a", b"h", b""),
        plain % (b"https://" + foreign + b"/a", b"h", b""),
        plain % (b"http://user@" + foreign + b"/a", b"h", b""),
        plain % (b"//" + foreign + b"/a", b"h", b""),
        plain % (b"/a", b"foreign.example", b""),
        plain % (b"/http://" + foreign, b"h", b""),
        plain % (b"@" + foreign, b"h", b""),
        plain % (b"ftp://" + foreign + b"/a", b"h", b""),
        b"CONNECT " + foreign + b" HTTP/1.1\r\nHost: " + foreign + b"\r\n\r\n",
        b"OPTIONS http://" + foreign + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"TRACE /a HTTP/1.1\r\nHost: " + foreign + b"\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: " + foreign + b"\r\n\r\n",
        b"PROXY TCP4 127.0.0.66 127.0.0.1 1 %d\r\n" % port + plain % (b"/a", b"h", b""),
        *(plain % (b"/a", b"h", line + b"\r\n") for line in named),
    ]


@pytest.mark.attack("A16")
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"])
async def test_no_foreign_address_is_dialled_whatever_is_said(ring, monkeypatch, source):
    """Seen from both ends: what the proxy's targets connect to and look up, and what reaches a
    listener on the address that every request names."""
    mirror, foreign = await ring.mirror(), await ring.mirror("127.0.0.66")
    front = await ring.front(mirror.url)
    clients = [await front.connect(source) for _ in requests(foreign.port)]
    await front.get(source=source)
    dialled = record_dials(monkeypatch, front)
    statuses = []
    for client, raw in zip(clients, requests(foreign.port), strict=True):
        statuses.append((await client.ask(raw)).status)
        # So that each has to be dialled for anew.
        for group in front.server._groups.values():
            group.retire()
        front.server._groups = {}
        front.server.live = front.server._compile(front.document)
    assert foreign.connections == 0
    assert statuses.count(200) >= 20
    assert set(dialled) == {("127.0.0.1", mirror.port)}
    assert not [head for head in mirror.heads if head.startswith((b"CONNECT", b"TRACE"))]


def record_dials(monkeypatch, front) -> list[tuple[str, int]]:
    """Put a note before every way by which the loop of the proxy opens connections or names."""
    loop, dialled = front.server.loop, []

    class Noting:
        def __getattr__(self, name):
            return getattr(loop, name)

        async def create_connection(self, factory, host=None, port=None, **options):
            dialled.append((host, port))
            return await loop.create_connection(factory, host, port, **options)

        async def create_unix_connection(self, factory, path=None, **options):
            dialled.append((path, 0))
            return await loop.create_unix_connection(factory, path, **options)

        async def getaddrinfo(self, host, port, **options):
            dialled.append((host, port))
            return await loop.getaddrinfo(host, port, **options)

    from shedproxy.dataplane.wire import target

    class Asyncio:
        def __getattr__(self, name):
            return getattr(asyncio, name)

        @staticmethod
        def get_running_loop():
            return Noting()

    monkeypatch.setattr(target, "asyncio", Asyncio())
    return dialled
