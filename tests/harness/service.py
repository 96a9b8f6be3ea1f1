"""An event-driven service of known capacity, run as a process of its own; ends with its stdin.

any path          one of N slots for the service time, in order of arrival, then "ok"
/healthz          "ok" at once, whatever waits
/wait?ms=20       "ok" after that time, without a slot
/download?size=N  N bytes of a known pattern
POST /upload      how many bytes came, and whether they were of that pattern
/sse              an event stream that never ends
upgrade           101, then an echo of every byte
/stats            what is going on
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from base64 import b64encode
from collections import deque
from hashlib import sha1
from urllib.parse import parse_qs, urlsplit

import httptools
import uvloop

BLOCK = random.Random(1).randbytes(1024 * 1024)
"""Bytes of bodies: byte i is BLOCK[i % len(BLOCK)]."""
CHUNK = 256 * 1024
THRICE = memoryview(BLOCK * 3)


def pattern(offset: int, size: int) -> memoryview:
    """Up to 2 MiB of the pattern from `offset` on."""
    start = offset % len(BLOCK)
    return THRICE[start : start + size]


class Check:
    """Compares what arrives with the pattern."""

    def __init__(self) -> None:
        self.size = 0
        self.is_good = True

    def feed(self, data: bytes | memoryview) -> None:
        self.is_good = self.is_good and pattern(self.size, len(data)) == data
        self.size += len(data)


class Work:
    """`slots` at a time, `service_s` each, the others in order of arrival."""

    def __init__(self, slots: int, service_s: float) -> None:
        self.free = slots
        self.service_s = service_s
        self.waiting: deque[Connection] = deque()
        self.started = self.finished = self.connections = self.residents = 0

    def take(self, connection: Connection) -> None:
        if self.free:
            self.free -= 1
            self.begin(connection)
        else:
            self.waiting.append(connection)

    def begin(self, connection: Connection) -> None:
        self.started += 1
        asyncio.get_running_loop().call_later(self.service_s, self.end, connection)

    def end(self, connection: Connection) -> None:
        self.finished += 1
        connection.answer(b"ok\n")
        if self.waiting:
            self.begin(self.waiting.popleft())
        else:
            self.free += 1

    def stats(self) -> bytes:
        shown = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        return json.dumps({**shown, "waiting": len(self.waiting)}).encode()


class Connection(asyncio.Protocol):
    def __init__(self, work: Work) -> None:
        self.work = work
        self.transport: asyncio.Transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.key = b""
        self.check = Check()
        self.left = self.offset = 0
        self.is_paused = self.is_tunnel = self.is_resident = False

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.work.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.work.connections -= 1
        self.left = 0
        if self.is_resident:
            self.work.residents -= 1

    def data_received(self, data: bytes) -> None:
        if self.is_tunnel:
            self.transport.write(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_tunnel = True
        except httptools.HttpParserError:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self.url, self.key, self.check = b"", b"", Check()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"sec-websocket-key":
            self.key = value
        elif name.lower() == b"expect":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.check.feed(body)

    def on_message_complete(self) -> None:
        parts = urlsplit(self.url.decode())
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.key:
            self.upgrade()
        elif parts.path == "/healthz":
            self.answer(b"ok\n")
        elif parts.path == "/stats":
            self.answer(self.work.stats())
        elif parts.path == "/wait":
            delay = float(query["ms"]) / 1000
            asyncio.get_running_loop().call_later(delay, self.answer, b"ok\n")
        elif parts.path == "/upload":
            said = {"size": self.check.size, "is_good": self.check.is_good}
            self.answer(json.dumps(said).encode())
        elif parts.path == "/download":
            self.download(int(query["size"]))
        elif parts.path == "/sse":
            self.stream()
        else:
            self.work.take(self)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )

    def download(self, size: int) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        self.left, self.offset = size, 0
        self.resume_writing()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        while self.left and not self.is_paused:
            part = pattern(self.offset, min(CHUNK, self.left))
            self.left -= len(part)
            self.offset += len(part)
            self.transport.write(part)

    def stream(self) -> None:
        self.reside()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n"
            b"transfer-encoding: chunked\r\n\r\nd\r\ndata: hello\n\n\r\n"
        )

    def upgrade(self) -> None:
        self.reside()
        accept = sha1(self.key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False)
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: %b\r\n\r\n" % b64encode(accept.digest())
        )

    def reside(self) -> None:
        self.is_resident = True
        self.work.residents += 1


async def serve(slots: int, service_s: float, port: int) -> None:
    loop = asyncio.get_running_loop()
    work = Work(slots, service_s)
    server = await loop.create_server(lambda: Connection(work), "127.0.0.1", port, backlog=4096)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    parent_left = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: os.read(0, 4096) or parent_left.set())
    await parent_left.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--service-ms", type=float, default=20.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(serve(options.slots, options.service_ms / 1000, options.port))


if __name__ == "__main__":
    main()
