"""The client's socket, without HTTP: writing with a bound, slow readers, half-closes, good-byes.

A connection to a client ends in one of three ways. `close` lets what is written go out first.
`linger` also keeps reading for a moment (and throws away what it reads), because closing with
unread bytes makes the kernel reset the connection, and the reset can overtake the answer. `cut`
is for answers that cannot be completed: the client must not take them for whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING

from shedproxy.core import NS_PER_MS, NS_PER_S, Instant
from shedproxy.dataplane.wire.tcp_state import acknowledged, has_left, unacknowledged
from shedproxy.dataplane.wire.timer_wheel import Timed

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.live import Live
    from shedproxy.dataplane.wire.server import WireServer

__all__ = ["ClientEnd"]

LINGER_NS = 2 * NS_PER_S
"""How long what a refused client still sends is read and thrown away."""
LINGER_SIZE_MAX = 1024 * 1024
"""After so many bytes they are no longer read; the connection still ends when the time is up."""
PROBE_NS = 250 * NS_PER_MS
"""Between two looks at a client that has closed its sending side, or is not read from."""
_RESET = struct.pack("ii", 1, 0)


class ClientEnd(Timed):
    """Transport concerns of a client connection; its deadlines lie in the worker's wheel.

    An `asyncio.Protocol` by shape: a class of that would be looked at attribute by attribute.
    """

    __slots__ = (
        "_drained",
        "_drained_at",
        "_is_trusted",
        "_lingered",
        "_trusted_by",
        "address",
        "is_closed",
        "is_ending",
        "is_half_closed",
        "is_reading_paused",
        "is_until_close",
        "is_write_blocked",
        "peer",
        "peer_bytes",
        "server",
        "transport",
        "written",
    )

    def __init__(self, server: WireServer) -> None:
        super().__init__()
        self.server = server
        self.transport: asyncio.Transport
        self.peer = ""
        """Address of the client; "" on a unix socket."""
        self.peer_bytes = b""
        self.address = b""
        """What it counts under; empty for who answers for many: trusted proxies, unix sockets."""
        self.written = 0
        """Bytes handed to the transport since the connection began."""
        self.is_closed = False
        """The transport is gone."""
        self.is_ending = False
        """No more requests: what is written goes out, what comes in is thrown away."""
        self.is_half_closed = False
        """The client has closed its sending side, and may still read."""
        self.is_until_close = False
        """All of an answer is written that has no other end than that of the connection."""
        self.is_reading_paused = False
        self.is_write_blocked = False
        self._drained = 0
        self._drained_at = 0
        self._lingered = 0
        self._trusted_by: Live | None = None
        self._is_trusted = False

    def is_trusted_by(self, live: Live) -> bool:
        """Whether this configuration believes what the client says of others."""
        if self._trusted_by is not live:
            self._trusted_by = live
            self._is_trusted = live.classifier.is_trusted(self.peer)
        return self._is_trusted

    # --- reading and writing ----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send; the bound is kept by whoever reads `is_write_blocked`."""
        self.written += len(data)
        self.transport.write(data)

    def pause_reading(self) -> None:
        """Let the kernel's window hold the client back."""
        if not self.is_reading_paused and not self.is_closed:
            self.is_reading_paused = True
            self.transport.pause_reading()

    def go_deaf(self) -> None:
        """Pause for long perhaps: the loop would not see that the client leaves, so look again."""
        if not self.is_reading_paused and not self.is_closed:
            self.pause_reading()
            self.wake_at(self.server.clock() + PROBE_NS)

    def resume_reading(self) -> None:
        """Read on."""
        if self.is_reading_paused and not self.is_closed:
            self.is_reading_paused = False
            self.transport.resume_reading()

    def wake_at(self, at: int) -> None:
        """Call `on_deadline` at `at`, or at an earlier deadline that is set already."""
        if not self.deadline_at or at < self.deadline_at:
            self.deadline_at = at
            self.server.wheel.watch(self)

    # --- slow readers -----------------------------------------------------------------------

    def start_write_watch(self) -> None:
        """The client does not keep up: from now on it must take some bytes in each period."""
        now = self.server.clock()
        self._drained = self._taken()
        self._drained_at = now
        self.wake_at(now + self.server.live.timeouts.client_write_ns)

    def has_stalled(self, now: Instant) -> bool:
        """Whether the client read less than the minimum rate in the last whole period."""
        timeouts = self.server.live.timeouts
        elapsed_ns = now - self._drained_at
        if elapsed_ns < timeouts.client_write_ns:
            self.wake_at(self._drained_at + timeouts.client_write_ns)
            return False
        drained = self._taken()
        least = max(1, timeouts.body_rate_min * elapsed_ns // NS_PER_S)
        if drained - self._drained < least:
            return True
        self._drained = drained
        self._drained_at = now
        self.wake_at(now + timeouts.client_write_ns)
        return False

    def _taken(self) -> int:
        """Bytes that the client has taken, or its kernel has; only how they grow counts."""
        if self.server.is_tls:
            # What is encrypted waits in a place of the loop's that says nothing of it.
            sock = self.transport.get_extra_info("socket")
            taken = None if sock is None else acknowledged(sock)
            if taken is not None:
                return taken
        return self.written - self.transport.get_write_buffer_size()

    def _owes(self) -> bool:
        """Whether it has not taken all that was written."""
        if self.transport.get_write_buffer_size():
            return True
        sock = self.transport.get_extra_info("socket") if self.server.is_tls else None
        return sock is not None and unacknowledged(sock) > 0

    # --- half-closes ------------------------------------------------------------------------

    def is_gone(self, *, or_half: bool = False) -> bool:
        """Whether a client that is not read from has reset the connection since.

        The loop does not watch such a socket, so that the kernel is asked. With `or_half` a closed
        sending side counts too.
        """
        sock = self.transport.get_extra_info("socket")
        return sock is not None and has_left(sock, or_half=or_half)

    def has_unread(self) -> bool:
        """Whether the kernel has bytes of the client that nobody has read yet."""
        sock = self.transport.get_extra_info("socket")
        if sock is None:
            return False
        count = bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
        return any(count)

    # --- the end ----------------------------------------------------------------------------

    def end(self) -> None:
        """Send what is written, then close; a client that does not take it is cut off."""
        if self.is_closed:
            return
        self._begin_end()
        self.transport.close()

    def linger(self, length_ns: int = LINGER_NS) -> None:
        """The same, but first read on for a moment, so that the answer is not lost to a reset."""
        if self.is_closed:
            return
        if self.is_half_closed:
            self.end()
            return
        self._begin_end(length_ns)
        self._lingered = 0
        self.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _begin_end(self, length_ns: int = LINGER_NS) -> None:
        self.is_ending = True
        self.start_write_watch()
        self.deadline_at = self.server.clock() + length_ns
        self.server.wheel.watch(self)

    def on_end_deadline(self, now: Instant) -> None:
        """Long enough, unless the client is still busy with an answer that is all written."""
        if self._owes() and not self.has_stalled(now):
            self.wake_at(now + LINGER_NS)
        else:
            self.cut()

    def discard(self, size: int) -> None:
        """Bytes that came while lingering."""
        self._lingered += size
        if self._lingered > LINGER_SIZE_MAX:
            self.pause_reading()

    def cut(self, *, reset: bool = False) -> None:
        """End at once. With `reset` even an answer that lasts until close is seen to be cut."""
        if self.is_closed:
            return
        self.is_ending = True
        # The kernel still delivers what it has, and then a clean end.
        is_part = self.is_until_close and self.transport.get_write_buffer_size()
        if reset or is_part:
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
