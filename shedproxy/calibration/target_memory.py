"""What the processes that listen on a port of this machine hold in memory, by /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["listeners", "memory_max", "resident_bytes", "watch_port"]

_PROC = Path("/proc")
_LISTENING = "0A"
_GROUP_MAX = Path("/sys/fs/cgroup/memory.max")
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_TOTAL = re.compile(r"MemTotal:\s+(\d+) kB")


def listeners(port: int) -> list[int]:
    """Processes that have the port's listening socket, as far as this user may see."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return sorted(
        int(process.name)
        for process in _PROC.iterdir()
        if process.name.isdecimal() and inodes & _sockets(process)
    )


def _sockets(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                match = _SOCKET.fullmatch(str(link.readlink()))
                if match is not None:
                    found.add(match[1])
    return found


def resident_bytes(pids: list[int]) -> int | None:
    """Resident memory of these processes in all; None: they are gone, or there is none."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            total += int((_PROC / str(pid) / "statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") or None


def watch_port(port: int) -> Callable[[], int | None]:
    """Asked again and again: the memory of who listens there now."""
    pids = listeners(port)
    return lambda: resident_bytes(pids)


def memory_max() -> int | None:
    """What there is to be had: the control group's bound, else the machine's memory, in bytes."""
    with suppress(OSError, ValueError):
        return int(_GROUP_MAX.read_text())
    with suppress(OSError):
        match = _TOTAL.search((_PROC / "meminfo").read_text())
        if match is not None:
            return int(match[1]) * 1024
    return None
