"""The file in memory that a worker process writes its stack to, as its supervisor reads it."""

from __future__ import annotations

import os
import re
import tempfile
from typing import Self

__all__ = ["FRAMES_MAX", "LOGGED_FRAMES", "StackFile"]

FRAMES_MAX = 20
"""Innermost frames that are kept."""
LOGGED_FRAMES = 8
"""And those that are logged."""
_SIZE_MAX = 64 * 1024
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$', re.MULTILINE)
_CRASH = "Fatal Python error"


class StackFile:
    """Holds what was written last. The descriptor's offset is shared with the process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Self:
        """An unnamed file.

        Raises:
            OSError: the system gives none.
        """
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("shedproxy-stack", os.MFD_CLOEXEC))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    @property
    def is_closed(self) -> bool:
        """The process is gone."""
        return self.fd < 0

    def clear(self) -> None:
        """Make room for the next stack."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)

    def read(self) -> tuple[str, ...]:
        """The frames of a stack that is complete, innermost first; empty until there is one."""
        text = os.pread(self.fd, _SIZE_MAX, 0).decode(errors="backslashreplace")
        if not text.endswith("\n"):
            return ()
        found = [
            f"{frame['name']} ({frame['file']}:{frame['line']})" for frame in _FRAME.finditer(text)
        ]
        return tuple(found[:FRAMES_MAX])

    def crash(self) -> tuple[str, ...]:
        """The same when it was written by a crash, else nothing."""
        head = os.pread(self.fd, _SIZE_MAX, 0)
        return self.read() if _CRASH.encode() in head else ()

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)
        self.fd = -1
