"""Clients and an upstream that do, at random, everything that peers do to a proxy.

What the upstream shall do stands in the target; what the client does is drawn when it connects.
Equal seeds draw equal schedules (their interleaving is the loop's).
"""

from __future__ import annotations

import asyncio
import contextlib
import random

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"
PARTS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: 700000\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello"
)

ANSWERS: dict[bytes, list[bytes | float]] = {
    b"/quick": [OK],
    b"/slow": [0.02, OK],
    b"/slower": [0.06, OK],
    b"/chunked": [PARTS, b"4\r\nfine\r\n", 0.005, b"0\r\n\r\n"],
    b"/large": [LARGE, b"x" * 300_000, 0.005, b"x" * 400_000],
    b"/until-close": [b"HTTP/1.1 200 OK\r\n\r\nfine", 0.005, b"!"],
    b"/overloaded": [b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"],
    b"/broken": [b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"],
    b"/hint": [b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n", 0.005, OK],
    b"/events": [EVENTS, b"9\r\ndata: 1\n\n\r\n", 0.05, b"9\r\ndata: 2\n\n\r\n", 9.0],
    b"/switch": [SWITCH, 9.0],
    b"/silent": [9.0],
    b"/stuck": [LARGE, b"x" * 1000, 9.0],
    b"/nonsense": [b"HTTP/1.1 two hundred\r\n\r\n"],
    b"/twice": [OK + OK],
    b"/gone": [],
    b"/half": [LARGE, b"x" * 1000],
    b"/healthz": [0.002, OK],
    b"/refused": [OK],
}
CLOSING = {b"/gone", b"/half", b"/until-close", b"/broken", b"/nonsense"}
RESETTING = {b"/gone", b"/half"}
OFTEN = [b"/quick", b"/slow", b"/slower", b"/chunked"] * 5
TARGETS = [*ANSWERS, *OFTEN]


class Upstream(asyncio.Protocol):
    """Answers by the target of each request, without waiting for its body."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tail = b""
        self._steps: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._steps = asyncio.get_running_loop().create_task(self._serve())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._steps is not None:
            self._steps.cancel()

    def data_received(self, data: bytes) -> None:
        self._tail += data
        while True:
            start = self._tail.find(b" /")
            end = self._tail.find(b"\r\n\r\n")
            if start < 0 or end < 0 or start > 8:
                # Bodies are of one byte that begins no head; what is left over of one goes.
                self._tail = self._tail.lstrip(b"b0123456789acdef\r\n")[:20_000]
                if not self._tail or b"\r\n\r\n" not in self._tail:
                    return
                continue
            target = self._tail[start + 1 : self._tail.index(b" ", start + 1)]
            self._tail = self._tail[end + 4 :]
            self._queue.put_nowait(target)

    async def _serve(self) -> None:
        while True:
            target = await self._queue.get()
            for step in ANSWERS[target]:
                if self.transport.is_closing():
                    return
                if isinstance(step, bytes):
                    self.transport.write(step)
                else:
                    await asyncio.sleep(step * self._rng.uniform(0.2, 1.5))
            if target in RESETTING and self._rng.random() < 0.5:
                self.transport.abort()
            elif target in CLOSING:
                self.transport.close()


class Client:
    """One connection: a few requests, sent in pieces, and an end at any moment."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._port = port
        self._rng = rng
        self.answers = 0

    def script(self) -> list[bytes | float]:
        """What is sent, and pauses between."""
        rng = self._rng
        steps: list[bytes | float] = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            data = self._request()
            cut = rng.randrange(len(data)) if rng.random() < 0.3 else len(data)
            steps += [data[:cut]]
            if cut < len(data):
                steps += [rng.uniform(0, 0.02), data[cut:]]
                if rng.random() < 0.3:
                    return steps[:-1]  # and the rest never comes
            if rng.random() < 0.7:
                steps += [rng.uniform(0, 0.04)]
        return steps

    def _request(self) -> bytes:
        rng = self._rng
        target = rng.choice(TARGETS)
        lines = [b"host: x", b"x-criticality: " + rng.choice([b"critical", b"sheddable"])]
        if rng.random() < 0.1:
            lines.append(b"x-request-timeout-ms: %d" % rng.randrange(1, 80))
        if target == b"/switch":
            lines += [b"connection: upgrade", b"upgrade: websocket"]
        chance = rng.random()
        if target == b"/switch" or chance < 0.6:
            method, body = rng.choice([b"GET", b"GET", b"HEAD", b"DELETE"]), b""
        elif chance < 0.8:
            body = b"b" * rng.choice([1, 500, 70_000, 200_000])
            method = b"POST"
            lines.append(b"content-length: %d" % len(body))
            if rng.random() < 0.2:
                lines.append(b"expect: 100-continue")
        else:
            part = b"b" * rng.choice([1, 500, 70_000])
            body = b"%x\r\n%b\r\n" % (len(part), part) * 2 + b"0\r\n\r\n"
            method = b"PUT"
            lines.append(b"transfer-encoding: chunked")
        if rng.random() < 0.1:
            lines.append(b"connection: close")
        head = b"%b %b HTTP/1.1\r\n" % (method, target) + b"\r\n".join(lines)
        return head + b"\r\n\r\n" + body

    async def run(self) -> None:
        rng = self._rng
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=8192)
        reading = asyncio.create_task(self._read(reader, is_lazy=rng.random() < 0.1))
        try:
            with contextlib.suppress(OSError):
                for step in self.script():
                    if writer.transport.is_closing():
                        break
                    if isinstance(step, bytes):
                        writer.write(step)
                    else:
                        await asyncio.sleep(step)
                if rng.random() < 0.1 and not writer.transport.is_closing():
                    writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    patience = rng.choice([0, 0.005, 0.02, 0.05, 0.3])
                    await asyncio.wait_for(asyncio.shield(reading), patience)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await reading
            if rng.random() < 0.5:
                writer.transport.abort()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, *, is_lazy: bool) -> None:
        if is_lazy:
            await asyncio.sleep(0.1)
        with contextlib.suppress(OSError):  # ENOTCONN too
            while data := await reader.read(65536):
                self.answers += data.count(b"HTTP/1.1 ")
