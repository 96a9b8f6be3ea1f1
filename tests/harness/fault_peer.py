"""An HTTP upstream that fails on demand, at the level of TCP: one mode at a time, while it runs.

    async with FaultPeer() as peer:
        await peer.inject("cut_after", size=20)
        ...
        await peer.heal()

What a mode does is in its method; `inject` takes its parameters. Requests that a silent mode has
swallowed are never answered, not even after `heal`: that is the worst of what real ones do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from typing import Any, Self

__all__ = ["FaultPeer"]

_RESET = b"\x01\0\0\0\0\0\0\0"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class FaultPeer:
    """One listening port on loopback.

    Args:
        service_s: time that a healthy answer takes.
        answer: what a healthy answer is.
        seed: of the connections that `flip` picks.
        host: address to listen on.
        make_socket: makes the bound socket to listen on, for one in another network.
    """

    def __init__(
        self,
        *,
        service_s: float = 0,
        answer: bytes = OK,
        seed: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        make_socket: Callable[[str, int], socket.socket] | None = None,
    ) -> None:
        self.service_s = service_s
        self.answer = answer
        self.host = host
        self.port = port
        self._make_socket = make_socket or _bound
        self.mode = "ok"
        self.parameters: dict[str, Any] = {}
        self.connections = 0
        """Accepted by this process."""
        self.requests = 0
        """Read whole, pings included."""
        self.answered = 0
        """Whole answers, pings not included."""
        self.heads: list[bytes] = []
        self.dials: list[float] = []
        """When each connection was accepted, by the loop's clock."""
        self.in_flight_most = 0
        self._in_flight = 0
        self._busy: set[asyncio.StreamWriter] = set()
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._writers)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- faults -----------------------------------------------------------------------------

    async def inject(self, mode: str, **parameters: Any) -> None:
        """Fail from now on: on new connections, and on the next request of those that are open."""
        if mode == "refuse":
            self._stop_listening()
        elif self._server is None:
            await self._listen()
        self.mode, self.parameters = mode, parameters

    async def heal(self) -> None:
        """Work again."""
        await self.inject("ok")

    async def kill(self) -> None:
        """As the end of the process: nothing listens, everything open is reset."""
        await self.inject("refuse")
        self.reset_all()

    def reset_all(self) -> None:
        """Reset what is open."""
        for writer in tuple(self._writers):
            _reset(writer)

    def close_idle(self) -> None:
        """Close what no request is on, in an orderly way."""
        for writer in self._writers - self._busy:
            writer.close()

    # --- connections ------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, sock=self._make_socket(self.host, self.port), limit=1 << 22, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.dials.append(asyncio.get_running_loop().time())
        # The end of the peer's process, a reset, or the test's end.
        with contextlib.suppress(
            asyncio.IncompleteReadError, asyncio.CancelledError, OSError, RuntimeError
        ):
            await self._converse(reader, writer)
        self._tasks.discard(task)
        self._writers.discard(writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_reset = self.mode == "rst_on_accept"
        if self.mode == "flip":
            is_reset = self._random.random() < self.parameters["share"]
        if is_reset:
            _reset(writer)
            return
        if self.mode == "blackhole":
            writer.transport.pause_reading()
            await asyncio.Event().wait()
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await _read_body(reader, head)
            self.requests += 1
            is_ping = head.startswith(b"OPTIONS * ")
            if not is_ping:
                self.heads.append(head)
            self._in_flight += 1
            self._busy.add(writer)
            self.in_flight_most = max(self.in_flight_most, self._in_flight)
            try:
                is_whole = await getattr(self, f"_{self.mode}")(reader, writer, **self.parameters)
            finally:
                self._in_flight -= 1
                self._busy.discard(writer)
            await writer.drain()
            self.answered += is_whole and not is_ping
            if not is_whole:
                return

    # --- modes: True when the answer was whole and the connection goes on -----------------------

    async def _ok(self, reader, writer) -> bool:
        if self.service_s:
            await asyncio.sleep(self.service_s)
        writer.write(self.answer)
        return True

    _rst_on_accept = _ok  # those that are open already

    async def _refuse(self, reader, writer) -> bool:
        return await self._ok(reader, writer)

    async def _flip(self, reader, writer, *, share: float) -> bool:
        """A share of the new connections is reset."""
        return await self._ok(reader, writer)

    async def _accept_no_reply(self, reader, writer) -> bool:
        """Reads and says nothing, until the other side ends it."""
        await reader.read()
        return False

    _blackhole = _half_open = _accept_no_reply

    async def _fast503(self, reader, writer, *, retry_after: str = "7") -> bool:
        writer.write(
            b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\nContent-Length: 4\r\n\r\nbusy"
            % retry_after.encode()
        )
        return True

    async def _latency(self, reader, writer, *, delay_s: float) -> bool:
        """On the way there and back."""
        await asyncio.sleep(2 * delay_s)
        return await self._ok(reader, writer)

    async def _http_latency(self, reader, writer, *, delay_s: float) -> bool:
        """Before the first byte of the answer."""
        await asyncio.sleep(delay_s)
        return await self._ok(reader, writer)

    async def _cut_after(self, reader, writer, *, size: int) -> bool:
        """A reset after so many bytes of the answer."""
        writer.write(self.answer[:size])
        await asyncio.sleep(0.02)  # a reset overtakes what the kernel still holds
        _reset(writer)
        return False

    async def _close_after(self, reader, writer, *, size: int) -> bool:
        """An orderly close after so many bytes of the answer."""
        writer.write(self.answer[:size])
        return False

    async def _garbage(self, reader, writer, *, data: bytes = b"SSH-2.0-x\r\n") -> bool:
        writer.write(data)
        await reader.read()
        return False

    async def _extra(self, reader, writer, *, data: bytes = OK) -> bool:
        """More bytes than the answer has."""
        writer.write(self.answer + data)
        await reader.read()
        return False

    async def _slice(self, reader, writer, *, every_s: float) -> bool:
        """One byte at a time."""
        head, _, body = self.answer.partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        for byte in body:
            await asyncio.sleep(every_s)
            writer.write(bytes((byte,)))
        return True


def _bound(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), backlog=1024)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> None:
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    elif b"content-length: " in lower:
        length = lower.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
