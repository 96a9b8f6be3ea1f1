"""Both ends of tunnels: a service that sends back what it gets, and clients that send it.

Straight on epoll: what the ends cost is what the relay between them has to wait for. Run as a
program it is the service: a request that asks for an upgrade gets one, any other a short answer.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections.abc import Iterator

from benchmarks.method import NotMeasuredError

__all__ = ["Clients", "serve"]

_BOUND_S = 5.0
_READ = 256 * 1024
_ASK = (
    b"GET /tunnel HTTP/1.1\r\nHost: up\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _End:
    """A socket, and what could not be written to it yet."""

    __slots__ = ("_poll", "awaited", "is_tunnel", "sock", "unsent")

    def __init__(self, sock: socket.socket, poll: select.epoll) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._poll = poll
        self.unsent = memoryview(b"")
        self.awaited = 0
        """Bytes that are to come back."""
        self.is_tunnel = False
        poll.register(sock, select.EPOLLIN)

    def send(self, data: memoryview) -> None:
        """Write it, the rest of it when there is room; meanwhile nothing is read."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        had_rest, self.unsent = bool(self.unsent), data[sent:]
        if bool(self.unsent) is not had_rest:
            # A client reads on: what it waits for may be what the other waits to get rid of.
            reads = select.EPOLLIN if self.awaited or not self.unsent else 0
            self._poll.modify(self.sock, reads | (select.EPOLLOUT if self.unsent else 0))


def serve(port: int) -> None:
    """Until a signal."""
    poll = select.epoll()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    poll.register(listener, select.EPOLLIN)
    ends: dict[int, _End] = {}
    buffer = bytearray(_READ)
    view = memoryview(buffer)
    while True:
        for number, events in poll.poll():
            if number == listener.fileno():
                with contextlib.suppress(BlockingIOError):
                    sock, _ = listener.accept()
                    ends[sock.fileno()] = _End(sock, poll)
                continue
            end = ends[number]
            try:
                if events & select.EPOLLOUT:
                    end.send(end.unsent)
                elif not _serve(end, buffer, view):
                    raise ConnectionResetError
            except ConnectionError:
                del ends[number]
                end.sock.close()


def _serve(end: _End, buffer: bytearray, view: memoryview) -> bool:
    """Read once and answer; False: the other side has left."""
    count = end.sock.recv_into(buffer)
    if not count:
        return False
    if end.is_tunnel:
        piece = view[:count]
        end.send(piece)
        if end.unsent:
            end.unsent = memoryview(bytes(end.unsent))
        return True
    # Heads are short, and nobody sends one in pieces here.
    end.is_tunnel = b"pgrade: websocket" in buffer[:count]
    end.send(memoryview(_SWITCH if end.is_tunnel else _ANSWER))
    return True


class Clients:
    """So many tunnels through one proxy, for a `with` block or until `close`."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._ends: dict[int, _End] = {}
        self._buffer = bytearray(_READ)
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=_BOUND_S)
            sock.sendall(_ASK)
            head = sock.recv(4096)
            if not head.startswith(b"HTTP/1.1 101"):
                sock.close()
                self.close()
                raise NotMeasuredError(f"no tunnel through port {port}: {head[:200]!r}")
            self._ends[sock.fileno()] = _End(sock, self._poll)

    def close(self) -> None:
        """End all of them."""
        for end in self._ends.values():
            end.sock.close()
        self._poll.close()

    def run(self, size: int, length_s: float) -> tuple[int, int]:
        """Each sends so many bytes when it has the former back; how many came back, and errors."""
        message = memoryview(bytes(size))
        stop_at = time.perf_counter() + length_s
        give_up_at = stop_at + _BOUND_S
        done = 0
        for end in self._ends.values():
            end.awaited = size
            end.send(message)
        awaited = len(self._ends)
        while awaited and (now := time.perf_counter()) < give_up_at:
            for end, events in self._ready():
                if events & select.EPOLLOUT:
                    end.send(end.unsent)
                if not events & select.EPOLLIN:
                    continue
                end.awaited -= end.sock.recv_into(self._buffer)
                if not end.awaited:
                    done += 1
                    if now < stop_at:
                        end.awaited = size
                        end.send(message)
                    else:
                        awaited -= 1
        return done, awaited

    def _ready(self) -> Iterator[tuple[_End, int]]:
        for number, events in self._poll.poll(0.1):
            yield self._ends[number], events


if __name__ == "__main__":
    serve(int(sys.argv[1]))
