"""Writes log lines from a thread of its own, so that a consumer who stops reading stops nobody.

A full pipe blocks the write, not the event loop; what does not fit the queue meanwhile is dropped,
counted, and said in a line when writing goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
from collections import deque
from collections.abc import Iterable

__all__ = ["LogWriter"]

_LINES_MAX = 10_000
_CHUNK_SIZE = 64 * 1024
_LINE_END = 0x0A


class LogWriter:
    """A bounded queue of lines, and the thread that empties it into a file descriptor.

    The descriptor is written to directly: a daemon thread that holds the lock of a buffered stream
    would break the interpreter's exit.

    Args:
        fd: Where lines go; it stays open.
        lines_max: Lines that wait at most.
    """

    def __init__(self, fd: int, *, lines_max: int = _LINES_MAX) -> None:
        self._fd = fd
        self._lines_max = lines_max
        self._lines: deque[str] = deque()
        self._change = threading.Condition()
        self._is_ending = False
        self._is_torn = False
        """The last line that went out has no end: what comes next must not look like it."""
        self._dropped = 0
        self._unsaid = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost so far: no room, or nobody at the other end."""
        return self._dropped

    def write(self, lines: Iterable[str]) -> None:
        """Queue lines, each without its end of line; returns at once."""
        with self._change:
            for line in lines:
                if len(self._lines) < self._lines_max and not self._is_ending:
                    self._lines.append(line)
                else:
                    self._dropped += 1
                    self._unsaid += 1
            self._change.notify()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, for so long at most; then what is left is lost."""
        with self._change:
            self._is_ending = True
            self._change.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._lines and not self._is_ending:
                    self._change.wait()
                if not self._lines:
                    return
                chunk, count = self._take()
            left = _write(self._fd, chunk)
            self._is_torn = 0 < len(left) < len(chunk) and chunk[-len(left) - 1] != _LINE_END
            if left:
                lost = min(count, bytes(left).count(b"\n"))
                with self._change:
                    self._dropped += lost
                    self._unsaid += lost

    def _take(self) -> tuple[bytes, int]:
        """The next lines, about one chunk, with one line ahead about those that were dropped."""
        parts = [""] if self._is_torn else []
        if self._unsaid:
            parts.append(json.dumps({"event": "log lines dropped", "lines": self._unsaid}))
            self._unsaid = 0
        size = count = 0
        while self._lines and size < _CHUNK_SIZE:
            line = self._lines.popleft()
            parts.append(line)
            size += len(line)
            count += 1
        parts.append("")
        return "\n".join(parts).encode(errors="backslashreplace"), count


def _write(fd: int, data: bytes) -> memoryview:
    """Write all of it; what could not be written is left."""
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:  # whoever shares the descriptor wants it so
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()
    return view
