"""A snapshot is read whole from wherever it is, in bounded time and size."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import threading
from types import SimpleNamespace

import pytest
from harness.raw_server import raw_server

from shedproxy.core import milliseconds, seconds
from shedproxy.errors import StartupError
from shedproxy.store import PlaceFailedError, open_place
from shedproxy.store.place import shown_place
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def web_server(answer: bytes, *, stall: bool = False):
    """Gives one answer to everybody; `heads` are what they asked."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if stall:
            await reader.read()

    async with raw_server(serve) as address:
        yield f"http://{address}/fleet", heads


def http(body: bytes, *, status: int = 200, fields: bytes = b"", length: int = -1) -> bytes:
    size = len(body) if length < 0 else length
    return b"HTTP/1.1 %d X\r\n%scontent-length: %d\r\n\r\n%s" % (status, fields, size, body)


@contextlib.asynccontextmanager
async def place_at(url: str, **options):
    place = open_place(str(url), timeout=options.pop("timeout", seconds(5)), **options)
    try:
        yield place
    finally:
        await place.close()


@pytest.mark.parametrize("form", ["{}/fleet", "file://{}/fleet"])
async def test_files_and_objects_are_read_and_replaced(tmp_path, form):
    async with place_at(form.format(tmp_path)) as place:
        with pytest.raises(PlaceFailedError, match="fleet"):
            await place.read(10)
        for data in (b"one", b"two"):
            await place.write(data)
            assert await place.read(10) == data
        assert await place.read(1) == b"tw"
        assert (tmp_path / "fleet").read_bytes() == b"two"


async def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    async with place_at(tmp_path / "pipe") as place:
        with pytest.raises(PlaceFailedError, match="No such file"):
            await place.read(10)


async def test_a_url_is_asked_whole_and_with_the_token():
    async with web_server(http(b"data")) as (url, heads), place_at(url, token=lambda: "t") as place:
        assert await place.read(10) == b"data"
        assert await place.read(10) == b"data"
    for head in (head.lower() for head in heads):
        assert head.startswith(b"get /fleet ")
        assert b"if-" not in head
        assert b"accept-encoding: identity" in head
        assert b"authorization: bearer t" in head


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(b"", status=404), "status 404"),
        (http(b"", status=304), "status 304"),
        (http(b"", status=302, fields=b"location: http://127.0.0.1:1/\r\n"), "status 302"),
        (http(gzip.compress(bytes(10_000)), fields=b"content-encoding: gzip\r\n"), "compressed"),
        (http(b"half", length=100), "fleet: .+"),
        (b"", "fleet: .+"),
    ],
)
async def test_every_other_answer_is_none(answer, why):
    async with web_server(answer) as (url, _), place_at(url) as place:
        with pytest.raises(PlaceFailedError, match=why):
            await place.read(1000)


async def test_an_answer_without_end_is_cut_and_one_that_stalls_is_left():
    async with web_server(http(bytes(2_000_000), length=10**12), stall=True) as (url, _):
        async with place_at(url) as place:
            assert len(await place.read(1000)) == 1001
        async with place_at(url, timeout=milliseconds(100)) as place:
            with pytest.raises(PlaceFailedError, match=r"no answer in 0\.1 s"):
                await place.read(10**9)


async def test_a_report_is_posted():
    async with web_server(http(b"", status=204)) as (url, heads), place_at(url) as place:
        await place.write(b"report")
    assert heads[0].startswith(b"POST /fleet ")
    async with web_server(http(b"", status=503)) as (url, _), place_at(url) as place:
        with pytest.raises(PlaceFailedError, match="503"):
            await place.write(b"report")


async def test_nobody_there_is_a_failure():
    async with place_at("http://127.0.0.1:1/fleet") as place:
        with pytest.raises(PlaceFailedError, match="fleet"):
            await place.read(10)


@pytest.mark.parametrize(
    ("url", "token"), [("http://127.0.0.1:1/fleet", "pässword"), ("http://a\x01b/fleet", "")]
)
async def test_a_token_or_url_that_cannot_be_sent_is_a_failure(url, token):
    async with place_at(url, token=lambda: token) as place:
        with pytest.raises(PlaceFailedError, match="fleet"):
            await place.read(10)
        with pytest.raises(PlaceFailedError, match="fleet"):
            await place.write(b"report")


async def test_the_answer_to_a_report_is_not_read():
    """Whoever sends without end gets no memory for it."""
    async with web_server(http(bytes(2_000_000), length=10**12), stall=True) as (url, _):
        async with place_at(url) as place:
            await place.write(b"report")


async def test_a_file_that_gives_no_answer_holds_one_thread(tmp_path):
    """A mount that hangs: whoever else wants a thread still gets one."""
    begun, go = [], threading.Event()
    file = tmp_path / "fleet"
    file.write_bytes(b"data")

    def hang() -> bool:
        begun.append(True)
        return go.wait(20)

    async with place_at(file, timeout=milliseconds(50)) as place:
        place._file = SimpleNamespace(is_file=hang, open=file.open)
        try:
            for _ in range(10):
                with pytest.raises(PlaceFailedError, match=r"no answer in 0\.05 s"):
                    await place.read(10)
            with pytest.raises(PlaceFailedError, match=r"no answer in 0\.05 s"):
                await place.write(b"new")
            assert len(begun) == 1
        finally:
            go.set()
        assert await eventually_async(lambda: place.read(10)) == b"data"


def test_a_store_without_an_object_is_no_place():
    for url in ("s3://bucket", "file:///"):
        with pytest.raises(StartupError, match="names no object"):
            open_place(url, timeout=seconds(1))


def test_secrets_of_a_url_are_not_shown():
    assert shown_place("https://me:secret@host/a") == "https://***@host/a"
    assert shown_place("https://host/a?sig=secret&x=1") == "https://host/a?***"
    assert shown_place("/srv/what?/a") == "/srv/what?/a"


def test_a_file_can_be_read_in_one_loop_after_another(tmp_path):
    """As scripts do, with a loop for each look."""
    (tmp_path / "current").write_bytes(b"x")
    place = open_place(str(tmp_path / "current"), timeout=seconds(5))
    for _ in range(2):
        assert asyncio.run(place.read(10)) == b"x"
