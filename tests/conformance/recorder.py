"""An upstream on loopback that keeps what it gets, reads strictly, and answers as it is told."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

from conformance.strict import MalformedError, Message, read_request

__all__ = ["SENTINEL", "Recorder", "Script"]

SENTINEL = "/sentinel-"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Script:
    """What the upstream does with the next requests that are no sentinels."""

    answer: tuple[bytes, ...] = (PLAIN,)
    """Segments, one write each."""
    closes: bool = False
    """Close after the answer."""
    is_early: bool = False
    """Answer as soon as the head is there, and read no more of the request."""
    on_expect: bytes = b""
    """What is said to the head of a request with Expect, before its body has come."""


@dataclass
class Line:
    """One connection of the proxy to this upstream."""

    number: int
    sock: socket.socket
    is_deaf: bool = False
    """It has answered early, and reads no more requests."""
    has_asked: bool = False
    """It has said to the present request what it says on an Expect."""
    ended: threading.Event = field(default_factory=threading.Event)
    problems: list[str] = field(default_factory=list)


class Recorder:
    """Serves until closed, a thread per connection (a proxy keeps a handful)."""

    def __init__(self) -> None:
        self.script = Script()
        self.is_answered = threading.Event()
        """The whole script has been sent."""
        self.lines: list[Line] = []
        self.requests: list[Message] = []
        """Whole requests but sentinels, in the order in which they were complete."""
        self.sentinels: list[Message] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._is_closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self, script: Script) -> None:
        """A new case: what was recorded is forgotten; connections stay."""
        self.script = script
        self.is_answered.clear()
        self.requests = []
        self.sentinels = []
        self.lines = [line for line in self.lines if not line.ended.is_set()]
        for line in self.lines:
            line.problems.clear()

    @property
    def problems(self) -> list[str]:
        return [problem for line in self.lines for problem in line.problems]

    def line_of(self, request: Message) -> Line | None:
        return next((each for each in self.lines if each.number == request.connection), None)

    def close(self) -> None:
        self._is_closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self.lines:
            _shut(line.sock)

    # --- threads --------------------------------------------------------------------------------

    def _accept(self) -> None:
        number = 0
        while not self._is_closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            line = Line(number, sock)
            self.lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Line) -> None:
        buffer = b""
        try:
            while data := line.sock.recv(65536):
                if not line.is_deaf:
                    buffer = self._take(line, buffer + data)
        except MalformedError as error:
            line.problems.append(f"{error}: {buffer[:300]!r}")
        except OSError:
            pass
        finally:
            line.ended.set()
            line.sock.close()

    def _take(self, line: Line, buffer: bytes) -> bytes:
        while True:
            head = buffer.partition(b"\r\n\r\n")
            if self.script.is_early and head[1] and not head[0].startswith(b"GET /sentinel"):
                found = read_request(_without_framing(head[0]) + b"\r\n\r\n")
                assert found is not None
                line.is_deaf = True
                self._answer(line, found[0], head[0])
                return b""
            found = read_request(buffer)
            if found is None:
                self._ask(line, head[0] if head[1] else b"")
                return buffer
            line.has_asked = False
            request, rest = found
            self._answer(line, request, buffer[: len(buffer) - len(rest)])
            buffer = rest
            if not buffer:
                return b""

    def _ask(self, line: Line, head: bytes) -> None:
        if not line.has_asked and b"\r\nexpect: " in head.lower():
            line.has_asked = True
            line.sock.sendall(self.script.on_expect)

    def _answer(self, line: Line, request: Message, raw: bytes) -> None:
        request.connection = line.number
        request.raw = raw
        target = request.start[1]
        if SENTINEL in target:
            self.sentinels.append(request)
            text = target.rpartition("/")[2].encode()
            line.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            return
        self.requests.append(request)
        script = self.script
        for segment in script.answer:
            line.sock.sendall(segment)
            if segment is not script.answer[-1]:
                _pause(line.sock)
        if script.closes:
            line.sock.shutdown(socket.SHUT_WR)
        self.is_answered.set()


def _pause(sock: socket.socket) -> None:
    """Long enough for what was sent to be read alone."""
    threading.Event().wait(0.004)


def _without_framing(head: bytes) -> bytes:
    """The head of a request whose body is not waited for."""
    lines = head.split(b"\r\n")
    framing = (b"content-length:", b"transfer-encoding:")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(framing))


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
