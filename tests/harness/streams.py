"""A service with streams, ordinary answers, and a bound on how many streams it can bear."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

__all__ = ["StreamService"]


class StreamService:
    """On a thread of its own, for a `with` block. Beyond `streams_max` it answers 503."""

    def __init__(self, streams_max: int = 10_000) -> None:
        self.streams_max = streams_max
        self.streams = 0
        self.polls = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StreamService:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
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
        writer.close()

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
