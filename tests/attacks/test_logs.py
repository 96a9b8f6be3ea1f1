"""What clients send into the log (A18): escaped, bounded, and without secrets."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from harness.proxy import Shedproxy

from shedproxy.observability.access_log import REFUSALS_PER_S
from shedproxy.testing import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CONFIG = """
[log]
format = "json"
access = "all"
[control]
token_file = "token"
[headers]
salt = "pepper-of-the-house"
[[rule]]
name = "closed"
match = { path = "/closed/**" }
limit = 0
"""
FORGED = b'{"kind":"event","event":"forged"}'
SECRET = (
    b"GET /closed/s?password=hunter2 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer hunter2\r\n"
    b"Cookie: session=hunter2\r\nX-Tenant: hunter2\r\n\r\n"
)
EVIL = [
    b"GET /closed/%0d%0a" + FORGED + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /closed/" + FORGED + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b'GET /closed/"\\","event":"forged HTTP/1.1\r\nHost: h\r\n\r\n',
    b"GET /closed/\xe2\x80\xa8\xc2\x85\xff\xfe HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /closed/\x1b[2J\x1b]0;owned\x07 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /closed/\x7f\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /closed/a\n" + FORGED + b"\n HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /closed/a\r" + FORGED + b"\r HTTP/1.1\r\nHost: h\r\n\r\n",
    FORGED + b" /closed HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /closed HTTP/1.1\r\nHost: h\r\nTraceparent: " + FORGED * 3 + b"\r\n\r\n",
    b"GET /closed HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n",
    b"GET /closed/" + b"a" * 7000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    SECRET,
]


async def send(port: int, raw: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    await asyncio.wait_for(reader.read(1), 10)
    writer.transport.abort()


@pytest.mark.attack("A18")
async def test_nobody_forges_lines_and_no_secret_is_in_any(ring, tmp_path):
    (tmp_path / "token").write_text("t0ken-of-the-house")
    proxy = Shedproxy((await ring.mirror()).url, home=tmp_path, config=CONFIG)
    await asyncio.to_thread(proxy.__enter__)
    try:
        for raw in EVIL:
            await send(proxy.port, raw)
        await asyncio.to_thread(order, proxy, "wrong-guess")
        await asyncio.to_thread(order, proxy, "t0ken-of-the-house")
        await eventually_async(lambda: len(accesses(proxy)) >= len(EVIL), what="all being logged")
        shown = await asyncio.to_thread(pages, proxy)
    finally:
        await asyncio.to_thread(proxy.__exit__)
    text = proxy.log.read_bytes()
    assert not [byte for byte in text if (byte < 32 and byte != 10) or byte == 127]
    lines = [json.loads(line) for line in text.decode("ascii").splitlines() if line[0] == "{"]
    assert not [line for line in lines if line.get("event") == "forged"]
    assert max(len(line) for line in text.splitlines()) < 4096
    for secret in ("hunter2", "pepper-of-the-house", "t0ken-of-the-house", "wrong-guess"):
        assert secret not in text.decode()
        assert not [page for page in shown if secret in page]


def pages(proxy: Shedproxy) -> list[str]:
    paths = ("/-/config", "/-/status", "/-/points", "/metrics", "/-/explain?path=/a")
    return [proxy.control("GET", path)[1].decode() for path in paths]


def order(proxy: Shedproxy, token: str) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", proxy.control_port, timeout=10)
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    connection.request("POST", "/-/reload", b"{}", headers)
    connection.getresponse().read()
    connection.close()


def accesses(proxy: Shedproxy) -> list[dict]:
    found = [json.loads(line) for line in proxy.text().splitlines() if line.startswith("{")]
    return [line for line in found if line.get("kind") == "access"]


@pytest.mark.attack("A18")
async def test_a_flood_of_refusals_is_logged_at_a_bounded_rate_and_the_rest_counted(ring, tmp_path):
    config = CONFIG.replace('access = "all"', 'access = "sampled"')
    config = config.replace('[control]\ntoken_file = "token"\n', "")
    proxy = Shedproxy((await ring.mirror()).url, home=tmp_path, config=config)
    await asyncio.to_thread(proxy.__enter__)
    try:
        began = time.perf_counter()
        raw = b"GET /closed/a HTTP/1.1\r\nHost: h\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for _ in range(30):
            writer.write(raw * 100)
            for _ in range(100):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
        writer.close()
        took_s = time.perf_counter() - began
        await eventually_async(lambda: counted(proxy) >= 3000, what="every refusal being told")
    finally:
        await asyncio.to_thread(proxy.__exit__)
    logged = sum("status" in line for line in accesses(proxy))
    assert logged <= REFUSALS_PER_S * (1 + took_s) + 1
    assert counted(proxy) == 3000


def counted(proxy: Shedproxy) -> int:
    return sum(line.get("suppressed", 1) for line in accesses(proxy))
