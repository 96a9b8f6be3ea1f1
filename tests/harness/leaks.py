"""What a shedproxy holds, before and after: slots, descriptors and memory must come back."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.process import memory_bytes
from harness.proxy import Shedproxy
from shedproxy.testing import eventually

__all__ = ["MIB", "Held", "descriptors", "kinds", "sockets", "unexplained"]

MIB = 1024 * 1024
MEMORY_MARGIN = 16 * MIB
"""What a worker may keep more than before: buffers of the allocator, tables that had to grow."""
_CONNECTIONS = ("connections", "upstream_connections")


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def kinds(pid: int) -> Counter[str]:
    """What they are, numbers left out: `socket:`, `pipe:`, `anon_inode:[eventpoll]`, a path."""
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this listing
            found[re.sub(r"\[\d+\]$", "", os.readlink(link))] += 1
    return found


def sockets(pid: int) -> set[str]:
    """Those of them that are of TCP, by inode: loops keep further descriptors of their own."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this listing
            held.add(os.readlink(link))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return held & {f"socket:[{line.split()[9]}]" for line in lines}


def unexplained(worker: dict[str, Any]) -> int:
    """Descriptors of a worker, as `/-/status` shows it, that are not connections it knows of."""
    return descriptors(worker["pid"]) - sum(worker[name] for name in _CONNECTIONS)


class Held:
    """What a running shedproxy holds, to be compared with what it holds later."""

    def __init__(self, proxy: Shedproxy) -> None:
        workers = proxy.status()["workers"]
        self._proxy = proxy
        self._supervisor = descriptors(proxy.pid)
        self._unexplained = {worker["pid"]: unexplained(worker) for worker in workers}
        self._memory = {worker["pid"]: memory_bytes(worker["pid"]) for worker in workers}

    def compare(self, *, within_s: float = 60, memory_margin: int = MEMORY_MARGIN) -> None:
        """Fail unless everything comes back within a time, in every worker that lives on.

        Nothing in flight, waiting, resident or zombie; no descriptor more than connections
        explain; none more in the supervisor; no worker larger by more than the margin.
        """
        idle = "nothing in flight, waiting or zombie"
        eventually(self._proxy.is_idle, within_s=within_s, what=idle)
        eventually(self._has_closed, within_s=within_s, what="descriptors closed")
        for pid, size in self._memory.items():
            with suppress(FileNotFoundError):  # a worker that the test had end
                grown = memory_bytes(pid) - size
                assert grown <= memory_margin, f"worker {pid} has grown by {grown / MIB:.1f} MiB"

    def _has_closed(self) -> bool:
        workers = {worker["pid"]: worker for worker in self._proxy.status()["workers"]}
        return descriptors(self._proxy.pid) <= self._supervisor and all(
            unexplained(workers[pid]) <= count
            for pid, count in self._unexplained.items()
            if pid in workers
        )
