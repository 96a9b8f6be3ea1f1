"""A service with streams, ordinary answers, and a bound on how many streams it can bear."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings

from harness.raw_server import raw_server

__all__ = ["StreamService"]


class StreamService:
    """On a thread of its own, for a `with` block. Beyond `streams_max` it answers 503."""

    def __init__(self, streams_max: int = 10_000) -> None:
        self.streams_max = streams_max
        self.streams = 0
        self.polls = 0
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def __enter__(self) -> StreamService:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)
        # A client that goes at the last instant can leave a transport behind. It is collected here,
        # where its warning is nobody's failure, and not while another test runs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    async def _live(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with raw_server(self._serve) as address:
            self.url = f"http://{address}"
            self._ready.set()
            await self._over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ")[1]
            if path == b"/":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            elif path == b"/poll":
                self.polls += 1
                await asyncio.sleep(0.05)
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok")
                break
            elif path == b"/short":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                await asyncio.sleep(0.02)
                writer.write(b"0\r\n\r\n")
            elif self.streams >= self.streams_max:
                writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
            else:
                await self._stream(reader, writer, is_socket=b"upgrade" in head)

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_socket: bool
    ) -> None:
        self.streams += 1
        try:
            status = b"101 Switching Protocols" if is_socket else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\n\r\ndata: 1\n\n")
            await reader.read()
        finally:
            self.streams -= 1
