"""A service of known capacity to aim load at: N slots, a fixed service time, an endless queue.

It behaves as most services do under overload: everybody is let in, and work whose client has left
is done all the same. Runs as a process of its own: `python -m shedproxy.loadgen.service`, which
prints its port and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from typing import Self, cast

import httptools

__all__ = ["DemoService", "main"]

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"


class _Slots:
    """The work: `slots` at a time, `service_s` seconds each, first come first served."""

    def __init__(self, slots: int, service_s: float) -> None:
        self._free = slots
        self._service_s = service_s
        self._waiting: deque[_Connection] = deque()

    def take(self, connection: _Connection) -> None:
        if self._free:
            self._free -= 1
            self._begin(connection)
        else:
            self._waiting.append(connection)

    def _begin(self, connection: _Connection) -> None:
        asyncio.get_running_loop().call_later(self._service_s, self._end, connection)

    def _end(self, connection: _Connection) -> None:
        connection.answer()
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self._free += 1


class _Connection(asyncio.Protocol):
    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            assert self._transport is not None
            self._transport.abort()

    def on_message_complete(self) -> None:
        self._slots.take(self)

    def answer(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def _serve(slots: int, service_s: float) -> None:
    loop = asyncio.get_running_loop()
    work = _Slots(slots, service_s)
    server = await loop.create_server(lambda: _Connection(work), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the parent finds it
    parent_left = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), _on_input, parent_left)
    await parent_left
    server.close()


def _on_input(parent_left: asyncio.Future[None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096) and not parent_left.done():
        parent_left.set_result(None)


def main(arguments: list[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m shedproxy.loadgen.service", description=__doc__
    )
    parser.add_argument("--slots", type=int, default=4, help="requests worked on at a time")
    parser.add_argument("--service-ms", type=float, default=20.0, help="time each of them takes")
    options = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.slots, options.service_ms / 1000))


class DemoService:
    """The service as a child process, for a `with` block."""

    def __init__(self, *, slots: int, service_ms: float) -> None:
        self.capacity_rps = slots * 1000 / service_ms
        self._command = [
            sys.executable,
            "-m",
            "shedproxy.loadgen.service",
            f"--slots={slots}",
            f"--service-ms={service_ms}",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().decode().strip()
        if not port:
            self._process.wait()
            raise RuntimeError("the demo service did not start")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


if __name__ == "__main__":
    main()
