"""A body of any size passes in constant memory, both ways."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httptools
import pytest
import uvloop
from harness.process import Service, memory_bytes
from harness.proxy import Shedproxy
from harness.service import CHUNK, Check, pattern

pytestmark = pytest.mark.integration

SIZE = 1024**3
GROWTH_MAX = 20 * 1024**2


class Memory(threading.Thread):
    """The largest resident memory of a process while it is entered."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._pid = pid
        self._end = threading.Event()
        self.before = self.most = memory_bytes(pid)

    def run(self) -> None:
        while not self._end.wait(0.05):
            self.most = max(self.most, memory_bytes(self._pid))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


class Client(asyncio.Protocol):
    """Sends a head and `size` bytes of the pattern, and checks what comes back against it."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head = head
        self._size = size
        self._offset = 0
        self._is_paused = False
        self._parser = httptools.HttpResponseParser(self)
        self.answer = bytearray()
        """The first bytes of the answer's body."""
        self.check = Check()
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self._head)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        while self._offset < self._size and not self._is_paused:
            part = pattern(self._offset, min(CHUNK, self._size - self._offset))
            self._offset += len(part)
            self.transport.write(part)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if len(self.answer) < 4096:
            self.answer += body
        self.check.feed(body)

    def on_message_complete(self) -> None:
        self.done.set_result(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed before the answer was whole"))


def exchange(port: int, head: bytes, size: int) -> Client:
    """One request to its end."""

    async def run() -> Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(head, size), "127.0.0.1", port)
        assert await asyncio.wait_for(client.done, 120) == 200
        client.transport.close()
        return client

    return uvloop.run(run())


@pytest.fixture(scope="module")
def proxy(tmp_path_factory) -> Iterator[Shedproxy]:
    home: Path = tmp_path_factory.mktemp("large")
    with Service(home=home) as service, Shedproxy(service.url, home=home) as running:
        # What is allocated once, is allocated.
        upload(running, 8 * 1024**2)
        download(running, 8 * 1024**2)
        yield running


def upload(proxy: Shedproxy, size: int) -> None:
    head = b"POST /upload HTTP/1.1\r\nhost: large\r\ncontent-length: %d\r\n\r\n" % size
    client = exchange(proxy.port, head, size)
    assert json.loads(client.answer) == {"size": size, "is_good": True}


def download(proxy: Shedproxy, size: int) -> None:
    head = b"GET /download?size=%d HTTP/1.1\r\nhost: large\r\n\r\n" % size
    client = exchange(proxy.port, head, 0)
    assert (client.check.size, client.check.is_good) == (size, True)


@pytest.mark.parametrize("way", [upload, download])
def test_a_gibibyte_passes_whole_in_flat_memory(proxy: Shedproxy, way) -> None:
    """1 GiB, compared byte for byte at its end; the worker grows by less than 20 MiB."""
    with Memory(proxy.worker_pid) as memory:
        way(proxy, SIZE)
    assert memory.most - memory.before < GROWTH_MAX, (memory.before, memory.most)
