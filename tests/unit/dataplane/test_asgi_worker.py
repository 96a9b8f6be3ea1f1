from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import replace

import pytest

from shedproxy.core import seconds
from shedproxy.dataplane.asgi_worker import AsgiService
from shedproxy.dataplane.driver import Driver
from shedproxy.errors import DocumentInvalidError, StartupError
from shedproxy.snapshot import Classification, Document
from shedproxy.testing import eventually_async


def test_a_document_that_cannot_be_run_changes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny_shop.py").write_text("async def app(scope, receive, send): ...\n")
    driver = Driver(Document())
    service = AsgiService(driver, "tiny_shop:app", app_dir=str(tmp_path))
    bad = replace(driver.document, classification=Classification(trusted_peers=("nowhere",)))
    before = driver.document
    with pytest.raises(DocumentInvalidError):
        service.apply(bad)
    assert driver.document is before
    good = replace(before, revision=7)
    service.apply(good)
    assert driver.document is good


SLOW = """
import asyncio

release = asyncio.Event()

async def app(scope, receive, send):
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await release.wait()
        await send({"type": "http.response.body", "body": b"k"})
    else:
        await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.mark.anyio
async def test_who_was_told_to_stay_is_answered_once_more_when_a_drain_begins_within_an_answer(
    tmp_path, monkeypatch
) -> None:
    """The head of the answer kept the connection: its end does not close it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "slow_shop.py").write_text(SLOW)
    service = AsgiService(Driver(Document()), "slow_shop:app", app_dir=str(tmp_path))
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    await service.start([listener])
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /slow HTTP/1.1\r\nhost: e\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\no"), 30)
    assert b"connection: close" not in head.lower()
    draining = asyncio.create_task(service.drain(seconds(30)))
    await eventually_async(lambda: listener.fileno() < 0)
    writer.write(b"GET /quick HTTP/1.1\r\nhost: e\r\n\r\n")
    sys.modules["slow_shop"].release.set()
    rest = await asyncio.wait_for(reader.read(), 30)
    assert rest.startswith(b"kHTTP/1.1 200 OK\r\n")
    assert b"connection: close" in rest.lower()
    assert rest.endswith(b"\r\n\r\nok")
    assert await asyncio.wait_for(draining, 40) == 0
    writer.close()


QUICK = """
async def app(scope, receive, send):
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.mark.anyio
async def test_bounds_of_a_new_document_hold_for_connections_from_then_on(
    tmp_path, monkeypatch
) -> None:
    """Of heads, and of how long one may be idle."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "quick_shop.py").write_text(QUICK)
    driver = Driver(Document())
    service = AsgiService(driver, "quick_shop:app", app_dir=str(tmp_path))
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    await service.start([listener])
    begun = b"GET / HTTP/1.1\r\nhost: e\r\nx-long: " + b"x" * 2000
    former, answers = await asyncio.open_connection(*address)
    answers.write(b"GET / HTTP/1.1\r\nhost: e\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(former.readuntil(b"\r\n\r\nok"), 30)
    proxy = driver.document.proxy
    timeouts = replace(proxy.timeouts, client_idle_ns=seconds(3))
    service.apply(
        replace(driver.document, proxy=replace(proxy, head_size_max=1024, timeouts=timeouts))
    )
    assert service._config.timeout_keep_alive == 3
    reader, writer = await asyncio.open_connection(*address)
    writer.write(begun)
    assert b" 400 " in await asyncio.wait_for(reader.read(), 30)
    answers.write(begun + b"\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(former.readuntil(b"\r\n\r\nok"), 30)
    answers.close()
    writer.close()
    await service.drain(seconds(5))


def test_without_an_application_there_is_no_service() -> None:
    with pytest.raises(StartupError, match="no_such_module"):
        AsgiService(Driver(Document()), "no_such_module:app")
